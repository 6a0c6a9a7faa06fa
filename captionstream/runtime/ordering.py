"""Two ways to work through a lane. Both keep the order of a key, bound the work and acknowledge only what is done.

`relay` (ingest, encoder, generator): keys run side by side; each record's output is sent as soon as it is there,
and the contiguous finished prefix is committed. A repeat after a crash is possible and harmless.

`publish` (safety): a batch is worked through, then its output, its markers and its offset appear together.
Nothing is answered twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from aiorwlock import RWLock

from captionstream.contracts.record import Outgoing, Record
from captionstream.runtime.message_log import Lane, Progress

T = TypeVar("T")
Work = Callable[[Record], AsyncIterator[Outgoing]]
CAREFUL_AFTER = 2  # deaths from one offset; from then on one record at a time
POISON_AFTER = 2  # deaths of the process while one record was alone in it; then that record is refused unseen
QUIET_RECORDS = 256
"""Input without an answer is acknowledged this late: partial text costs no transaction of its own."""
QUIET_TAKES = 6
"""Or after so many empty takes, some three seconds: most captions have their words by then."""


@dataclass(frozen=True)
class Handling:
    """What a lane does with a record: `work` it, or refuse it as `poisoned`; at most `bound` at a time.

    `company` is shared by all lanes of a process: a record that is suspected of killing it is worked without any.
    `waiting` says whether a record waits for an engine that is away: then a death is not its fault.
    """

    work: Work
    poisoned: Callable[[Record, int], Sequence[Outgoing]]
    bound: int = 16
    company: RWLock = field(default_factory=RWLock)
    waiting: Callable[[Record], bool] = lambda record: False


async def relay(lane: Lane, handling: Handling) -> None:
    """Work through `lane` in the idempotent form, until it stops."""
    await one_by_one_after_deaths(lane, handling)
    window = Window(handling.bound)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fill(lane, handling, window, tasks))
        tasks.create_task(commit_finished(lane, window))


async def publish(lane: Lane, handling: Handling) -> None:
    """Work through `lane` in the transactional form, until it stops."""
    await one_by_one_after_deaths(lane, handling)
    quiet = empty = next_offset = 0
    begun = False
    while not lane.stopping:
        batch = await lane.take(handling.bound)
        if batch and not begun:
            await begin(lane, batch[0])
            begun = True
        outgoing = await in_company(handling, partial(output_of, lane, handling.work, batch))
        quiet += len(batch)
        empty = 0 if batch else empty + 1
        next_offset = batch[-1].offset + 1 if batch else next_offset
        if outgoing or quiet >= QUIET_RECORDS or (quiet and empty >= QUIET_TAKES):
            await lane.commit(outgoing, next_offset)
            quiet = 0
    if quiet:
        await lane.commit((), next_offset)


async def begin(lane: Lane, record: Record) -> None:
    """Note that work from here begins, so that a successor can count deaths."""
    await lane.mark(record.offset, Progress(begun=lane.progress.begun + 1))


async def one_by_one_after_deaths(lane: Lane, handling: Handling) -> None:
    """After repeated deaths from one offset: one record alone in the whole process, until the window is through."""
    if lane.progress.begun < CAREFUL_AFTER:
        return
    alone = lane.progress.alone
    done = 0
    while done < handling.bound and not lane.stopping:
        for record in await lane.take(1):
            outgoing = await output_alone(lane, handling, record, alone)
            await lane.commit(outgoing, record.offset + 1)
            alone = 0
            done += 1


async def output_alone(lane: Lane, handling: Handling, record: Record, deaths: int) -> Sequence[Outgoing]:
    """The output of a suspect, or its refusal when the process died in its sole company POISON_AFTER times.

    Once it waits for an engine it is no suspect any more: the mark is wiped, and others may work beside it.
    """
    if deaths >= POISON_AFTER:
        return handling.poisoned(record, deaths)
    await handling.company.writer_lock.acquire()  # after a failure it stays shut, see in_company
    await lane.mark(record.offset, Progress(CAREFUL_AFTER, deaths + 1))
    working = asyncio.ensure_future(finished_output(lane, handling.work, record, None))
    try:
        while not working.done() and not handling.waiting(record):
            await asyncio.wait({working}, timeout=0.2)
        if not working.done():
            await lane.mark(record.offset, Progress())
            handling.company.writer_lock.release()
            return await working
        outgoing = working.result()
        handling.company.writer_lock.release()
        return outgoing
    finally:
        working.cancel()


class Window:
    """Records in work, in the order of the log, at most `bound` of them."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._queue: asyncio.Queue[tuple[Record, asyncio.Task[None]] | None] = asyncio.Queue(bound)
        self._held: list[tuple[Record, asyncio.Task[None]] | None] = []

    @property
    def room(self) -> int:
        return max(1, self.bound - self._queue.qsize())

    async def add(self, record: Record, task: asyncio.Task[None]) -> None:
        await self._queue.put((record, task))

    async def close(self) -> None:
        await self._queue.put(None)

    async def finished(self) -> int | None:
        """Wait for the oldest record; the next offset after the finished prefix, or None at the end."""
        first = self._held.pop() if self._held else await self._queue.get()
        if first is None:
            return None
        record, task = first
        await task
        while not self._queue.empty():
            following = self._queue.get_nowait()
            if following is None or not succeeded(following[1]):
                self._held.append(following)
                break
            record = following[0]
        return record.offset + 1


def succeeded(task: asyncio.Task[None]) -> bool:
    """Done is not enough: what failed must never be acknowledged, not even in the moment before the process ends."""
    return task.done() and not task.cancelled() and task.exception() is None


async def fill(lane: Lane, handling: Handling, window: Window, tasks: asyncio.TaskGroup) -> None:
    """Start work on records as room allows; a record waits for the one before it with the same key."""
    last_of_key: dict[bytes | None, asyncio.Task[None]] = {}
    begun = False
    while not lane.stopping:
        for record in await lane.take(window.room):
            if not begun:
                await begin(lane, record)
                begun = True
            task = tasks.create_task(relay_one(lane, handling, record, last_of_key.get(record.key)))
            last_of_key[record.key] = task
            await window.add(record, task)
        last_of_key = {key: task for key, task in last_of_key.items() if not task.done()}
    await window.close()


async def commit_finished(lane: Lane, window: Window) -> None:
    """Acknowledge what is finished, as many records at once as are done."""
    while (next_offset := await window.finished()) is not None:
        await lane.commit((), next_offset)


async def in_company(handling: Handling, work: Callable[[], Awaitable[T]]) -> T:
    """Work beside that of other lanes. After a failure the lock stays shut: while the process dies none is alone."""
    await handling.company.reader_lock.acquire()
    done = await work()
    handling.company.reader_lock.release()
    return done


async def relay_one(
    lane: Lane, handling: Handling, record: Record, before: asyncio.Task[None] | None
) -> None:
    if before is not None:
        await asyncio.wait([before])
    work = partial(finished_output, lane, handling.work, record, None)
    await lane.send(await in_company(handling, work))


async def output_of(lane: Lane, work: Work, batch: Sequence[Record]) -> list[Outgoing]:
    """The output of a batch in the order of the log; keys run side by side."""
    last_of_key: dict[bytes | None, asyncio.Task[list[Outgoing]]] = {}
    order: list[asyncio.Task[list[Outgoing]]] = []
    async with asyncio.TaskGroup() as tasks:
        for record in batch:
            task = tasks.create_task(finished_output(lane, work, record, last_of_key.get(record.key)))
            last_of_key[record.key] = task
            order.append(task)
    return [outgoing for task in order for outgoing in task.result()]


async def finished_output(
    lane: Lane, work: Work, record: Record, before: asyncio.Task[list[Outgoing]] | None
) -> list[Outgoing]:
    """What `record` gives. Partial text is sent at once; the rest is returned, to be sent or committed."""
    if before is not None:
        await asyncio.wait([before])
    finished: list[Outgoing] = []
    async for outgoing in work(record):
        if outgoing.partial:
            await lane.send([outgoing])
        else:
            finished.append(outgoing)
    return finished
