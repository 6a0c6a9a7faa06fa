"""Only what succeeded is acknowledged, and nobody is blamed for a death that is not his."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import IMAGES_PREPARED
from captionstream.runtime.asking import submit
from captionstream.runtime.memory_log import MemoryLane, MemoryLog
from captionstream.runtime.message_log import Subscription
from captionstream.runtime.ordering import Handling, Window, publish, relay
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


class Scripted(MemoryLane):
    """Hands out these batches, one at a take, then stops. `commits`: what was committed, and before which take."""

    def __init__(self, *batches: Sequence[Record]) -> None:
        super().__init__(MemoryLog(), READS, 0, asyncio.Event())
        self.batches = list(batches)
        self.commits: list[tuple[int, int]] = []
        self.takes = 0

    @property
    def stopping(self) -> bool:
        return self.takes == len(self.batches)

    async def take(self, limit: int) -> Sequence[Record]:
        self.takes += 1
        return self.batches[self.takes - 1]

    async def commit(self, outgoing: Sequence[Outgoing], next_offset: int) -> None:
        self.commits.append((self.takes, next_offset))


async def answers_words(record: Record) -> AsyncIterator[Outgoing]:
    if record.value == b"words":
        yield Outgoing(IMAGES_PREPARED.name, record.key, b"answered")


def numbered(offset: int, value: bytes = b"partial text") -> Record:
    return Record("image-events", 0, offset, b"k", value, (), event_record().appended_at)


async def test_partial_text_costs_no_transaction_of_its_own() -> None:
    """It is acknowledged with the answer that comes after it, though nothing came in between for a while."""
    lane = Scripted([numbered(0)], [], [], [numbered(1)], [], [numbered(2, b"words")])
    await publish(lane, Handling(answers_words, refused))
    assert [(6, 3)] == lane.commits


async def test_partial_text_without_an_answer_is_acknowledged_after_some_quiet() -> None:
    """So that nobody who looks at the lag waits for an answer that never comes."""
    lane = Scripted([numbered(0)], *[()] * 8)
    await publish(lane, Handling(answers_words, refused))
    assert [(7, 1)] == lane.commits


async def test_who_stops_acknowledges_partial_text_at_once() -> None:
    """The successor does not read it again."""
    lane = Scripted([numbered(0)])
    await publish(lane, Handling(answers_words, refused))
    assert [(1, 1)] == lane.commits
