"""The log in memory: the embedded pipeline runs on it, and so do fast tests. It behaves as the Kafka log does."""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import PARTITIONS
from captionstream.runtime.answers import Answers
from captionstream.runtime.clock import Clock, utc_now
from captionstream.runtime.errors import first_cause
from captionstream.runtime.message_log import Lag, Lane, Progress, Start, Subscription

TAKE_WAIT_S = 0.5


class MemoryLog:
    """Partitions are lists; a group's committed offset lies in a dict. One owner per partition and group."""

    def __init__(self, *, partitions: int = PARTITIONS, clock: Clock = utc_now) -> None:
        self.partitions = partitions
        self._clock = clock
        self._records: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self._committed: dict[tuple[str, str, int], tuple[int, Progress]] = {}
        self._owned: set[tuple[str, str, int]] = set()
        self._changed = asyncio.Condition()

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        await self.append([(item, self.partition_of(item.key)) for item in outgoing])

    async def read(self, topic: str, start: Start = "start", *, follow: bool = True) -> AsyncIterator[Record]:
        positions = {number: self._start(topic, number, start) for number in range(self.partitions)}
        while True:
            fresh = [
                record for number, at in positions.items() for record in self._records[topic, number][at:]
            ]
            for record in sorted(fresh, key=lambda record: record.appended_at):
                positions[record.partition] = record.offset + 1
                yield record
            if not fresh and not follow:
                return
            if not fresh:
                await self.changed(
                    lambda: any(len(self._records[topic, n]) > at for n, at in positions.items())
                )

    async def ends(self, topic: str) -> Mapping[int, int]:
        return {number: len(self._records[topic, number]) for number in range(self.partitions)}

    async def work(
        self,
        subscription: Subscription,
        through: Callable[[Lane], Awaitable[None]],
        stop: asyncio.Event,
        assigned: Callable[[frozenset[int]], None] = lambda partitions: None,
    ) -> None:
        mine = frozenset(n for n in range(self.partitions) if self._claim(subscription, n))
        lanes = [MemoryLane(self, subscription, number, stop) for number in sorted(mine)]
        assigned(mine)
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in lanes:
                    tasks.create_task(run(through, lane))
                await stop.wait()
                await self.append([])
        except BaseExceptionGroup as failed:
            raise first_cause(failed) from None
        finally:
            self._owned -= {(subscription.group, subscription.topic, number) for number in mine}
            assigned(frozenset())

    async def close(self) -> None:
        """Nothing to release."""

    def committed(self, group: str, topic: str, partition: int) -> tuple[int, Progress]:
        """Where a group goes on reading: offset 0 if it never committed."""
        return self._committed.get((group, topic, partition), (0, Progress()))

    def commit(self, subscription: Subscription, partition: int, offset: int, progress: Progress) -> None:
        self._committed[subscription.group, subscription.topic, partition] = (offset, progress)

    def records(self, topic: str, partition: int) -> list[Record]:
        return self._records[topic, partition]

    def partition_of(self, key: bytes | None) -> int:
        return zlib.crc32(key or b"") % self.partitions

    async def append(self, items: Sequence[tuple[Outgoing, int]]) -> None:
        async with self._changed:
            for item, number in items:
                records = self._records[item.topic, number]
                at = (item.topic, number, len(records))
                records.append(Record(*at, item.key, item.value, item.headers, self._clock()))
            self._changed.notify_all()

    async def changed(self, until: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait until the log has changed so that `until` holds, or `timeout` seconds have passed."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(until)
        except TimeoutError:
            return

    def _claim(self, subscription: Subscription, number: int) -> bool:
        owned = (subscription.group, subscription.topic, number)
        free = owned not in self._owned
        self._owned.add(owned)
        return free

    def _start(self, topic: str, number: int, start: Start) -> int:
        records = self._records[topic, number]
        if isinstance(start, Mapping):
            return start.get(number, 0)
        if isinstance(start, datetime):
            return next((record.offset for record in records if record.appended_at >= start), len(records))
        if isinstance(start, int):
            return max(0, len(records) - start)
        return 0 if start == "start" else len(records)


async def run(through: Callable[[Lane], Awaitable[None]], lane: Lane) -> None:
    await through(lane)


class MemoryLane:
    """One partition of a MemoryLog in the hands of one worker."""

    def __init__(
        self, log: MemoryLog, subscription: Subscription, partition: int, stop: asyncio.Event
    ) -> None:
        self._log = log
        self._subscription = subscription
        self._stop = stop
        self.partition = partition
        self._position, self.progress = log.committed(subscription.group, subscription.topic, partition)
        self.answers = Answers()
        for record in log.records(subscription.markers, partition) if subscription.markers else ():
            self.answers.add_marker(record.key, record.value)

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def take(self, limit: int) -> Sequence[Record]:
        records = self._log.records(self._subscription.topic, self.partition)
        await self._log.changed(lambda: self.stopping or len(records) > self._position, TAKE_WAIT_S)
        if self.stopping:
            return ()
        taken = records[self._position : self._position + limit]
        self._position += len(taken)
        return taken

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        await self._log.append([(item, self._target(item)) for item in outgoing])

    async def commit(self, outgoing: Sequence[Outgoing], next_offset: int) -> None:
        await self.send(outgoing)
        self._log.commit(self._subscription, self.partition, next_offset, Progress())

    async def mark(self, offset: int, progress: Progress) -> None:
        self._log.commit(self._subscription, self.partition, offset, progress)

    async def lag(self) -> Lag:
        records = self._log.records(self._subscription.topic, self.partition)
        done, _ = self._log.committed(self._subscription.group, self._subscription.topic, self.partition)
        in_hand = records[done : self._position]
        return Lag(len(records) - done, in_hand[0].appended_at if in_hand else None)

    def _target(self, item: Outgoing) -> int:
        """A transaction stays in its partition; otherwise the key decides."""
        return self.partition if self._subscription.transactional else self._log.partition_of(item.key)
