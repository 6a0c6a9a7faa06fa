"""Spans of one record's way: who is whose child, what they say, and what they never say."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import pkgutil
from collections.abc import AsyncIterator
from types import ModuleType

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv import _incubating, attributes

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.codec import marker
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import CAPTIONS_DRAFTED, IMAGE_EVENTS, IMAGES_PREPARED
from captionstream.contracts.values import StageName
from captionstream.runtime.advance import Advance
from captionstream.runtime.errors import Unprocessable
from captionstream.runtime.stage import Delivery
from captionstream.telemetry import names, tracing
from services.generator.language_model import LanguageModel
from tests.builders import event_record, record
from tests.unit.generator.loopback_model import loopback
from tests.unit.generator.test_language_model import TASK, says_the_sentence
from tests.unit.generator.test_language_model import told as asked_there
from tests.unit.runtime.test_advance import ScriptedStage, failing, fine, prepared
from tests.unit.safety.builders import delta, drafted, stage

Spans = InMemorySpanExporter
TRACE, PUBLISHER = "1" * 32, "2" * 16
ORIGIN = f"00-{TRACE}-{PUBLISHER}-01"


def traced(item: Record, header: str = ORIGIN) -> Record:
    headers = (*item.headers, ("traceparent", header.encode()), ("ce_traceparent", header.encode()))
    return Record(item.topic, item.partition, item.offset, item.key, item.value, headers, item.appended_at)


class AskingStage(ScriptedStage):
    """Asks its engine once for every record, and lets others work meanwhile."""

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        with tracing.asking("infer a_model", {names.MODEL: "a_model"}) as span:
            self.given = tracing.headers_of(span)
            await asyncio.sleep(0.01)
        yield prepared(message, delivery)


async def worked(item: Record, stage: ScriptedStage) -> list[Outgoing]:
    return [outgoing async for outgoing in Advance(stage)(item)]


def named(spans: Spans, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def ids(span: ReadableSpan) -> tuple[str, str]:
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


# ------------------------------------------------------------ a stage at work


async def test_a_record_is_worked_in_the_trace_that_it_brings(spans: Spans) -> None:
    """The span is the child of the span that wrote the record; what is made of it names this hop and the origin."""
    [outgoing] = await worked(traced(event_record()), ScriptedStage(fine))
    [span] = named(spans, "process image-events")
    assert (TRACE, PUBLISHER) == (ids(span)[0], parent(span))
    sent = record(outgoing)
    assert f"00-{TRACE}-{ids(span)[1]}-01" == sent.header("traceparent")
    assert ORIGIN == sent.header("ce_traceparent")
    assert {"messaging.destination.name": "image-events", "captionstream.stage": "ingest"}.items() <= dict(
        span.attributes or {}
    ).items()


async def test_an_engine_works_under_its_own_record(spans: Spans) -> None:
    """Twenty records side by side: each request is a child of its record's span, in its trace."""
    items = [traced(event_record(), f"00-{number:032x}-{PUBLISHER}-01") for number in range(1, 21)]
    await asyncio.gather(*(worked(item, AskingStage(fine)) for item in items))
    works = {ids(span)[0]: ids(span)[1] for span in named(spans, "process image-events")}
    asked = named(spans, "infer a_model")
    assert 20 == len(works) == len(asked)
    assert works == {ids(span)[0]: parent(span) for span in asked}


async def test_the_engine_is_told_whose_request_it_is(spans: Spans) -> None:
    """The header names the request's span; a probe, which belongs to no record, has none."""
    stage = AskingStage(fine)
    await worked(traced(event_record()), stage)
    [span] = named(spans, "infer a_model")
    assert {"traceparent": f"00-{TRACE}-{ids(span)[1]}-01"} == stage.given
    with tracing.asking("infer a_model", {}) as probe:
        assert {} == tracing.headers_of(probe)
    assert 1 == len(named(spans, "infer a_model"))


async def test_what_is_not_sampled_stays_so(spans: Spans) -> None:
    """The publisher's decision holds for the whole way: no span, and the next hop is told the same."""
    [outgoing] = await worked(traced(event_record(), ORIGIN[:-1] + "0"), AskingStage(fine))
    assert () == spans.get_finished_spans()
    assert f"00-{TRACE}" == (record(outgoing).header("traceparent") or "")[:35]
    assert "-00" == (record(outgoing).header("traceparent") or "")[-3:]


async def test_work_that_is_given_up_leaves_no_complaint(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader that goes away in the middle closes the work from another task; context and span end well."""
    with caplog.at_level(logging.WARNING):
        steps = Advance(ScriptedStage(fine))(traced(event_record()))
        await asyncio.create_task(anext(steps))  # type: ignore[arg-type]
        del steps
        gc.collect()
        await asyncio.sleep(0.01)
    assert [] == caplog.records
    assert 1 == len(named(spans, "process image-events"))


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        (ScriptedStage(failing(Unprocessable(RefusalReason.UNDECODABLE, "secret words"))), "undecodable"),
        (ScriptedStage(failing(ValueError("secret words"))), "internal"),
    ],
)
async def test_a_refusal_is_seen_on_the_span(spans: Spans, failing: ScriptedStage, reason: str) -> None:
    """By its reason; what the failure says is not there."""
    await worked(traced(event_record()), failing)
    [span] = named(spans, "process image-events")
    assert (reason, False) == ((span.attributes or {})["captionstream.refusal.reason"], span.status.is_ok)
    assert "secret words" not in span.to_json()


async def test_the_decision_is_seen_and_no_text(spans: Spans) -> None:
    """Safety's span has decision and policy, an event for each finding, and not a word of the caption."""
    text = "A very particular umbrella with call 555-867-5309."
    item = traced(record(encoded(drafted(text))))
    made = [outgoing async for outgoing in Advance(stage())(item)]
    assert any(b"umbrella" in outgoing.value for outgoing in made)
    [span] = named(spans, "process captions-drafted")
    told = dict(span.attributes or {})
    assert told["captionstream.decision"] in {decision.value for decision in m.Decision}
    assert "default" == told["captionstream.policy.id"]
    assert {"gen_ai.evaluation.result"} == {event.name for event in span.events}
    assert "umbrella" not in span.to_json() and "867-5309" not in span.to_json()


async def test_partial_text_makes_no_spans(spans: Spans) -> None:
    """It carries the trace on; ten spans more for each caption would say nothing."""
    item = traced(record(encoded(delta("A dog on a beach with a ball"))))
    [outgoing] = [made async for made in Advance(stage())(item)]
    assert () == spans.get_finished_spans()
    assert ORIGIN == record(outgoing).header("traceparent") == record(outgoing).header("ce_traceparent")


def encoded(message: m.Message) -> Outgoing:
    return codec.encode(message, StageName.GENERATOR)


class WritingStage(ScriptedStage):
    """Has a language model write, piece by piece."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(fine)
        self.model = model

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        async for _ in self.model.write(TASK):
            yield prepared(message, delivery)


async def test_a_language_model_is_asked_under_the_record(spans: Spans) -> None:
    """By the conventions for generative AI; the server gets the trace; neither prompt nor answer is told."""
    async with loopback(says_the_sentence) as server, LanguageModel.open(asked_there(server)) as model:
        await worked(traced(event_record()), WritingStage(model))
        [request] = server.asked
    [work] = named(spans, "process image-events")
    [chat] = named(spans, "chat loopback")
    assert (TRACE, ids(work)[1]) == (ids(chat)[0], parent(chat))
    assert f"00-{TRACE}-{ids(chat)[1]}-01" == request.headers["traceparent"]
    told = dict(chat.attributes or {})
    assert ("chat", "tests", "loopback") == (
        told["gen_ai.operation.name"], told["gen_ai.provider.name"], told["gen_ai.request.model"],
    )  # fmt: skip
    assert 0 <= told["gen_ai.response.time_to_first_chunk"] < 60  # type: ignore[operator]
    assert "secret facts" not in chat.to_json() and "red car" not in chat.to_json()


async def test_a_language_model_that_fails_is_seen_on_its_span(spans: Spans) -> None:
    """By the type of the failure."""
    failing = loopback(lambda request: request.status(500))
    async with failing as server, LanguageModel.open(asked_there(server)) as model:
        advance = Advance(WritingStage(model), unavailable_budget_s=0.1)
        [_ async for _ in advance(traced(event_record()))]
    assert {"Unavailable"} == {
        (span.attributes or {})["error.type"] for span in named(spans, "chat loopback")
    }


# ------------------------------------------------------------ appending


def outgoing(topic: str = IMAGES_PREPARED.name, **more: object) -> Outgoing:
    headers = (("ce_id", b"1"), ("traceparent", ORIGIN.encode()), ("ce_traceparent", ORIGIN.encode()))
    return Outgoing(topic, b"key", b"value", **{"headers": headers, **more})  # type: ignore[arg-type]


def test_a_record_is_sent_under_the_work_that_made_it(spans: Spans) -> None:
    """A producer span; the record names it as its hop and keeps its origin."""
    with tracing.sending([outgoing()]) as [sent]:
        assert () == spans.get_finished_spans()
    [span] = named(spans, "send images-prepared")
    assert (TRACE, PUBLISHER) == (ids(span)[0], parent(span))
    assert {"ce_id", "traceparent", "ce_traceparent"} == {name for name, _ in sent.headers}
    headers = dict(sent.headers)
    assert f"00-{TRACE}-{ids(span)[1]}-01".encode() == headers["traceparent"]
    assert ORIGIN.encode() == headers["ce_traceparent"]


def test_a_publisher_begins_the_trace(spans: Spans) -> None:
    """An event that brings none: hop and origin are the span of its sending."""
    with tracing.sending([outgoing(IMAGE_EVENTS.name, headers=(("ce_id", b"1"),))]) as [sent]:
        pass
    [span] = named(spans, "send image-events")
    headers = dict(sent.headers)
    assert "" == parent(span)
    assert "00-{}-{}".format(*ids(span)).encode() == headers["traceparent"][:52]
    assert headers["traceparent"] == headers["ce_traceparent"]


def test_markers_and_partial_text_are_sent_without_a_span(spans: Spans) -> None:
    """They go as they are."""
    items = [
        marker("ab" * 32, "cd" * 32, StageName.SAFETY),
        outgoing(CAPTIONS_DRAFTED.name, partial=True),
    ]
    with tracing.sending(items) as sent:
        assert items == sent
    assert () == spans.get_finished_spans()


def test_a_send_that_fails_is_marked(spans: Spans) -> None:
    """By the type of the failure, which goes on."""
    with pytest.raises(ValueError), tracing.sending([outgoing()]):
        raise ValueError("secret words")
    [span] = named(spans, "send images-prepared")
    assert "ValueError" == (span.attributes or {})["error.type"]
    assert "secret words" not in span.to_json()


# ------------------------------------------------------------ names


def test_names_are_those_of_the_conventions() -> None:
    """Every name that is not ours stands in OpenTelemetry's own list."""
    own = {value for key, value in vars(names).items() if key.isupper()}
    theirs = {
        value
        for package in (attributes, importlib.import_module(f"{_incubating.__name__}.attributes"))
        for module in modules(package)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    events = {"gen_ai.evaluation.result"}  # a name of an event, not of an attribute
    assert set() == {name for name in own if not name.startswith("captionstream.")} - theirs - events


def modules(package: ModuleType) -> list[ModuleType]:
    found = pkgutil.iter_modules(package.__path__)
    return [importlib.import_module(f"{package.__name__}.{module.name}") for module in found]
