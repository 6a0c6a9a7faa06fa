"""G3, G15: the four services with scripted engines on a real Kafka, so that what is measured is the way alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from captionstream.bench.goals import BY_NAME, Found
from captionstream.bench.measuring import Spread, quantiles
from captionstream.bench.stacks import STAGES, Stack, running
from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.topics import CAPTIONS
from captionstream.contracts.values import ImageReference
from captionstream.runtime.asking import ask, submit
from services.encoder.scripted import plate_image

WARM_UP = 20
ANSWER_S = 60.0
RECOVERY_S = 90.0
OVERLOAD = 3.0
WORK_MS = 40.0
"""Of the scripted encoder for an image, 4 at once: the peak is then that of an engine, not of this machine."""
NORMAL = 2.0
"""An answer is as usual again when it takes no longer than so many times the median before."""


@dataclass(frozen=True, slots=True)
class Size:
    """`events` one by one in a round; `overload_s` seconds at three times the peak."""

    events: int
    rounds: int
    overload_s: float


async def measure(size: Size, tell: Callable[[str], None], wanted: frozenset[str]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    if "G3" in wanted:
        tell("latency of the plumbing")
        with TemporaryDirectory(prefix="captionstream-bench-") as work:
            async with running(Path(work)) as stack:
                found |= await latency(stack, size)
    if "G15" in wanted:
        tell(f"three times the peak rate for {size.overload_s:.0f} s")
        env = {"CAPTIONSTREAM_ENCODER_SCRIPTED_WORK_MS": str(WORK_MS)}
        with TemporaryDirectory(prefix="captionstream-bench-") as work:
            async with running(Path(work), env=env) as stack:
                found |= await overload(stack, size.overload_s)
    return found


# ---------------------------------------------------------------- G3


async def latency(stack: Stack, size: Size) -> dict[str, Found]:
    """Publish to answer, less the work of the stages; one request in flight."""
    await one_by_one(stack, WARM_UP, "warm")
    rounds = [await one_by_one(stack, size.events, f"round-{n}") for n in range(size.rounds)]
    medians, highs = zip(*(quantiles([taken.added for taken in round_]) for round_ in rounds), strict=True)
    everything = [taken for round_ in rounds for taken in round_]
    median, high = quantiles([taken.added for taken in everything])
    missed = BY_NAME["G3 p50"].met_by(median) == "missed" or BY_NAME["G3 p99"].met_by(high) == "missed"
    profile = waits(everything) if missed else ""
    details = {
        "events": len(everything), "total_p50_ms": round(quantiles([t.total for t in everything])[0], 1),
        "waited_ms": {stage: round(ms, 1) for stage, ms in waited(everything).items()},
    }  # fmt: skip
    return {
        "G3 p50": Found(
            "G3 p50", round(median, 1), Spread.of(medians).range, size.rounds, details, profile=profile
        ),
        "G3 p99": Found(
            "G3 p99", round(high, 1), Spread.of(highs).range, size.rounds, details, profile=profile
        ),
    }


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds of one event: publish to answer, the stages' work in it, how long it waited before each."""

    total: float
    worked: float
    waited: dict[str, float] = field(default_factory=dict)

    @property
    def added(self) -> float:
        return self.total - self.worked


async def one_by_one(stack: Stack, count: int, tag: str) -> list[Taken]:
    """The reader stays: it is at its place before the first event is published."""
    taken: list[Taken] = []
    ends = await stack.log.ends(CAPTIONS.name)
    async with asyncio.timeout(ANSWER_S + count), aclosing(stack.log.read(CAPTIONS.name, ends)) as records:  # type: ignore[type-var]
        reading = asyncio.ensure_future(anext(records))
        await asyncio.sleep(0.3)
        for number in range(count):
            await submit(stack.log, [plate_event(number, tag)])
            answer = codec.decode(await reading)
            reading = asyncio.ensure_future(anext(records))
            assert isinstance(answer, m.Answer)
            taken.append(taken_of(answer))
        reading.cancel()
        await asyncio.wait([reading])
    return taken


def taken_of(answer: m.Answer) -> Taken:
    total = (answer.answered_at - answer.accepted_at).total_seconds() * 1000
    waited = {timing.stage.value: timing.waited_ms for timing in answer.timings}
    return Taken(total, sum(timing.worked_ms for timing in answer.timings), waited)


def waited(taken: list[Taken]) -> dict[str, float]:
    """The median wait before each stage."""
    return {
        stage: Spread.of([one.waited[stage] for one in taken]).median
        for stage in STAGES
        if all(stage in one.waited for one in taken)
    }


def waits(taken: list[Taken]) -> str:
    rows = [f"{stage:<10} {ms:7.1f} ms waited before it, median" for stage, ms in waited(taken).items()]
    return "\n".join(rows)


def plate_event(number: int, tag: str) -> m.ImageSubmitted:
    return m.ImageSubmitted(id=f"bench-{tag}-{number}", image=ImageReference(inline=plate_image(number)))


# ---------------------------------------------------------------- G15


@dataclass
class Watch:
    """When each answer came, on the clock of this process, and how long it had taken."""

    answers: list[tuple[float, float]] = field(default_factory=list)

    def rate(self, begin: float, end: float) -> float:
        return sum(begin <= at < end for at, _ in self.answers) / (end - begin)


async def overload(stack: Stack, seconds: float) -> dict[str, Found]:
    """The peak by one burst; then arrivals at three times that rate; then few, until answers are as usual."""
    peak = await peak_rate(stack, max(60, int(20 * seconds)))
    usual = Spread.of([taken.total for taken in await one_by_one(stack, 10, "usual")]).median
    before = sum(stack.memory_mb(role) for role in STAGES)
    watch = Watch()
    watching = asyncio.create_task(keep_watching(stack, watch))
    await asyncio.sleep(0.5)
    begun = time.monotonic()
    sent = await arrivals(stack, OVERLOAD * peak, seconds, "overload")
    ended = time.monotonic()
    goodput = watch.rate(begun + 0.25 * seconds, ended)
    recovered = await recovery(stack, watch, sent, usual, ended)
    watching.cancel()
    after = sum(stack.memory_mb(role) for role in STAGES)
    details = {
        "peak_s": round(peak, 1),
        "offered_s": round(OVERLOAD * peak, 1),
        "backlog": sent,
        "usual_ms": round(usual),
    }
    return {
        "G15 goodput": Found("G15 goodput", round(goodput / peak, 3), details=details),
        "G15 memory": Found(
            "G15 memory", round(after / before, 3), details={"before_mb": before, "after_mb": after}
        ),
        "G15 recovery": recovered,
    }


async def peak_rate(stack: Stack, count: int) -> float:
    """Answers a second in the middle half of a burst."""
    times = []
    async for _ in ask(stack.log, [plate_event(n, "peak") for n in range(count)], ANSWER_S + count):
        times.append(time.monotonic())
    quarter = len(times) // 4
    return (len(times) - 2 * quarter) / (times[-quarter - 1] - times[quarter])


async def keep_watching(stack: Stack, watch: Watch) -> None:
    ends = await stack.log.ends(CAPTIONS.name)
    async with aclosing(stack.log.read(CAPTIONS.name, ends)) as records:  # type: ignore[type-var]
        async for record in records:
            answer = codec.decode(record)
            if isinstance(answer, m.Answer):
                watch.answers.append((time.monotonic(), taken_of(answer).total))


async def arrivals(stack: Stack, rate: float, seconds: float, tag: str) -> int:
    """How many were sent: as they come, whether or not earlier ones have their answer."""
    begun, sent = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        due = min(int((time.monotonic() - begun) * rate) + 1, int(rate * seconds))
        if due > sent:
            await submit(stack.log, [plate_event(number, tag) for number in range(sent, due)])
            sent = due
        await asyncio.sleep(0.01)
    return sent


async def recovery(stack: Stack, watch: Watch, sent: int, usual_ms: float, ended: float) -> Found:
    """Seconds from the last arrival until the backlog is answered and a new event takes as long as usual."""
    try:
        async with asyncio.timeout(RECOVERY_S):
            while len(watch.answers) < sent:
                await asyncio.sleep(0.1)
            number = 0
            while (await one_by_one(stack, 1, f"after-{number}"))[0].total > NORMAL * usual_ms + 20:
                number += 1
    except TimeoutError:
        return Found.nothing(
            "G15 recovery", f"{len(watch.answers)} of {sent} answers after {RECOVERY_S:.0f} s"
        )
    return Found("G15 recovery", round(time.monotonic() - ended, 1), details={"usual_ms": round(usual_ms)})
