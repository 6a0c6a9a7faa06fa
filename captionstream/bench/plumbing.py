"""G3, G15: the four services with scripted engines on a real Kafka, so that what is measured is the way alone."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from captionstream.bench.goals import BY_NAME, Found
from captionstream.bench.machine import cores
from captionstream.bench.measuring import Spread, quantiles
from captionstream.bench.stacks import STAGES, Stack
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
PARTS = ("kafka", *STAGES)
WORK_MS = 320.0
ENV = {
    "CAPTIONSTREAM_ENCODER_SCRIPTED_WORK_MS": str(WORK_MS), "CAPTIONSTREAM_ENCODER_IMAGES_AT_ONCE": "4",
}  # fmt: skip
"""The scripted encoder looks at four images at once, as every encoder does unless it is told otherwise: 12 a second, a
peak that is the engine's and leaves half of two cores idle. Where the cores are the limit, what overload gives ingest
to do is taken from the stages behind it."""
NORMAL = 2.0
"""An answer is as usual again when it takes no longer than so many times the median before."""


@dataclass(frozen=True, slots=True)
class Size:
    """`events` one by one in a round; three times the peak for `overload_s` seconds, `overloads` times."""

    events: int
    rounds: int
    overload_s: float
    overloads: int


# ---------------------------------------------------------------- G3


async def latency(stack: Stack, size: Size) -> dict[str, Found]:
    """Publish to answer, less the work of the stages; one request in flight."""
    await burst(stack, WARM_UP, "warm")
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


async def burst(stack: Stack, count: int, tag: str) -> None:
    """All at once, until each has its answer."""
    async for _ in ask(stack.log, [plate_event(number, tag) for number in range(count)], ANSWER_S + count):
        pass


async def one_by_one(stack: Stack, count: int, tag: str) -> list[Taken]:
    """The reader stays: it is at its place before the first event is published."""
    taken: list[Taken] = []
    ends = await stack.log.ends(CAPTIONS.name)
    async with asyncio.timeout(ANSWER_S + count), aclosing(stack.log.read(CAPTIONS.name, ends)) as records:  # type: ignore[type-var]
        reading = asyncio.ensure_future(anext(records))
        try:
            await asyncio.sleep(0.3)
            for number in range(count):
                await submit(stack.log, [plate_event(number, tag)])
                answer = codec.decode(await reading)
                reading = asyncio.ensure_future(anext(records))
                assert isinstance(answer, m.Answer)
                taken.append(taken_of(answer))
        finally:  # also on Ctrl-C: a reader cannot be closed while it reads
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
    """Of a picture of its own: one that the encoder has seen before would cost its engine nothing."""
    name = f"bench-{tag}-{number}"
    return m.ImageSubmitted(id=name, image=ImageReference(inline=plate_image(zlib.crc32(name.encode()))))


# ---------------------------------------------------------------- G15


@dataclass
class Watch:
    """When each answer came, on the clock of this process, and how long it had taken."""

    answers: list[tuple[float, float]] = field(default_factory=list)

    def rate(self, begin: float, end: float) -> float:
        return sum(begin <= at < end for at, _ in self.answers) / (end - begin)


@dataclass(frozen=True, slots=True)
class Overload:
    """One of them. Rates are answers a second; `busy` cores of each part at the peak and under three times of it."""

    peak: float
    goodput: float
    sent: int
    usual_ms: float
    before_mb: dict[str, float]
    after_mb: dict[str, float]
    recovered_s: float
    busy_peak: dict[str, float]
    busy_over: dict[str, float]


async def overload(stack: Stack, size: Size) -> dict[str, Found]:
    """The peak by one burst; then arrivals at three times that rate; then few, until answers are as usual."""
    rounds = [await overloaded(stack, size.overload_s, f"over-{number}") for number in range(size.overloads)]
    last = rounds[-1]
    details = {
        "peak_s": round(last.peak, 1), "offered_s": round(OVERLOAD * last.peak, 1), "backlog": last.sent,
        "usual_ms": round(last.usual_ms), "cores_busy_at_peak": round(sum(last.busy_peak.values()), 2),
        "cores_busy_overloaded": round(sum(last.busy_over.values()), 2), "cores": cores(),
    }  # fmt: skip
    memory = [sum(one.after_mb.values()) / sum(one.before_mb.values()) for one in rounds]
    grown = {"before_mb": last.before_mb, "after_mb": last.after_mb}
    return {
        "G15 goodput": judged("G15 goodput", [one.goodput / one.peak for one in rounds], details, busy(last)),
        "G15 memory": judged("G15 memory", memory, grown, growth(last)),
        "G15 recovery": judged("G15 recovery", [one.recovered_s for one in rounds], details, busy(last)),
    }


def judged(goal: str, values: Sequence[float], details: Mapping[str, object], profile: str) -> Found:
    spread = Spread.of(values)
    missed = BY_NAME[goal].met_by(spread.median) == "missed"
    value = round(spread.median, 3)
    return Found(goal, value, spread.range, len(values), details, profile=profile if missed else "")


def busy(one: Overload) -> str:
    rows = [
        f"{part:<10} {one.busy_peak[part]:5.2f} cores at the peak  {cores_:5.2f} under three times of it"
        for part, cores_ in one.busy_over.items()
    ]
    return "\n".join(rows)


def growth(one: Overload) -> str:
    rows = [f"{stage:<10} {mb:7.1f} → {one.after_mb[stage]:7.1f} MB" for stage, mb in one.before_mb.items()]
    return "\n".join(rows)


async def overloaded(stack: Stack, seconds: float, tag: str) -> Overload:
    cpu, begun = stack.cpu_by_role(PARTS), time.monotonic()
    peak = await peak_rate(stack, int(15 * seconds), tag)
    busy_peak = busy_since(stack, cpu, begun)
    usual = Spread.of([taken.total for taken in await one_by_one(stack, 10, f"usual-{tag}")]).median
    if usual < WORK_MS:
        raise RuntimeError(
            f"an answer took {usual:.0f} ms, its engine alone takes {WORK_MS:.0f}: pictures were known"
        )
    before = {stage: stack.memory_mb(stage) for stage in STAGES}
    watch = Watch()
    watching = asyncio.create_task(keep_watching(stack, watch))
    try:
        await asyncio.sleep(0.5)
        cpu, begun = stack.cpu_by_role(PARTS), time.monotonic()
        sent = await arrivals(stack, OVERLOAD * peak, seconds, tag)
        ended, busy_over = time.monotonic(), busy_since(stack, cpu, begun)
        goodput = watch.rate(begun + 0.25 * seconds, ended)
        recovered = await recovery(stack, watch, sent, usual, ended)
    finally:
        watching.cancel()
    after = {stage: stack.memory_mb(stage) for stage in STAGES}
    return Overload(peak, goodput, sent, usual, before, after, recovered, busy_peak, busy_over)


def busy_since(stack: Stack, cpu: dict[str, float], begun: float) -> dict[str, float]:
    took = time.monotonic() - begun
    return {role: (now - cpu[role]) / took for role, now in stack.cpu_by_role(PARTS).items()}


async def peak_rate(stack: Stack, count: int, tag: str) -> float:
    """Answers a second in the middle half of a burst."""
    times = []
    async for _ in ask(stack.log, [plate_event(n, f"peak-{tag}") for n in range(count)], ANSWER_S + count):
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


async def recovery(stack: Stack, watch: Watch, sent: int, usual_ms: float, ended: float) -> float:
    """Seconds from the last arrival until the backlog is answered and a new event takes as long as usual.

    Raises TimeoutError.
    """
    async with asyncio.timeout(RECOVERY_S):
        while len(watch.answers) < sent:
            await asyncio.sleep(0.1)
        number = 0
        while (await one_by_one(stack, 1, f"after-{ended}-{number}"))[0].total > NORMAL * usual_ms + 20:
            number += 1
    return time.monotonic() - ended
