"""Trace context on every message: read from a record's headers, carried in the span, written to what it makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from captionstream.contracts.record import Headers, Record

PROPAGATOR = TraceContextTextMapPropagator()
HOP = "traceparent"
ORIGIN = "ce_traceparent"


@contextmanager
def processing(record: Record, stage: str) -> Iterator[Headers]:
    """A consumer span for one record; yields the headers that its messages carry on."""
    parent = {HOP: record.header(HOP) or record.header(ORIGIN) or ""}
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
    }
    tracer = trace.get_tracer("captionstream")
    span = tracer.start_span(
        f"process {record.topic}", PROPAGATOR.extract(parent), trace.SpanKind.CONSUMER, attributes
    )
    try:
        yield outgoing_headers(span, record)
    finally:
        span.end()


def outgoing_headers(span: trace.Span, record: Record) -> Headers:
    """`traceparent` of this hop, and the origin's, which the first hop sets."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier, trace.set_span_in_context(span))
    hop = carrier.get(HOP) or record.header(HOP)
    origin = record.header(ORIGIN) or record.header(HOP) or hop
    return tuple((name, value.encode()) for name, value in ((HOP, hop), (ORIGIN, origin)) if value)


def new_traceparent() -> str:
    """A trace of its own for an event that a command submits."""
    import secrets

    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
