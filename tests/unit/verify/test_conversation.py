"""Asked once, answered once, heard from the beginning: on the log in memory, with the four services at work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from captionstream.runtime.memory_log import MemoryLog
from services.encoder.settings import EncoderSettings, Engine
from services.generator.settings import GeneratorSettings, WriterKind
from services.pipeline import embedded
from tests.faults.harness import plate_event
from tests.verify.conversation import ask_all, talking


@asynccontextmanager
async def scripted() -> AsyncIterator[MemoryLog]:
    encoder = EncoderSettings(engine=Engine.SCRIPTED)
    async with embedded(encoder=encoder, generator=GeneratorSettings(writer=WriterKind.SCRIPTED)) as log:
        yield log


async def test_a_session_that_was_broken_off_is_gone_on_with() -> None:
    """What has its answer is not asked again; the rest is, and each is answered once."""
    events = [plate_event(number, "verify") for number in range(12)]
    shown: list[int] = []
    async with scripted() as log:
        async with talking(log) as talk:
            await ask_all(talk, events[:7], 3, shown.append)
        async with talking(log) as talk:
            assert 7 == len(talk.answers)
            await ask_all(talk, events, 3, shown.append)
            assert 0 == talk.open
    assert {event.id for event in events} == {answer.event_id for answer in talk.answers}
    assert 12 == len(talk.answers)
    assert all(answer.event_id.split("-")[-1] in answer.text for answer in talk.answers)
    assert [*range(7), *range(12)] == shown


async def test_no_more_than_asked_are_open_at_once() -> None:
    """One at a time means that each waits for the answer before it."""
    at_once: list[int] = []
    async with scripted() as log, talking(log) as talk:
        await ask_all(
            talk, (plate_event(number, "one") for number in range(5)), 1, lambda _: at_once.append(talk.open)
        )
    assert [0] * 5 == at_once
