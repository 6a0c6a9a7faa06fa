"""What was seen once is not looked at again; what is being looked at now is not looked at twice."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from captionstream.contracts.evidence import ImageEvidence
from captionstream.telemetry import metrics

Encode = Callable[[], Awaitable[ImageEvidence]]


@dataclass(slots=True)
class Flight:
    """One encoding in work, and how many wait for it."""

    work: asyncio.Task[ImageEvidence]
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    evidence: ImageEvidence
    size: int


class EncodingCache:
    """Evidence by key, least recently used dropped first; requests at once for one key share one encoding.

    `max_bytes` counts the evidence as it is published. Failures are not kept: all who wait get them, the next
    one tries again. An encoding ends when nobody waits for it any more.
    """

    def __init__(self, max_bytes: int = 32 * 1024 * 1024, max_entries: int = 4096) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0
        self._flights: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: str, encode: Encode) -> ImageEvidence:
        """The evidence for `key`, from memory, from an encoding already under way, or from `encode`."""
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            metrics.CACHE.labels("hit").inc()
            return from_cache(kept.evidence)
        if (flight := self._flights.get(key)) is not None:
            metrics.CACHE.labels("joined").inc()
            return from_cache(await self._arrival(key, flight))
        metrics.CACHE.labels("miss").inc()
        return await self._arrival(key, self._start(key, encode))

    def _start(self, key: str, encode: Encode) -> Flight:
        flight = self._flights[key] = Flight(asyncio.ensure_future(encode()))
        flight.work.add_done_callback(lambda work: self._landed(key, flight))
        return flight

    async def _arrival(self, key: str, flight: Flight) -> ImageEvidence:
        """The result of `flight`. Who stops waiting leaves it to the others; the last one ends it."""
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.work)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.work.done():
                self._forget(key, flight)
                flight.work.cancel()

    def _landed(self, key: str, flight: Flight) -> None:
        self._forget(key, flight)
        if not flight.work.cancelled() and flight.work.exception() is None:
            self._keep(key, flight.work.result())

    def _forget(self, key: str, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _keep(self, key: str, evidence: ImageEvidence) -> None:
        size = len(evidence.model_dump_json())
        if size > self._max_bytes:
            return
        self._kept[key] = Kept(evidence, size)
        self._bytes += size
        while self._bytes > self._max_bytes or len(self._kept) > self._max_entries:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size


def from_cache(evidence: ImageEvidence) -> ImageEvidence:
    return evidence.model_copy(update={"cached": True})
