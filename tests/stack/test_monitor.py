"""The monitor on a real Kafka: it counts what safety answered, says what stands out, and goes on where it was."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.record import Outgoing
from captionstream.contracts.topics import ALERTS, CAPTION_RATES, CAPTIONS
from captionstream.contracts.values import Profile, StageName
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics
from services.monitor.rates import refused as refused_in
from tests.conftest import free_port
from tests.unit.monitor.builders import published, refused

pytestmark = pytest.mark.stack
PROFILES = (Profile.ALT, Profile.PRODUCT, Profile.EDITORIAL, Profile.INSPECTION)
BEFORE, WAVE = 300, 60  # answers of each profile: in the hour before, and in the last minutes


@contextmanager
def monitor(kafka: str, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and the address of its probes, from the moment it is ready."""
    port = free_port()
    told = {"KAFKA": kafka, "SLOT": "0", "PROBE_PORT": str(port)}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.monitor"], stdout=file, stderr=file,
            env={**os.environ, **{f"CAPTIONSTREAM_{name}": value for name, value in told.items()}},
        )  # fmt: skip
    try:
        begun = time.monotonic()
        while not answers_yes(f"http://127.0.0.1:{port}/readyz"):
            assert process.poll() is None and time.monotonic() < begun + 40, log.read_text()[-3000:]
            time.sleep(0.1)
        print(f"ready after {time.monotonic() - begun:.1f} s")
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


def answers_yes(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def hour_before(now: datetime) -> list[m.Answer]:
    """Quiet traffic of all profiles: confidence around 0.7, now and then a refusal."""
    dice, answers = random.Random(1), list[m.Answer]()
    for place in range(BEFORE):
        at = now - timedelta(minutes=60) + timedelta(minutes=54) * (place / BEFORE)
        for profile in PROFILES:
            name = f"{profile}-{place}"
            confidence = dice.uniform(0.5, 0.9)
            answers.append(
                refused(name, at, profile=profile)
                if dice.random() < 0.05
                else published(name, at, profile=profile, confidence=confidence, tenant="shop")
            )
    return answers


def last_minutes(now: datetime) -> list[m.Answer]:
    """`alt` goes on as before. Of the others one is refused, one says the same of everything, one is unsure."""
    dice, answers = random.Random(2), list[m.Answer]()
    for place in range(WAVE):
        at = now - timedelta(minutes=3) + timedelta(minutes=3) * (place / WAVE)
        names = {profile: f"{profile}-late-{place}" for profile in PROFILES}
        confidence = dice.uniform(0.5, 0.9)
        alt, product, editorial, inspection = PROFILES
        answers += [
            published(names[alt], at, profile=alt, confidence=confidence),
            refused(names[product], at, profile=product)
            if place % 3
            else published(names[product], at, profile=product, confidence=confidence),
            published(names[editorial], at, profile=editorial, confidence=confidence, text="A cat."),
            published(names[inspection], at, profile=inspection, confidence=dice.uniform(0.1, 0.4)),
        ]
    return answers


async def publish(log: KafkaLog, answers: list[m.Answer]) -> None:
    await log.publish([as_record(answer) for answer in answers])


def as_record(answer: m.Answer) -> Outgoing:
    return codec.encode(answer, StageName.SAFETY)


async def rows(log: KafkaLog) -> dict[bytes, m.CaptionRates]:
    found: dict[bytes, m.CaptionRates] = {}
    async for record in log.read(CAPTION_RATES.name, follow=False):
        row = codec.decode(record)
        assert isinstance(row, m.CaptionRates) and record.key == row.key
        found[row.key] = row
    return found


async def alerts(log: KafkaLog) -> list[m.Anomaly]:
    """All of them, by kind and profile: those of two keys have no order."""
    told = [codec.decode(record) async for record in log.read(ALERTS.name, follow=False)]
    return sorted((alert for alert in told if isinstance(alert, m.Anomaly)), key=lambda alert: alert.key)


async def counted(log: KafkaLog) -> int:
    return sum(row.answers for row in (await rows(log)).values())


async def until(expected: int, look: Callable[[], Awaitable[int]], within_s: float = 20) -> None:
    """Wait for a number that only grows; what it was at last stands in the failure."""
    seen, deadline = -1, time.monotonic() + within_s
    while (seen := await look()) < expected and time.monotonic() < deadline:
        await asyncio.sleep(0.3)
    assert expected == seen


async def test_it_counts_once_goes_on_after_a_kill_and_says_what_stands_out(
    kafka: str, tmp_path: Path
) -> None:
    """Half of an hour, a kill -9, the other half with repeats and rubbish: every answer is counted once.

    Then three profiles go wrong in three ways and one does not: each of the three is raised once, and the
    fourth never. A restart raises nothing again.
    """
    await create_topics(kafka)
    log = KafkaLog(kafka)
    now = datetime.now(UTC)
    usual, wave = hour_before(now), last_minutes(now)
    half = len(usual) // 2
    try:
        with monitor(kafka, tmp_path / "monitor.log") as (process, _):
            await publish(log, usual[:half])
            await until(half, lambda: counted(log))
            await publish(log, usual[half : half + 200])
            process.kill()
        with monitor(kafka, tmp_path / "monitor.log") as (process, url):
            await publish(log, [*usual[half + 200 :], *usual[half : half + 200]])  # the last of them repeat
            await until(len(usual), lambda: counted(log))
            rubbish = await malformed(url)
            await log.publish([Outgoing(CAPTIONS.name, b"rubbish", b"{")])
            assert [] == await alerts(log)
            await an_answer_that_is_taken_back(kafka, published("taken-back", now))
            await publish(log, wave)
            await publish(log, [published("taken-back", now)])
            await until(len(usual) + len(wave) + 1, lambda: counted(log))
            await shows_rates_and_alerts(log, [*usual, *wave])
            await shows_metrics(url)
            assert rubbish + 1 == await malformed(url)
            raised = await alerts(log)
        with monitor(kafka, tmp_path / "monitor.log") as (process, url):
            await publish(log, [refused(f"more-{place}", now, profile="product") for place in range(10)])
            await until(len(usual) + len(wave) + 11, lambda: counted(log))
            assert raised == await alerts(log)
            process.terminate()
            assert 0 == process.wait(15)
    finally:
        await log.close()


async def an_answer_that_is_taken_back(kafka: str, answer: m.Answer) -> None:
    """What safety leaves when it dies within a transaction: the record is there, and was never committed."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id="taken-back")
    outgoing = as_record(answer)
    async with producer:
        await producer.begin_transaction()
        await producer.send_and_wait(
            outgoing.topic, outgoing.value, key=outgoing.key, headers=list(outgoing.headers)
        )
        await producer.abort_transaction()


async def shows_rates_and_alerts(log: KafkaLog, answers: list[m.Answer]) -> None:
    """The rows hold the outcomes that were published; the alerts name kind, profile and captions that show it."""
    found = (await rows(log)).values()
    assert sum(isinstance(answer, m.CaptionRefused) for answer in answers) == sum(map(refused_in, found))
    told = await alerts(log)
    assert {
        (m.AnomalyRaised, m.AnomalyKind.REFUSALS, Profile.PRODUCT),
        (m.AnomalyRaised, m.AnomalyKind.REPETITION, Profile.EDITORIAL),
        (m.AnomalyRaised, m.AnomalyKind.DRIFT, Profile.INSPECTION),
    } == {(type(alert), alert.kind, alert.profile) for alert in told}
    assert 3 == len(told)
    ids = {answer.caption_id for answer in answers}
    assert all(alert.value >= alert.threshold for alert in told)
    assert all(alert.captions and set(alert.captions) <= ids for alert in told)


async def metrics(url: str) -> list[str]:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{url}/metrics")).text.splitlines()


async def malformed(url: str) -> float:
    """How many records the monitor could not read; other tests leave some on the topic, too."""
    name = 'captionstream_watched_skipped_total{why="malformed"} '
    return sum(float(line.removeprefix(name)) for line in await metrics(url) if line.startswith(name))


async def shows_metrics(url: str) -> None:
    lines = await metrics(url)
    assert 'captionstream_anomaly_standing{kind="refusal-rate",profile="product"} 1.0' in lines
    assert 'captionstream_anomaly_standing{kind="refusal-rate",profile="alt"} 0.0' in lines
