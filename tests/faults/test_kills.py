"""kill -9 under load, on a real Kafka: nothing is lost, nothing is published twice, all comes back by itself."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from captionstream.cli.stack import make_topics
from captionstream.local.stack import local_stack
from captionstream.runtime.kafka_log import KafkaLog
from tests.faults.harness import Load, Report, all_answered, check, kill, running, shuffled

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

SERVICES = ["ingest", "encoder", "generator", "safety"]
SEED = 20261124


async def test_killed_services_and_broker_lose_and_double_nothing(tmp_path: Path) -> None:
    """Every service twice and the broker once, in random order, while events come."""
    parts = local_stack(tmp_path, engines="scripted", after_kafka=make_topics)
    pause = random.Random(SEED)
    async with running(tmp_path, parts) as supervisor:
        log = KafkaLog(f"127.0.0.1:{supervisor.state.part('kafka').port}")
        load = Load(log, "kill", rate=15)
        publishing = asyncio.create_task(load.run())
        took = {}
        for number, role in enumerate(shuffled([*SERVICES, *SERVICES, "kafka"], SEED)):
            await asyncio.sleep(pause.uniform(0.5, 2.0))
            took[f"{number} {role}"] = round(await kill(supervisor, role), 1)
        await asyncio.sleep(2)
        load.stop()
        await publishing
        answers = await all_answered(log, load, 120)
        await log.close()
    print(f"{len(load.events)} events; seconds until ready again: {took}")
    assert Report() == check(load.events, answers)
    assert len(load.events) >= 200
