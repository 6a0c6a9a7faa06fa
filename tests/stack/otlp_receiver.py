"""A receiver of traces on 127.0.0.1: OTLP/HTTP as protobuf (our services) and as JSON (Triton)."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass(frozen=True)
class Span:
    """What tests look at; ids in hex, no parent is an empty text."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, Any] = field(default_factory=dict, compare=False)
    events: tuple[str, ...] = ()


@dataclass
class Receiver:
    port: int
    spans: list[Span] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def until(self, enough: Callable[[list[Span]], bool], seconds: float) -> list[Span]:
        """The spans so far, as soon as there are enough of them, or when the time is over."""
        deadline = time.monotonic() + seconds
        while not enough(self.spans) and time.monotonic() < deadline:
            time.sleep(0.2)
        return list(self.spans)

    async def take(self, request: Request) -> Response:
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        is_json = request.headers.get("content-type", "").startswith("application/json")
        self.spans.extend(from_json(await request.json()) if is_json else from_protobuf(body))
        return Response(b"{}" if is_json else b"", media_type="application/json" if is_json else None)


def from_protobuf(body: bytes) -> Iterator[Span]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = protobuf_attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                    protobuf_attributes(span.attributes), tuple(event.name for event in span.events),
                )  # fmt: skip


def protobuf_attributes(given: Iterable[Any]) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in given}


def from_json(body: Mapping[str, Any]) -> Iterator[Span]:
    for resource in body["resourceSpans"]:
        service = json_attributes(resource["resource"]["attributes"])["service.name"]
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield Span(
                    service, span["name"], span["traceId"].lower(), span["spanId"].lower(),
                    span.get("parentSpanId", "").lower(), json_attributes(span.get("attributes", ())),
                )  # fmt: skip


def json_attributes(given: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {item["key"]: next(iter(item["value"].values())) for item in given}


class Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """It runs in a thread: the test process answers signals."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver in a thread, for as long as the block runs."""
    listening = socket.create_server(("127.0.0.1", 0))
    receiver = Receiver(listening.getsockname()[1])
    app = Starlette(routes=[Route("/v1/traces", receiver.take, methods=["POST"])])
    server = Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.should_exit = True
        thread.join(5)
        listening.close()
