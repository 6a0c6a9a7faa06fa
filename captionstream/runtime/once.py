"""What was done once is not done again; what is being done now is not done twice."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from captionstream.telemetry import metrics

Value = TypeVar("Value")
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Got(Generic[Value]):
    """A result, and whether somebody else's work gave it."""

    value: Value
    shared: bool


@dataclass(slots=True)
class Flight(Generic[Value]):
    """One piece of work, and how many wait for it."""

    work: asyncio.Task[Value]
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Kept(Generic[Value]):
    value: Value
    size: int
    since: float


class Once(Generic[Value]):
    """Results by key, least recently used dropped first; who asks at once for one key shares one piece of work.

    `work` names it in the metrics, `size` tells the bytes of a result, of which `max_bytes` are kept; none is
    used after `max_age_s`. Failures are not kept: all who wait get them, the next one tries again. Work ends
    when nobody waits for it any more.
    """

    def __init__(
        self,
        work: str,
        size: Callable[[Value], int],
        max_bytes: int = 32 * MEBIBYTE,
        max_entries: int = 4096,
        max_age_s: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._size = size
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._max_age_s = max_age_s
        self._clock = clock
        self._kept: OrderedDict[str, Kept[Value]] = OrderedDict()
        self._bytes = 0
        self._flights: dict[str, Flight[Value]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: str, make: Callable[[], Awaitable[Value]]) -> Got[Value]:
        """The result for `key`: kept, of work already under way, or of `make`."""
        if (kept := self._fresh(key)) is not None:
            self._kept.move_to_end(key)
            self._count("hit")
            return Got(kept.value, shared=True)
        if (flight := self._flights.get(key)) is not None:
            self._count("joined")
            return Got(await self._arrival(key, flight), shared=True)
        self._count("miss")
        return Got(await self._arrival(key, self._start(key, make)), shared=False)

    def _fresh(self, key: str) -> Kept[Value] | None:
        kept = self._kept.get(key)
        if kept is not None and self._clock() - kept.since > self._max_age_s:
            self._drop(key)
            return None
        return kept

    def _start(self, key: str, make: Callable[[], Awaitable[Value]]) -> Flight[Value]:
        flight = self._flights[key] = Flight(asyncio.ensure_future(make()))
        flight.work.add_done_callback(lambda work: self._landed(key, flight))
        return flight

    async def _arrival(self, key: str, flight: Flight[Value]) -> Value:
        """The result of `flight`. Who stops waiting leaves it to the others; the last one ends it."""
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.work)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.work.done():
                self._forget(key, flight)
                flight.work.cancel()

    def _landed(self, key: str, flight: Flight[Value]) -> None:
        self._forget(key, flight)
        if not flight.work.cancelled() and flight.work.exception() is None:
            self._keep(key, flight.work.result())

    def _forget(self, key: str, flight: Flight[Value]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _keep(self, key: str, value: Value) -> None:
        size = self._size(value)
        if size > self._max_bytes:
            return
        self._kept[key] = Kept(value, size, self._clock())
        self._bytes += size
        while self._bytes > self._max_bytes or len(self._kept) > self._max_entries:
            self._drop(next(iter(self._kept)))
        metrics.KEPT_BYTES.labels(self._work).set(self._bytes)

    def _drop(self, key: str) -> None:
        self._bytes -= self._kept.pop(key).size

    def _count(self, result: str) -> None:
        metrics.REUSE.labels(self._work, result).inc()
