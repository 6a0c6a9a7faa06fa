"""The four stages together, on the log in memory: every event gets exactly one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

from captionstream.cli.demo_pictures import sign
from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.record import Outgoing
from captionstream.contracts.topics import CAPTION_DELTAS, CAPTIONS, DEAD_LETTERS, DRAFTS_HELD, IMAGE_EVENTS
from captionstream.contracts.values import ImageReference, Purpose, StageName
from captionstream.runtime.asking import ask, submit
from captionstream.runtime.memory_log import MemoryLog
from services.encoder.settings import EncoderSettings, Engine
from services.generator.settings import GeneratorSettings, WriterKind
from services.pipeline import embedded
from tests.faults.harness import Report, check, plate_event, seen_of


@asynccontextmanager
async def scripted() -> AsyncIterator[MemoryLog]:
    """The pipeline with doubles for the engines; everything between them is real."""
    encoder = EncoderSettings(engine=Engine.SCRIPTED)
    async with embedded(encoder=encoder, generator=GeneratorSettings(writer=WriterKind.SCRIPTED)) as log:
        yield log


async def answers(log: MemoryLog, events: list[m.ImageSubmitted]) -> list[m.Answer]:
    return [answer async for answer in ask(log, events, 60)]


async def all_of(log: MemoryLog, topic: str) -> list[m.Message]:
    return [codec.decode(record) async for record in log.read(topic, follow=False)]


async def test_every_event_is_answered_once_with_its_own_picture_and_in_order() -> None:
    """A hundred plates from ten cameras."""
    events = [plate_event(number, "flow") for number in range(100)]
    async with scripted() as log:
        given = await answers(log, events)
    assert Report() == check(events, [seen_of(answer) for answer in given])
    assert all(list(StageName) == [timing.stage for timing in answer.timings] for answer in given)


async def test_a_repeat_is_one_event_and_another_body_changes_nothing() -> None:
    """The first answer stands: for a redelivery, and for the same id with another picture."""
    first, other = plate_event(1, "twice"), plate_event(2, "twice").model_copy(update={"id": "twice-000001"})
    other = other.model_copy(update={"stream_key": first.stream_key})
    async with scripted() as log:
        [answer] = await answers(log, [first, first])
        await submit(log, [other, first])
        await asyncio.sleep(1)
        assert [answer] == await all_of(log, CAPTIONS.name)


async def test_what_is_no_event_is_answered_too() -> None:
    """A publisher's mistake gets a refusal on the one answer stream, and its bytes go to the operators."""
    async with scripted() as log:
        await log.publish([Outgoing(IMAGE_EVENTS.name, b"k", b'{"id": "oops"}')])
        async with asyncio.timeout(20):
            while not (found := await all_of(log, CAPTIONS.name)):
                await asyncio.sleep(0.05)
        [letter] = await all_of(log, DEAD_LETTERS.name)
    assert ["oops"] == [answer.event.id for answer in found if isinstance(answer, m.CaptionRefused)]
    assert isinstance(letter, m.DeadLetter) and b'{"id": "oops"}' == letter.value


async def test_a_held_caption_shows_its_text_to_reviewers_alone() -> None:
    """The answer has no text; the draft is on the restricted topic; nothing of it was released as partial text."""
    event = m.ImageSubmitted(id="held", image=ImageReference(inline=sign("THIS ROAD IS BULLSHIT")))
    async with embedded() as log:
        [answer] = await answers(log, [event])
        await asyncio.sleep(0.5)
        [held] = await all_of(log, DRAFTS_HELD.name)
        deltas = await all_of(log, CAPTION_DELTAS.name)
    assert isinstance(answer, m.CaptionHeld) and isinstance(held, m.DraftHeld)
    assert "BULLSHIT" in held.draft.candidates[-1].text
    assert "BULLSHIT" not in answer.model_dump_json()
    assert not [delta for delta in deltas if isinstance(delta, m.CaptionDelta) and "BULLSHIT" in delta.text]


async def test_partial_text_grows_and_ends_with_the_answer() -> None:
    """Every delta is the beginning of the next; the last one says final and is the caption."""
    event = plate_event(7, "stream")
    async with scripted() as log:
        [answer] = await answers(log, [event])
        await asyncio.sleep(0.5)
        deltas = [d for d in await all_of(log, CAPTION_DELTAS.name) if isinstance(d, m.CaptionDelta)]
    assert isinstance(answer, m.CaptionPublished)
    texts = [delta.text for delta in deltas]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert (m.DeltaStatus.FINAL, answer.text) == (deltas[-1].status, texts[-1])


async def test_a_decorative_image_gets_an_empty_text() -> None:
    """Empty is the right alternative text there, and not an abstention."""
    event = plate_event(8, "decor").model_copy(update={"purpose": Purpose.DECORATIVE})
    async with scripted() as log:
        [answer] = await answers(log, [event])
    assert isinstance(answer, m.CaptionPublished)
    assert ("", False) == (answer.text, answer.abstained)


async def test_an_event_past_its_deadline_is_refused() -> None:
    """A consumer that has gone on gets a reason instead of a late caption."""
    event = plate_event(9, "late").model_copy(update={"deadline_s": 0.0001})
    async with scripted() as log:
        [answer] = await answers(log, [event])
    assert isinstance(answer, m.CaptionRefused) and m.RefusalReason.TOO_LATE is answer.reason
