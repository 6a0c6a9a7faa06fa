"""What the monitor wrote lately, read back for `captionstream status`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aiokafka.errors import KafkaError

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.topics import ALERTS, CAPTION_RATES, Topic
from captionstream.contracts.values import Profile
from captionstream.runtime.clock import utc_now
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.message_log import MessageLog, Start
from captionstream.telemetry import logs
from services.monitor.rates import between, merged, quantile, refused

WINDOW = timedelta(minutes=5)
READ_S = 5.0


@dataclass(frozen=True)
class Rates:
    """By profile: how the answers of the last five minutes went. And the anomalies that stand."""

    rates: list[dict[str, Any]]
    anomalies: list[dict[str, Any]]


def read_rates(bootstrap: str) -> Rates | None:
    """None when the log does not answer within five seconds, or has no such topics."""
    logs.configure("status", "CRITICAL")

    async def read() -> Rates:
        log = KafkaLog(bootstrap)
        async with asyncio.timeout(READ_S):
            try:
                return await latest(log, utc_now())
            finally:
                await log.close()

    try:
        return asyncio.run(read())
    except (KafkaError, LookupError, TimeoutError):
        return None


async def latest(log: MessageLog, now: datetime) -> Rates:
    """Reads only what was appended in the last minutes, and the alerts: compacted, a few for each kind and profile."""
    rows: dict[bytes, m.CaptionRates] = {}
    standing: dict[bytes, m.Anomaly] = {}
    async for message in messages(log, CAPTION_RATES, now - 2 * WINDOW):
        if isinstance(message, m.CaptionRates):
            rows[message.key] = message
    async for message in messages(log, ALERTS, "start"):
        if isinstance(message, m.Anomaly):
            standing[message.key] = message
    windows = [merged(between(rows.values(), profile, now - WINDOW, now)) for profile in Profile]
    return Rates(
        [as_rates(window) for window in windows if window is not None],
        [as_anomaly(anomaly) for anomaly in standing.values() if isinstance(anomaly, m.AnomalyRaised)],
    )


async def messages(log: MessageLog, topic: Topic, start: Start) -> AsyncIterator[m.Message]:
    async for record in log.read(topic.name, start, follow=False):
        try:
            yield codec.decode(record)
        except codec.Malformed:  # of a newer version
            continue


def as_rates(window: m.CaptionRates) -> dict[str, Any]:
    shown = ("answers", "published", "held", "hedged", "abstained", "repeated")
    return {
        "profile": window.profile,
        **{name: getattr(window, name) for name in shown},
        "refused": refused(window),
        "reasons": window.refused,
        "writers": window.writers,
        "p50_s": quantile(window.waits, 0.5),
        "p95_s": quantile(window.waits, 0.95),
    }


def as_anomaly(anomaly: m.Anomaly) -> dict[str, Any]:
    return anomaly.model_dump(mode="json")


def rates_lines(rates: Rates | None) -> list[str]:
    """For people: one line a profile, one an anomaly."""
    if rates is None or not (rates.rates or rates.anomalies):
        return []
    return [
        "",
        "answers of the last five minutes",
        *(rate_line(row) for row in rates.rates),
        *(
            f"✗ {row['kind']} of {row['profile']}: {row['value']:g}, from {row['threshold']:g} on, since {row['since']}"
            for row in rates.anomalies
        ),
    ]


def rate_line(row: dict[str, Any]) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in row["reasons"].items())
    waits = f"p50 {row['p50_s']:.1f} s, p95 {row['p95_s']:.1f} s" if row["answers"] else ""
    return (
        f"{row['profile']:<11} {row['answers']} answers: {row['published']} published ({row['hedged']} hedged, "
        f"{row['abstained']} abstained, {row['repeated']} repeated), {row['held']} held, {row['refused']} refused"
        + (f" ({reasons})" if reasons else "") + f"; {waits}"
    )  # fmt: skip
