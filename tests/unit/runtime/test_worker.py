"""A worker says honestly whether it is ready and whether it is stuck."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from captionstream.contracts import messages as m
from captionstream.contracts.topics import IMAGES_PREPARED
from captionstream.runtime.asking import submit
from captionstream.runtime.errors import Unavailable
from captionstream.runtime.memory_log import MemoryLog
from captionstream.runtime.service import Service
from captionstream.runtime.stage import Delivery
from captionstream.runtime.worker import Stuck, Worker
from captionstream.telemetry.probes import application
from tests.builders import submitted
from tests.unit.runtime.test_advance import ScriptedStage, fine, prepared


async def answers() -> None: ...


async def away() -> None:
    raise Unavailable("engine")


class EndlessStage(ScriptedStage):
    """Never comes to an end."""

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        await asyncio.Event().wait()
        yield prepared(message, delivery)


class WaitingStage(ScriptedStage):
    """Its engine is away for ever."""

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        raise Unavailable("engine", retry_after_s=5)
        yield prepared(message, delivery)


async def while_working(worker: Worker, look: Callable[[], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run(stop))
    try:
        await asyncio.wait_for(look(), 10)
    finally:
        stop.set()
        await working


async def test_ready_means_partitions_and_an_engine_that_answered() -> None:
    """Owning partitions is not enough, and neither is a process that lives."""
    for probe, ready in ((answers, True), (away, False)):
        worker = Worker(Service(ScriptedStage(fine), probe), MemoryLog())
        assert not all(worker.ready().values())

        async def look(worker: Worker = worker, ready: bool = ready) -> None:
            await asyncio.sleep(0.5)
            assert {"partitions-assigned": True, "engine-answers": ready} == worker.ready()

        await while_working(worker, look)


async def test_endless_work_ends_the_process() -> None:
    """A record that is worked on for longer than any may take stops the worker; the successor goes on."""
    log = MemoryLog()
    worker = Worker(Service(EndlessStage(fine), answers), log, work_limit_s=0.5)
    await submit(log, [submitted()])
    with pytest.raises(Stuck):
        await asyncio.wait_for(worker.run(asyncio.Event()), 10)
    assert 0 == sum(log.committed("captionstream-ingest", "image-events", n)[0] for n in range(8))


async def test_waiting_for_an_engine_is_not_being_stuck() -> None:
    """The watchdog expects no progress while an engine is away."""
    log = MemoryLog()
    worker = Worker(Service(WaitingStage(fine), answers), log, work_limit_s=0.5)
    worker.advance.unavailable_budget_s = 4
    await submit(log, [submitted()])

    async def look() -> None:
        await asyncio.sleep(2.5)
        assert {"not-stuck": True} == worker.alive()

    await while_working(worker, look)


async def test_only_as_many_records_as_the_engine_is_worth_are_in_work() -> None:
    """The rest wait, whatever number of partitions there are."""
    most = 0

    class Counting(ScriptedStage):
        now = 0

        async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
            nonlocal most
            Counting.now += 1
            most = max(most, Counting.now)
            await asyncio.sleep(0.01)
            Counting.now -= 1
            yield prepared(message, delivery)

    log = MemoryLog()
    worker = Worker(Service(Counting(fine), answers, at_once=3), log)
    await submit(log, [submitted(f"event-{number}") for number in range(60)])

    async def all_done() -> None:
        while len([r async for r in log.read(IMAGES_PREPARED.name, follow=False)]) < 60:
            await asyncio.sleep(0.02)

    await while_working(worker, all_done)
    assert 3 == most


async def test_probes_answer_with_what_does_not_hold() -> None:
    """503 names the condition; metrics are in Prometheus' own format."""
    probes = httpx.ASGITransport(application(lambda: {"not-stuck": True}, lambda: {"engine-answers": False}))
    async with httpx.AsyncClient(transport=probes, base_url="http://127.0.0.1") as client:
        assert 200 == (await client.get("/livez")).status_code
        ready = await client.get("/readyz")
        assert (503, {"engine-answers": False}) == (ready.status_code, ready.json())
        assert "captionstream_messages_total" in (await client.get("/metrics")).text
