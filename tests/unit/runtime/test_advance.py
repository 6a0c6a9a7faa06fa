"""ONE record through ONE stage: every failure becomes a typed answer, and nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.record import Record
from captionstream.contracts.topics import DEAD_LETTERS, IMAGE_EVENTS, IMAGES_PREPARED
from captionstream.contracts.values import Payload, PreparedImage, StageName
from captionstream.runtime.advance import RECORD_LIMIT, Advance
from captionstream.runtime.errors import TooManyDefects, Unavailable, Unprocessable
from captionstream.runtime.stage import Delivery, carry
from tests.builders import NOON, clock_at, event_record, record

DIGEST = "ab" * 32


def prepared(message: m.Message, delivery: Delivery, note: str = "") -> m.ImagePrepared:
    pixels = Payload(media_type="application/x-raw-rgb", size=3, sha256=DIGEST, inline=b"abc")
    image = PreparedImage(
        digest=DIGEST, media_type="image/png", original_width=1, original_height=1, width=1, height=1,
        pixels=pixels, notes=(note,) if note else (),
    )  # fmt: skip
    return m.ImagePrepared(**carry(message, delivery), image=image)


class ScriptedStage:
    """Does what it is told, attempt by attempt; the last instruction stays."""

    name = StageName.INGEST

    def __init__(self, *script: Callable[[], None], note: str = "") -> None:
        self.script = list(script)
        self.note = note
        self.attempts = 0

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        self.attempts += 1
        (self.script.pop(0) if len(self.script) > 1 else self.script[0])()
        yield prepared(message, delivery, self.note)

    def refuse(self, refused: m.Refused) -> tuple[m.Message, ...]:
        return (refused,)


def fine() -> None: ...


def failing(problem: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise problem

    return fail


async def outcome(stage: ScriptedStage, item: Record, **settings: object) -> list[m.Message]:
    advance = Advance(stage, clock=lambda: clock_at(2), **settings)  # type: ignore[arg-type]
    return [codec.decode(record(outgoing)) async for outgoing in advance(item)]


async def test_a_message_leaves_with_its_way_and_its_times() -> None:
    """The next message carries the event, its digest, its acceptance by the broker and this stage's timing."""
    [message] = await outcome(ScriptedStage(fine), event_record())
    assert isinstance(message, m.ImagePrepared)
    assert ("event-1", NOON, codec.event_digest(event_record())) == (
        message.event.id, message.accepted_at, message.event_digest,
    )  # fmt: skip
    assert [(StageName.INGEST, 2000.0)] == [(t.stage, t.waited_ms) for t in message.timings]


@pytest.mark.parametrize("value", [b"{", b'{"id": "event-1"}'])
async def test_a_malformed_event_is_refused_and_kept_for_operators(value: bytes) -> None:
    """It gets its answer on the way of all answers, and its bytes go to dead-letters."""
    broken = Record(IMAGE_EVENTS.name, 2, 9, b"k", value, (), NOON)
    refused, letter = await outcome(ScriptedStage(fine), broken)
    assert isinstance(refused, m.Refused) and RefusalReason.MALFORMED is refused.reason
    assert isinstance(letter, m.DeadLetter) and value == letter.value


async def test_what_can_never_work_is_refused_at_once() -> None:
    """Unprocessable is not tried again."""
    stage = ScriptedStage(failing(Unprocessable(RefusalReason.UNDECODABLE, "no picture")))
    refused, letter = await outcome(stage, event_record())
    assert isinstance(refused, m.Refused)
    assert (RefusalReason.UNDECODABLE, "no picture", 1) == (refused.reason, refused.detail, stage.attempts)
    assert isinstance(letter, m.DeadLetter)


async def test_a_defect_is_tried_once_more() -> None:
    """A second try that works leaves no trace of the first."""
    [message] = await outcome(ScriptedStage(failing(ValueError("x")), fine), event_record())
    assert isinstance(message, m.ImagePrepared)


async def test_a_defect_that_stays_is_refused_with_its_traceback() -> None:
    """The publisher learns that it is our fault, the operator where."""
    stage = ScriptedStage(failing(ValueError("secret detail")))
    refused, letter = await outcome(stage, event_record())
    assert isinstance(refused, m.Refused) and isinstance(letter, m.DeadLetter)
    assert (RefusalReason.INTERNAL, 2) == (refused.reason, stage.attempts)
    assert "secret detail" not in refused.detail
    assert "ValueError" in (letter.traceback or "")


async def test_defects_in_a_row_stop_the_process() -> None:
    """A bad deploy must not empty the topic into dead letters."""
    advance = Advance(ScriptedStage(failing(ValueError())), defects_allowed=2)
    for _ in range(2):
        assert 2 == len([o async for o in advance(event_record())])
    with pytest.raises(TooManyDefects):
        [o async for o in advance(event_record())]


async def test_an_engine_that_is_away_is_waited_for() -> None:
    """The record stays in place and is answered when the engine is back; it is not dead-lettered."""
    stage = ScriptedStage(
        failing(Unavailable("triton")), failing(Unavailable("triton", retry_after_s=0.01)), fine
    )
    [message] = await outcome(stage, event_record())
    assert isinstance(message, m.ImagePrepared)
    assert 3 == stage.attempts


async def test_an_engine_that_stays_away_is_waited_for_within_the_budget() -> None:
    """After the budget the event is refused as unavailable; there is nothing to look at for an operator."""
    [refused] = await outcome(
        ScriptedStage(failing(Unavailable("triton"))), event_record(), unavailable_budget_s=0.3
    )
    assert isinstance(refused, m.Refused)
    assert (RefusalReason.UNAVAILABLE, "triton") == (refused.reason, refused.detail)


async def test_a_refusal_rides_along_untouched() -> None:
    """A later stage does not work on what an earlier one refused; it only adds its time."""
    [refused, _] = await outcome(
        ScriptedStage(failing(Unprocessable(RefusalReason.UNDECODABLE))), event_record()
    )
    encoder = ScriptedStage(failing(AssertionError("must not work")))
    encoder.name = StageName.ENCODER  # type: ignore[misc]
    onward = record(codec.encode(refused, StageName.INGEST))
    [passed] = await outcome(encoder, onward)
    assert isinstance(refused, m.Refused) and isinstance(passed, m.Refused)
    assert refused == passed.model_copy(update={"timings": refused.timings})
    assert [StageName.INGEST, StageName.ENCODER] == [timing.stage for timing in passed.timings]


async def test_an_event_past_its_deadline_is_refused_without_work() -> None:
    """The deadline counts from the broker's append; two seconds have passed here."""
    stage = ScriptedStage(fine)
    [refused] = await outcome(stage, event_record(deadline_s=1.5))
    assert isinstance(refused, m.Refused)
    assert (RefusalReason.TOO_LATE, 0) == (refused.reason, stage.attempts)
    assert isinstance((await outcome(stage, event_record(deadline_s=2.5)))[0], m.ImagePrepared)


async def test_a_record_that_is_too_large_is_a_typed_refusal() -> None:
    """Over the limit of a record the broker would refuse it; we say so before."""
    assert isinstance(
        (await outcome(ScriptedStage(fine, note="n" * 900_000), event_record()))[0], m.ImagePrepared
    )
    [refused, _] = await outcome(ScriptedStage(fine, note="n" * RECORD_LIMIT), event_record())
    assert isinstance(refused, m.Refused) and RefusalReason.TOO_LARGE is refused.reason


async def test_a_record_that_killed_its_worker_is_refused_unseen() -> None:
    """It is answered and dead-lettered without another try."""
    stage = ScriptedStage(fine)
    refused, letter = Advance(stage).poisoned(event_record(), 3)
    assert (IMAGES_PREPARED.name, DEAD_LETTERS.name, 0) == (refused.topic, letter.topic, stage.attempts)


async def test_partial_text_that_fails_is_no_answer() -> None:
    """A delta past its deadline, or of a broken stage, is dropped: the caption itself is still to come."""
    fields = carry(codec.decode(event_record(deadline_s=1)), Delivery(NOON, DIGEST))
    delta = record(codec.encode(m.DraftDelta(**fields, attempt=1, sequence=0, text="A"), StageName.GENERATOR))
    stage = ScriptedStage(failing(ValueError()))
    stage.name = StageName.SAFETY  # type: ignore[misc]
    assert [] == await outcome(stage, delta)


async def test_the_trace_goes_on_and_the_origin_is_kept() -> None:
    """Every message carries the trace of its hop and that of the event's publisher."""
    origin = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    item = event_record()
    traced = Record(
        item.topic, 0, 0, item.key, item.value, (*item.headers, ("traceparent", origin.encode())), NOON
    )
    [outgoing] = [o async for o in Advance(ScriptedStage(fine))(traced)]
    sent = record(outgoing)
    assert origin == sent.header("ce_traceparent")
    assert "1" * 32 in (sent.header("traceparent") or "")
