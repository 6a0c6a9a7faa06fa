"""kill -9 of Triton, of one of its stubs and of the language model, under load: captions go on by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from captionstream.cli.stack import stack_parts
from captionstream.local.installed import Installed
from captionstream.local.supervisor import Supervisor
from captionstream.runtime.kafka_log import KafkaLog
from tests.faults.harness import Load, Report, all_answered, back, check, kill, running
from tests.stack.coded_pictures import coded_event

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


async def test_killed_engines_lose_and_double_nothing(tmp_path: Path) -> None:
    """What was in work when an engine died waits in place and is answered, each picture with its own code."""
    photographs = Installed.here().photographs
    async with running(tmp_path, stack_parts(tmp_path)) as supervisor:
        log = KafkaLog(f"127.0.0.1:{supervisor.state.part('kafka').port}")
        load = Load(log, "engine", 0.7, lambda number, tag: coded_event(photographs, number, tag))
        publishing = asyncio.create_task(load.run())
        await asyncio.sleep(4)
        took = {"triton": await kill(supervisor, "triton")}
        await asyncio.sleep(3)
        took["stub"] = await kill_stub(supervisor)
        await asyncio.sleep(3)
        took["language-model"] = await kill(supervisor, "language-model")
        await asyncio.sleep(3)
        load.stop()
        await publishing
        answers = await all_answered(log, load, 300)
        await log.close()
    print(f"{len(load.events)} events; seconds until ready again: {took}")
    assert Report() == check(load.events, answers)


async def kill_stub(supervisor: Supervisor) -> float:
    """Kill one python stub of tritonserver: its health endpoint stays 200, only a real inference tells."""
    triton = supervisor.state.part("triton")
    stubs = [child for child in psutil.Process(triton.pid).children(recursive=True) if "stub" in child.name()]
    assert stubs, "tritonserver has no python stubs"
    os.kill(stubs[0].pid, signal.SIGKILL)
    return await back(supervisor, "triton", triton.restarts)
