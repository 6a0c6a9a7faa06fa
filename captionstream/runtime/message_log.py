"""The seam to the log. Two logs stand behind it, in memory and on Kafka, with one behaviour suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from captionstream.contracts.record import Outgoing, Record
from captionstream.runtime.answers import Answers

# An int is "that many records before the end" of each partition; a mapping gives an offset for each.
Start = Literal["start", "end"] | int | datetime | Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a worker wants to read, and how.

    group: consumer group, one per stage. slot: name of a static member, unique among live workers; None is dynamic.
    transactional: outputs, markers and offset of a batch appear together or not at all.
    markers: compacted topic whose keys are already answered; only with transactional.
    """

    topic: str
    group: str
    slot: str | None = None
    transactional: bool = False
    markers: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What is kept beside a committed offset: how often work from there was begun, and how often alone."""

    begun: int = 0
    alone: int = 0


@dataclass(frozen=True, slots=True)
class Lag:
    """What a lane has before it: `records` appended and not acknowledged, `oldest` the append of the first in hand.

    The ends of transactions that lie between count as records until they are passed; 0 when all is done.
    """

    records: int
    oldest: datetime | None = None


class Lane(Protocol):
    """One partition, for as long as this worker owns it."""

    @property
    def partition(self) -> int: ...

    @property
    def progress(self) -> Progress:
        """As found at assignment, beside the committed offset."""
        ...

    @property
    def stopping(self) -> bool:
        """The partition is about to be taken away, or the worker stops: finish what is in hand, take no more."""
        ...

    async def take(self, limit: int) -> Sequence[Record]:
        """The next records in order; waits up to about half a second; empty when there are none."""
        ...

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Append outside of any transaction; returns when all are acknowledged."""
        ...

    async def commit(self, outgoing: Sequence[Outgoing], next_offset: int) -> None:
        """Append and acknowledge the input up to `next_offset` (exclusive): at once if transactional."""
        ...

    async def mark(self, offset: int, progress: Progress) -> None:
        """Note, beside the committed offset `offset`, that work from there begins."""
        ...

    async def lag(self) -> Lag | None:
        """Measured now; None while it cannot be told, as when the broker is away. Does not touch the work."""
        ...

    @property
    def answers(self) -> Answers:
        """What is answered already, read at assignment from the markers; empty without markers."""
        ...


class MessageLog(Protocol):
    """Append, follow, and work through a topic as a member of a group."""

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """Append; returns when all are acknowledged."""
        ...

    def read(self, topic: str, start: Start = "start", *, follow: bool = True) -> AsyncIterator[Record]:
        """Committed records of all partitions. Ends at the present end unless `follow`."""
        ...

    async def ends(self, topic: str) -> Mapping[int, int]:
        """The next offset of each partition: a `start` for a reader that must miss nothing from now on."""
        ...

    async def work(
        self,
        subscription: Subscription,
        through: Callable[[Lane], Awaitable[None]],
        stop: asyncio.Event,
        assigned: Callable[[frozenset[int]], None] = lambda partitions: None,
    ) -> None:
        """Run `through(lane)` for every partition owned, until `stop`. Any exception of it is raised here."""
        ...

    async def close(self) -> None: ...
