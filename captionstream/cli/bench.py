"""`captionstream bench`: what the plumbing adds, and what every process weighs, on this machine, in one run."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from captionstream.cli.asking import ask
from captionstream.cli.memory import resident_mb
from captionstream.cli.options import Exit, fail
from captionstream.cli.stack import make_topics, tell
from captionstream.contracts import messages as m
from captionstream.contracts.values import ImageReference
from captionstream.local.installed import MissingPart
from captionstream.local.stack import local_stack
from captionstream.local.supervisor import StartFailed, Supervisor
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.telemetry import logs

WARM_UP = 20


@dataclass(frozen=True)
class Figures:
    """Times in ms. `added` is the way from publish to answer less the work of the four stages."""

    events: int
    total_p50: float
    total_p99: float
    added_p50: float
    added_p99: float
    burst_events_per_s: float
    memory_mb: dict[str, int]


def bench(
    events: Annotated[
        int, typer.Option(help="Events one after the other, and again in one burst.", min=20)
    ] = 200,
    output: Annotated[str, typer.Option("--output", "-o", help="text or json")] = "text",
) -> None:
    """Measure the plumbing: four services with scripted engines on a real Kafka, one event in flight.

    Example: captionstream bench --events 300 -o json
    """
    if output not in ("text", "json"):
        raise fail(f"-o {output}: it is text or json")
    logs.configure("bench", "CRITICAL")
    try:
        with tempfile.TemporaryDirectory(prefix="captionstream-bench-") as folder:
            figures = asyncio.run(measure(Path(folder), events))
    except (StartFailed, MissingPart) as failed:
        raise fail(f"\n{failed}", Exit.AWAY) from None
    typer.echo(json.dumps(asdict(figures), indent=1) if output == "json" else as_text(figures))


async def measure(directory: Path, count: int) -> Figures:
    parts = local_stack(directory, engines="scripted", after_kafka=make_topics)
    async with Supervisor(directory, parts, tell) as supervisor:
        log = KafkaLog(f"127.0.0.1:{supervisor.state.part('kafka').port}")
        await one_by_one(log, WARM_UP, "warm")
        measured = await one_by_one(log, count, "one")
        rate = await burst(log, count)
        memory = {part.role: resident_mb(part.pid) for part in supervisor.state.parts if part.pid}
        await log.close()
    totals, added = [total for total, _ in measured], [total - work for total, work in measured]
    return Figures(count, *quantiles(totals), *quantiles(added), round(rate, 1), memory)


async def one_by_one(log: KafkaLog, count: int, tag: str) -> list[tuple[float, float]]:
    """(publish to answer, work of the stages) in ms for each event, one in flight."""
    measured = []
    for number in range(count):
        answer = await first_answer(log, [plate_event(number, tag)])
        total = (answer.answered_at - answer.accepted_at).total_seconds() * 1000
        measured.append((total, sum(timing.worked_ms for timing in answer.timings)))
    return measured


async def first_answer(log: KafkaLog, events: list[m.ImageSubmitted]) -> m.Answer:
    async for answer in ask(log, events, 60):
        return answer
    raise TimeoutError


async def burst(log: KafkaLog, count: int) -> float:
    """Events a second when all are published at once."""
    begun = time.monotonic()
    async for _ in ask(log, [plate_event(number, "burst") for number in range(count)], 300):
        pass
    return count / (time.monotonic() - begun)


def plate_event(number: int, tag: str) -> m.ImageSubmitted:
    from services.encoder.scripted import plate_image

    return m.ImageSubmitted(id=f"bench-{tag}-{number}", image=ImageReference(inline=plate_image(number)))


def quantiles(values: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return round(cuts[49], 1), round(cuts[98], 1)


def as_text(figures: Figures) -> str:
    memory = ", ".join(f"{role} {mb}" for role, mb in figures.memory_mb.items())
    return "\n".join(
        [
            f"{figures.events} events, one in flight, scripted engines, real Kafka",
            f"publish to answer    p50 {figures.total_p50} ms   p99 {figures.total_p99} ms",
            f"added by plumbing    p50 {figures.added_p50} ms   p99 {figures.added_p99} ms",
            f"in one burst         {figures.burst_events_per_s} events/s",
            f"memory (MB)          {memory}",
        ]
    )
