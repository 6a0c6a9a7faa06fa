"""Only what succeeded is acknowledged, and nobody is blamed for a death that is not his."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import IMAGES_PREPARED
from captionstream.runtime.asking import submit
from captionstream.runtime.memory_log import MemoryLog
from captionstream.runtime.message_log import Subscription
from captionstream.runtime.ordering import Handling, Window, relay
from tests.builders import event_record, submitted

READS = Subscription("image-events", "group")


async def succeed() -> None: ...


async def fail() -> None:
    raise ValueError


async def test_a_record_that_failed_is_never_part_of_the_finished_prefix() -> None:
    """Its task is done, too: that is not enough."""
    window = Window(8)
    tasks = [asyncio.create_task(work()) for work in (succeed, fail, succeed)]
    await asyncio.wait(tasks)
    for offset, task in enumerate(tasks):
        await window.add(Record("image-events", 0, offset, b"k", b"", (), event_record().appended_at), task)
    assert 1 == await window.finished()


async def waits_for_ever(record: Record) -> AsyncIterator[Outgoing]:
    await asyncio.Event().wait()
    yield Outgoing(IMAGES_PREPARED.name, record.key, b"never")


async def answers(record: Record) -> AsyncIterator[Outgoing]:
    yield Outgoing(IMAGES_PREPARED.name, record.key, b"answered")


def refused(record: Record, deaths: int) -> tuple[Outgoing, ...]:
    return (Outgoing(IMAGES_PREPARED.name, record.key, b"refused unseen"),)


async def test_ends_while_an_engine_is_away_are_not_the_records_fault() -> None:
    """A process that is ended again and again while it waits leaves no suspicion behind."""
    log = MemoryLog()
    await submit(log, [submitted()])
    waiting = Handling(waits_for_ever, refused, waiting=lambda record: True)
    for _ in range(6):
        working = asyncio.create_task(log.work(READS, lambda lane: relay(lane, waiting), asyncio.Event()))
        await asyncio.sleep(0.4)
        working.cancel()
        await asyncio.wait([working])
    stop = asyncio.Event()
    working = asyncio.create_task(log.work(READS, lambda lane: relay(lane, Handling(answers, refused)), stop))
    await asyncio.sleep(0.5)
    stop.set()
    await working
    assert [b"answered"] == [record.value async for record in log.read(IMAGES_PREPARED.name, follow=False)]


async def test_the_same_ends_without_waiting_are_poison() -> None:
    """The control: a record that is at work whenever the process ends is refused in the end."""
    log = MemoryLog()
    await submit(log, [submitted()])
    for _ in range(6):
        handling = Handling(waits_for_ever, refused)
        working = asyncio.create_task(
            log.work(READS, lambda lane, h=handling: relay(lane, h), asyncio.Event())
        )
        await asyncio.sleep(0.4)
        working.cancel()
        await asyncio.wait([working])
    assert [b"refused unseen"] == [
        record.value async for record in log.read(IMAGES_PREPARED.name, follow=False)
    ]
