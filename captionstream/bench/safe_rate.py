"""The highest rate of a user's own pictures at which answers come in time, and what stands in the way of a higher one.

Arrivals do not wait for answers (an open loop), so a queue that grows is seen. A rate is safe when every event was
answered and the 95th percentile from publishing to answer is within the limit. Rates double until one is not safe,
then the step is halved a few times.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from captionstream.bench import pictures
from captionstream.bench.stacks import ENGINES, STAGES, Stack
from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.topics import CAPTIONS
from captionstream.contracts.values import ImageReference
from captionstream.runtime.asking import submit

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
FIRST_RATE = 0.5
MOST_RATE = 512.0
LEAST_RATE = 0.05
HALVINGS = 3
SETTLE = 20
"""Milliseconds of a stage's wait that are the log's own, and no queue."""


class NoFrames(Exception):
    """There is no picture where the user said."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried. `waited` and `worked` are means in ms of each stage; `busy` cores of each part."""

    rate: float
    p95_ms: float
    answered: int
    sent: int
    waited: dict[str, float]
    worked: dict[str, float]
    busy: dict[str, float]

    def safe(self, slo_ms: float) -> bool:
        return self.answered == self.sent and self.p95_ms <= slo_ms

    @property
    def bottleneck(self) -> str:
        """Before the stage where events waited longest there is a queue; without one, where most work is."""
        queue = max(self.waited, key=lambda stage: self.waited[stage], default="")
        if queue and self.waited[queue] > SETTLE + 0.2 * max(self.worked.values(), default=0.0):
            return queue
        return max(self.worked, key=lambda stage: self.worked[stage], default="nothing was answered")


@dataclass(frozen=True, slots=True)
class SafeRate:
    """`rate` None: not even the lowest one is safe. `last` is the step that says what the bottleneck is."""

    rate: float | None
    slo_ms: float
    steps: tuple[Step, ...]

    @property
    def last(self) -> Step:
        """The lowest rate that was too high, else the highest that was tried."""
        over = [step for step in self.steps if not step.safe(self.slo_ms)]
        return min(over, key=lambda step: step.rate) if over else max(self.steps, key=lambda step: step.rate)


async def highest(
    attempt: Callable[[float], Awaitable[Step]],
    slo_ms: float,
    tell: Callable[[Step], None] = lambda step: None,
) -> SafeRate:
    """Doubles from the first rate while it is safe (halves while it is not), then closes in."""
    steps: list[Step] = []

    async def safe(rate: float) -> bool:
        steps.append(await attempt(rate))
        tell(steps[-1])
        return steps[-1].safe(slo_ms)

    low, high = await bracket(safe)
    for _ in range(HALVINGS if low is not None and high is not None else 0):
        assert low is not None and high is not None
        middle = (low * high) ** 0.5
        low, high = (middle, high) if await safe(middle) else (low, middle)
    return SafeRate(low, slo_ms, tuple(steps))


async def bracket(safe: Callable[[float], Awaitable[bool]]) -> tuple[float | None, float | None]:
    """A safe rate and one that is not; None where there is none within the bounds."""
    rate = FIRST_RATE
    if await safe(rate):
        while rate * 2 <= MOST_RATE:
            if not await safe(rate * 2):
                return rate, rate * 2
            rate *= 2
        return rate, None
    while rate / 2 >= LEAST_RATE:
        if await safe(rate / 2):
            return rate / 2, rate
        rate /= 2
    return None, rate


def frames(source: Path) -> list[Path]:
    """The pictures of a folder and below, or one file. Raises NoFrames."""
    files = [source] if source.is_file() else sorted(source.rglob("*"))
    found = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not found:
        raise NoFrames(f"{source}: no pictures ({', '.join(SUFFIXES)})")
    return found


def events(files: Sequence[Path], objects: Path) -> Iterator[m.ImageSubmitted]:
    """Each frame as it is; after the last one again with a square in a corner, or it would be known already."""
    number = 0
    while True:
        file = files[number % len(files)]
        again = number >= len(files)
        name = f"frame-{number}{'.jpg' if again else file.suffix}"
        data = pictures.varied(Image.open(file).convert("RGB"), number) if again else file.read_bytes()
        (objects / name).write_bytes(data)
        yield m.ImageSubmitted(id=name, image=ImageReference(object_key=name))
        number += 1


async def attempt(
    stack: Stack, source: Iterator[m.ImageSubmitted], rate: float, seconds: float, slo_ms: float
) -> Step:
    """So many arrivals a second for so long, at least five; then wait as long as a late answer may take."""
    count = max(5, int(rate * seconds))
    arriving = [next(source) for _ in range(count)]
    answers: list[m.Answer] = []
    ends = await stack.log.ends(CAPTIONS.name)
    before, begun = stack.cpu_by_role((*STAGES, *ENGINES)), time.monotonic()
    reading = asyncio.create_task(read(stack, {event.id for event in arriving}, ends, answers))
    await arrive(stack, arriving, rate)
    await asyncio.wait([reading], timeout=4 * slo_ms / 1000 + 10)
    reading.cancel()
    took = time.monotonic() - begun
    busy = {role: (cpu - before[role]) / took for role, cpu in stack.cpu_by_role((*STAGES, *ENGINES)).items()}
    return step_of(rate, count, answers, busy)


async def arrive(stack: Stack, arriving: Sequence[m.ImageSubmitted], rate: float) -> None:
    begun = time.monotonic()
    for number, event in enumerate(arriving):
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        await submit(stack.log, [event])


async def read(stack: Stack, wanted: set[str], ends: Mapping[int, int], answers: list[m.Answer]) -> None:
    async with aclosing(stack.log.read(CAPTIONS.name, ends)) as records:  # type: ignore[type-var]
        async for record in records:
            answer = codec.decode(record)
            if isinstance(answer, m.Answer) and answer.event.id in wanted:
                answers.append(answer)
                wanted.discard(answer.event.id)
                if not wanted:
                    return


def step_of(rate: float, sent: int, answers: Sequence[m.Answer], busy: dict[str, float]) -> Step:
    took = [(answer.answered_at - answer.accepted_at).total_seconds() * 1000 for answer in answers]
    p95 = statistics.quantiles(took, n=20, method="inclusive")[18] if len(took) > 1 else float("inf")
    waited, worked = (mean_by_stage(answers, what) for what in ("waited_ms", "worked_ms"))
    return Step(rate, p95, len(answers), sent, waited, worked, busy)


def mean_by_stage(answers: Sequence[m.Answer], what: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for answer in answers:
        for timing in answer.timings:
            found.setdefault(timing.stage.value, []).append(getattr(timing, what))
    return {stage: statistics.mean(values) for stage, values in found.items()}
