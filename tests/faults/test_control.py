"""The check of the fault runs can fail: it finds planted faults, and a naive worker does not pass it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics
from tests.faults.harness import Load, Report, Seen, check, plate_event

EVENTS = [plate_event(number, "run") for number in range(30)]
ANSWERS = [Seen(e.id, f'"ID {e.id[-6:]}"', e.stream_key or "", e.sequence or 0) for e in EVENTS]


def test_a_faultless_run_passes() -> None:
    """Every event once, with its own id, in order."""
    assert Report() == check(EVENTS, ANSWERS)


def test_planted_faults_are_found() -> None:
    """A missing answer, a second one, one of another picture, and two that changed places."""
    assert ("run-000007",) == check(EVENTS, [a for a in ANSWERS if a.event_id != "run-000007"]).lost
    assert ("run-000007",) == check(EVENTS, [*ANSWERS, ANSWERS[7]]).doubled
    swapped = [replace(a, text=ANSWERS[8].text) if a is ANSWERS[7] else a for a in ANSWERS]
    assert ("run-000007",) == check(EVENTS, swapped).mixed_up
    late = [a for a in ANSWERS if a is not ANSWERS[3]]
    assert ("run-camera-3",) == check(EVENTS, [*late, ANSWERS[3]]).out_of_order


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_a_naive_worker_loses_events(kafka: str, tmp_path: Path) -> None:
    """The same load and the same kills, with offsets committed by a timer: the checker says what is lost."""
    await create_topics(kafka)
    log = KafkaLog(kafka)
    load = Load(log, "naive", rate=40)
    publishing = asyncio.create_task(load.run())
    pause = random.Random(1)
    command = [sys.executable, "-m", "tests.faults.naive_worker", kafka, "naive"]
    for _ in range(4):
        worker = await asyncio.create_subprocess_exec(*command)
        await asyncio.sleep(pause.uniform(3.0, 5.0))
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
    load.stop()
    await publishing
    worker = await asyncio.create_subprocess_exec(*command)
    await asyncio.sleep(20)
    worker.kill()
    await worker.wait()
    answers = [
        Seen(name, f"ID {number}", "", 0)
        async for record in log.read("captions", follow=False)
        if record.value.startswith(b"naive-")
        for name, number in [record.value.decode().split(" ")]
    ]
    await log.close()
    report = check(load.events, answers)
    print(f"{len(load.events)} events: {len(report.lost)} lost, {len(report.doubled)} doubled")
    assert report.lost or report.doubled
