"""The spans of a record's way. Context comes in a record's headers and leaves in those of what is made of it.

`traceparent` is the hop: the span that wrote the record. `ce_traceparent` is the origin: where the event began.
Without an exporter (see exporting.py) nothing is recorded, and headers are passed on as they came. Partial text
makes no spans of its own: a caption has ten of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from captionstream.contracts.messages import Governance, RefusalReason
from captionstream.contracts.record import Headers, Outgoing, Record
from captionstream.telemetry import names

T = TypeVar("T")
Attributes = Mapping[str, str | int | float | bool]
PROPAGATOR = TraceContextTextMapPropagator()
HOP = "traceparent"
ORIGIN = "ce_traceparent"


@dataclass(frozen=True, slots=True)
class Hop:
    """A record in work at a stage: its span, and the headers that its messages carry on."""

    span: trace.Span
    headers: Headers


# ------------------------------------------------------------ a stage at work


@contextmanager
def processing(record: Record, stage: str, *, partial: bool = False) -> Iterator[Hop]:
    """A consumer span for one record; a `partial` record passes its headers on without one."""
    if partial or not active():
        yield Hop(trace.INVALID_SPAN, carried(record))
        return
    attributes: dict[str, str | int] = {
        **messaging("process", record.topic),
        names.PARTITION: str(record.partition),
        names.OFFSET: record.offset,
        names.MESSAGE_ID: record.header("ce_id") or "",
        names.STAGE: stage,
    }
    span = tracer().start_span(
        f"process {record.topic}", context_of(carried(record)), trace.SpanKind.CONSUMER, attributes
    )
    with ended(span):
        yield Hop(span, continued(carried(record), span))


async def inside(span: trace.Span, steps: AsyncIterator[T]) -> AsyncIterator[T]:
    """What `steps` yields; the span is the current one while a step is worked on, and not while we wait between."""
    if not span.get_span_context().is_valid:
        async for step in steps:
            yield step
        return
    context = trace.set_span_in_context(span)
    while True:
        token = attach(context)
        try:
            step = await anext(steps)
        except StopAsyncIteration:
            return
        finally:
            detach(token)
        yield step


def refused(reason: RefusalReason) -> None:
    """The record in work goes no further."""
    span = trace.get_current_span()
    span.set_attributes({names.REFUSAL: reason.value, names.ERROR_TYPE: reason.value})
    span.set_status(trace.StatusCode.ERROR)


def decided(span: trace.Span, governance: Governance) -> None:
    """Safety's decision on its span, and an event for each rule that was found to apply. No texts."""
    policy = governance.policy
    span.set_attributes(
        {names.DECISION: governance.decision, names.POLICY: policy.id, names.POLICY_VERSION: policy.version}
    )
    for finding in governance.findings:
        span.add_event(
            names.EVALUATION, {names.EVALUATION_NAME: finding.check, names.EVALUATION_LABEL: finding.rule}
        )


# ------------------------------------------------------------ appending


@contextmanager
def sending(outgoing: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """The same records, each in a producer span that lasts until all are acknowledged.

    An event without a trace begins one here. Markers, which have no headers, and partial text have no span.
    """
    if not active():
        yield outgoing
        return
    spans = [sending_span(item) for item in outgoing]
    try:
        yield [
            item if span is None else replace(item, headers=continued(item.headers, span))
            for item, span in zip(outgoing, spans, strict=True)
        ]
    except Exception as failure:
        for span in filter(None, spans):
            failed(span, failure)
        raise
    finally:
        for span in filter(None, spans):
            span.end()


def sending_span(item: Outgoing) -> trace.Span | None:
    if item.partial or not item.headers:
        return None
    attributes = messaging("send", item.topic)
    return tracer().start_span(
        f"send {item.topic}", context_of(item.headers), trace.SpanKind.PRODUCER, attributes
    )


# ------------------------------------------------------------ engines


@contextmanager
def asking(name: str, attributes: Attributes) -> Iterator[trace.Span]:
    """A client span for one request to an engine, under the record in work. A probe has no record: no span."""
    if not trace.get_current_span().is_recording():
        yield trace.INVALID_SPAN
        return
    span = tracer().start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)
    with ended(span):
        yield span


def headers_of(span: trace.Span) -> dict[str, str]:
    """What tells an engine that its work belongs to `span`; empty when nothing is recorded."""
    found: dict[str, str] = {}
    PROPAGATOR.inject(found, trace.set_span_in_context(span))
    return found


# ------------------------------------------------------------ context and headers


def active() -> bool:
    """Whether somebody records spans in this process."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def tracer() -> trace.Tracer:
    return trace.get_tracer("captionstream")


def messaging(operation: str, topic: str) -> dict[str, str]:
    return {
        names.MESSAGING_SYSTEM: "kafka",
        names.OPERATION_TYPE: operation,
        names.OPERATION_NAME: operation,
        names.DESTINATION: topic,
    }


def carried(record: Record) -> Headers:
    """The trace headers of a record; its origin is its first hop unless it says otherwise."""
    hop = record.header(HOP) or record.header(ORIGIN)
    origin = record.header(ORIGIN) or hop
    return tuple((name, value.encode()) for name, value in ((HOP, hop), (ORIGIN, origin)) if value)


def continued(headers: Headers, span: trace.Span) -> Headers:
    """The headers with `span` as the hop, and as the origin where there is none yet."""
    hop = headers_of(span).get(HOP)
    if hop is None:
        return headers
    others = tuple((name, value) for name, value in headers if name != HOP)
    origin = () if any(name == ORIGIN for name, _ in others) else ((ORIGIN, hop.encode()),)
    return (*others, (HOP, hop.encode()), *origin)


def context_of(headers: Headers) -> Context:
    """The context that the headers name; one without a span where they name none."""
    hop = next((value.decode("utf-8", "replace") for name, value in headers if name == HOP), "")
    return PROPAGATOR.extract({HOP: hop}, Context())


@contextmanager
def ended(span: trace.Span) -> Iterator[None]:
    """Ends the span. A failure marks it by its type; what it says may hold a text and is left out."""
    try:
        yield
    except (Exception, asyncio.CancelledError) as failure:
        failed(span, failure)
        raise
    finally:
        span.end()


def failed(span: trace.Span, failure: BaseException) -> None:
    span.set_attribute(names.ERROR_TYPE, type(failure).__name__)
    span.set_status(trace.StatusCode.ERROR)
