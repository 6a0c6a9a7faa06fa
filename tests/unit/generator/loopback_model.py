"""A small real HTTP server on loopback that behaves, or misbehaves, as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

MODELS = {
    "object": "list",
    "data": [{"id": "loopback", "owned_by": "tests", "created": 1, "meta": {"size": 9}}],
}
Behaviour = Callable[["Answering"], Awaitable[None]]


@dataclass
class Answering:
    """One request that waits for its answer."""

    path: str
    headers: dict[str, str]
    body: Any
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self, code: int, body: bytes = b"{}", **headers: str) -> None:
        """A whole answer with a length."""
        told = {"content-type": "application/json", "content-length": str(len(body))} | headers
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in told.items())
        await self.send(f"HTTP/1.1 {code} Told\r\n{lines}\r\n".encode() + body)

    async def start_stream(self, content_type: str = "text/event-stream") -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        await self.send(head.encode())

    async def chunk(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, data: Any) -> None:
        told = data if isinstance(data, str) else json.dumps(data)
        await self.chunk(f"data: {told}\n\n".encode())

    async def say(self, *pieces: str, finish: str | None = "stop", usage: Any = None) -> None:
        """A whole streamed completion; `usage` comes last, in an event of its own."""
        await self.start_stream()
        for piece in pieces:
            await self.event({"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
        if finish:
            await self.event({"choices": [{"delta": {}, "finish_reason": finish}]})
        if usage:
            await self.event({"choices": [], "usage": usage})
        await self.event("[DONE]")
        await self.chunk(b"")


@dataclass
class LoopbackModel:
    """`behaviours` answer completions in turn, the last one for ever; models are always listed."""

    behaviours: list[Behaviour]
    models: Behaviour | None = None
    asked: list[Answering] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await self._answer(await self._request(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answering:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Answering(first.split()[1], headers, json.loads(body) if body else None, writer)

    async def _answer(self, request: Answering) -> None:
        if request.path == "/v1/models":
            await (self.models(request) if self.models else request.status(200, json.dumps(MODELS).encode()))
            return
        self.asked.append(request)
        behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        await behave(request)


@asynccontextmanager
async def loopback(*behaviours: Behaviour, models: Behaviour | None = None) -> AsyncIterator[LoopbackModel]:
    made = LoopbackModel(list(behaviours), models)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
