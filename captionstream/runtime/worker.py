"""One stage at work on a log: what is in hand, whether it is ready, whether it is stuck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from aiorwlock import RWLock

from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import input_of, markers_of
from captionstream.runtime.advance import Advance
from captionstream.runtime.errors import Unavailable
from captionstream.runtime.first_answers import FirstAnswers
from captionstream.runtime.message_log import Lane, MessageLog, Subscription
from captionstream.runtime.ordering import Handling, Work, publish, relay
from captionstream.runtime.service import Service
from captionstream.telemetry import metrics

PROBE_EVERY_S = 15.0
LAG_EVERY_S = 5.0
ANSWER_VALID_S = 40.0  # for so long an answer of the engine counts as proof that it answers
log = structlog.get_logger()


class Stuck(Exception):
    """Work on a record went on for longer than any record may take."""


@dataclass
class Worker:
    """Works through a stage's topic until told to stop.

    bound: records taken at most, per partition. work_limit_s: longest work on one record while no engine is away.
    probing: ask the engine now and then when there is no work that proves that it answers.
    """

    service: Service
    log: MessageLog
    slot: str | None = None
    bound: int = 16
    work_limit_s: float = 120.0
    prefix: str = "captionstream"
    probing: bool = True
    owned: frozenset[int] = frozenset()
    _in_hand: dict[tuple[int, int], float] = field(default_factory=dict)
    _answered_at: float | None = None
    _lanes: set[Lane] = field(default_factory=set)
    _company: RWLock = field(default_factory=RWLock)

    def __post_init__(self) -> None:
        self.stage = self.service.stage
        self.advance = Advance(self.stage)
        self._turns = asyncio.Semaphore(self.service.at_once)

    @property
    def subscription(self) -> Subscription:
        group = f"{self.prefix}-{self.stage.name}"
        markers = markers_of(self.stage.name)
        return Subscription(
            topic=input_of(self.stage.name).name,
            group=group,
            slot=f"{group}-{self.slot}" if self.slot is not None else None,
            transactional=markers is not None,
            markers=markers.name if markers else None,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; any failure of the runtime is raised, and then nothing more is acknowledged."""
        watching = [asyncio.create_task(self._watch()), asyncio.create_task(self._keep_measuring())]
        watching += [asyncio.create_task(self._keep_probing())] if self.probing else []
        working = asyncio.create_task(self.log.work(self.subscription, self._through, stop, self._assigned))
        try:
            await asyncio.wait({working, *watching}, return_when=asyncio.FIRST_COMPLETED)
            for task in (working, *watching):
                if task.done():
                    task.result()
        finally:
            for task in (working, *watching):
                task.cancel()

    def alive(self) -> Mapping[str, bool]:
        return {"not-stuck": self._oldest_s() < self.work_limit_s}

    def ready(self) -> Mapping[str, bool]:
        answered = self._answered_at is not None and time.monotonic() - self._answered_at < ANSWER_VALID_S
        return {"partitions-assigned": bool(self.owned), "engine-answers": answered}

    async def _through(self, lane: Lane) -> None:
        work: Work = self.advance
        if self.subscription.transactional:
            work = FirstAnswers(lane, self.advance)
        handling = Handling(
            self._watched(work), self.advance.poisoned, self.bound, self._company, self._waits_for_engine
        )
        self._lanes.add(lane)
        try:
            await (publish if self.subscription.transactional else relay)(lane, handling)
        finally:
            self._lanes.discard(lane)

    def _waits_for_engine(self, record: Record) -> bool:
        return (record.partition, record.offset) in self.advance.waiting

    def _watched(self, work: Work) -> Work:
        async def watched(record: Record) -> AsyncIterator[Outgoing]:
            place = (record.partition, record.offset)
            async with self._turns:
                self._in_hand[place] = time.monotonic()
                try:
                    async for outgoing in work(record):
                        yield outgoing
                finally:
                    self._in_hand.pop(place, None)

        return watched

    def _assigned(self, partitions: frozenset[int]) -> None:
        self.owned = partitions
        metrics.ASSIGNED.labels(self.stage.name).set(len(partitions))

    async def _keep_probing(self) -> None:
        """Ask the engine for a real piece of work when idle: a server may look healthy and answer nothing."""
        while True:
            if self._answered_at is None or time.monotonic() - self._answered_at > PROBE_EVERY_S:
                await self._probe()
            await asyncio.sleep(1.0 if self._answered_at else 0.2)

    async def _probe(self) -> None:
        try:
            await self.service.probe()
            self._answered_at = time.monotonic()
        except Unavailable as away:
            log.warning("engine does not answer", engine=away.engine)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            oldest = self._oldest_s()
            metrics.IN_FLIGHT.labels(self.stage.name).set(len(self._in_hand))
            metrics.OLDEST_SECONDS.labels(self.stage.name).set(oldest)
            metrics.WAITING.labels(self.stage.name).set(len(self.advance.waiting))
            for condition, holds in self.ready().items():
                metrics.READY.labels(self.stage.name, condition).set(holds)
            if not all(self.alive().values()):
                raise Stuck(f"{self.stage.name} has worked on one record for {oldest:.0f} s")

    async def _keep_measuring(self) -> None:
        """A gauge never ends the process."""
        while True:
            try:
                await self._measure_lag()
            except Exception as failure:
                log.warning("lag not measured", error=type(failure).__name__)
            await asyncio.sleep(LAG_EVERY_S)

    async def _measure_lag(self) -> None:
        """Over the partitions of this process. Stays as it was while any of them cannot be told."""
        lags = [lag for lag in await asyncio.gather(*(lane.lag() for lane in self._lanes)) if lag is not None]
        if len(lags) < len(self._lanes):
            return
        now = datetime.now(UTC)
        oldest = min((lag.oldest for lag in lags if lag.oldest is not None), default=now)
        metrics.LAG_RECORDS.labels(self.stage.name).set(sum(lag.records for lag in lags))
        metrics.LAG_SECONDS.labels(self.stage.name).set(max(0.0, (now - oldest).total_seconds()))

    def _oldest_s(self) -> float:
        """Age of the oldest record in work; one that waits for an engine that is away does not count."""
        begun = [at for place, at in self._in_hand.items() if place not in self.advance.waiting]
        return time.monotonic() - min(begun, default=time.monotonic())
