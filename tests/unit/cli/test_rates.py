"""What `captionstream status` says of the monitor."""

from __future__ import annotations

from datetime import timedelta

from captionstream.cli.rates import latest, rates_lines, read_rates
from captionstream.contracts import messages as m
from captionstream.contracts.record import Outgoing
from captionstream.contracts.topics import ALERTS, CAPTION_RATES
from captionstream.contracts.values import Profile
from captionstream.runtime.clock import utc_now
from captionstream.runtime.memory_log import MemoryLog
from services.monitor.app import cloud_event_headers
from services.monitor.watch import Watch
from tests.conftest import free_port
from tests.unit.monitor.builders import on_log, published, refused


def outgoing(topic: str, message: m.CaptionRates | m.Anomaly) -> Outgoing:
    value = message.model_dump_json(exclude_none=True).encode()
    return Outgoing(topic, message.key, value, tuple(cloud_event_headers(message)))


async def test_the_last_minutes_and_what_stands_out_are_shown() -> None:
    """By profile, the newest row of each minute; an anomaly that is over is not shown."""
    now, seen, log = utc_now(), Watch(), MemoryLog()
    wave = [refused(f"event-{place}", now, profile="product") for place in range(40)]
    answers = [*wave, published("a", now, hedged=True)]
    first, second = seen.take(on_log(answers[:20])), seen.take(on_log(answers[20:], first=20))
    for changes in (first, second):
        await log.publish([outgoing(CAPTION_RATES.name, row) for row in changes.rows])
        await log.publish([outgoing(ALERTS.name, anomaly) for anomaly in changes.anomalies])
    over = second.anomalies[0].model_copy(update={"profile": Profile.ALT})
    cleared = m.AnomalyCleared.model_validate(over.model_dump())
    await log.publish([outgoing(ALERTS.name, m.AnomalyRaised.model_validate(over.model_dump()))])
    await log.publish([outgoing(ALERTS.name, cleared)])
    shown = await latest(log, now + timedelta(seconds=1))
    assert [("alt", 1, 0), ("product", 40, 40)] == [
        (row["profile"], row["answers"], row["refused"]) for row in shown.rates
    ]
    assert [("refusal-rate", "product")] == [(row["kind"], row["profile"]) for row in shown.anomalies]
    text = "\n".join(rates_lines(shown))
    assert "product     40 answers: 0 published" in text and "40 refused (undecodable 40)" in text
    assert "✗ refusal-rate of product: 1, from 0.3 on" in text


def test_a_stack_without_a_monitor_shows_nothing_of_it() -> None:
    """No answer from Kafka, no rates: the table of parts stands alone."""
    assert read_rates(f"127.0.0.1:{free_port()}") is None
    assert [] == rates_lines(None)
