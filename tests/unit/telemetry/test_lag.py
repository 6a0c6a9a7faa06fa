"""What a worker tells of how far it is behind, and whether it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from prometheus_client import REGISTRY

from captionstream.contracts import messages as m
from captionstream.runtime.asking import submit
from captionstream.runtime.memory_log import MemoryLane, MemoryLog
from captionstream.runtime.service import Service
from captionstream.runtime.stage import Delivery
from captionstream.runtime.worker import Worker
from captionstream.telemetry import metrics
from tests.builders import submitted
from tests.unit.runtime.test_advance import ScriptedStage, fine, prepared

WAIT_S = 30.0


class HeldBack(ScriptedStage):
    """Works when it is let go."""

    def __init__(self) -> None:
        super().__init__(fine)
        self.go = asyncio.Event()

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        await self.go.wait()
        yield prepared(message, delivery)


async def answers() -> None: ...


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"captionstream_{name}", {"stage": "ingest", **labels})


async def reads(expected: float, name: str, **labels: str) -> None:
    """Wait until the gauge has this value."""
    async with asyncio.timeout(WAIT_S):
        while gauge(name, **labels) != expected:
            await asyncio.sleep(0.05)


async def test_a_worker_tells_how_far_it_is_behind() -> None:
    """Thirty events that nobody has worked are a lag of thirty, with an age; worked off it is 0, without one."""
    log, stop, stage = MemoryLog(), asyncio.Event(), HeldBack()
    await submit(log, [submitted(f"event-{number}") for number in range(30)])
    working = asyncio.create_task(Worker(Service(stage, answers), log, bound=2).run(stop))
    await reads(30, "consumer_lag_records")
    assert (gauge("consumer_lag_seconds") or 0) > 0
    await reads(1, "ready", condition="engine-answers")
    stage.go.set()
    await reads(0, "consumer_lag_records")
    assert 0 == gauge("consumer_lag_seconds")
    stop.set()
    await working


async def test_a_lag_that_cannot_be_told_is_not_taken_for_none() -> None:
    """While the broker is away the last known lag stays: it is not 0."""

    class Silent(MemoryLane):
        async def lag(self) -> None:  # type: ignore[override]
            return None

    log, stop = MemoryLog(), asyncio.Event()
    worker = Worker(Service(HeldBack(), answers), log, probing=False)
    metrics.LAG_RECORDS.labels("ingest").set(7)
    worker._lanes.add(Silent(log, worker.subscription, 0, stop))
    await worker._measure_lag()
    assert 7 == gauge("consumer_lag_records")


async def test_a_first_refusal_of_a_kind_is_an_increase() -> None:
    """Every reason is there with 0 before anything was refused, so that an alert sees the first."""
    Worker(Service(HeldBack(), answers), MemoryLog())
    for reason in m.RefusalReason:
        assert gauge("refusals_total", reason=reason) is not None
