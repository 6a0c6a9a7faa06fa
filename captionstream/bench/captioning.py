"""G1, G2, G9, G13: the bench's model through the whole pipeline on a real Kafka, in turn with the naive script."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.partitioner import murmur2

from captionstream.bench import accuracy, packages, pictures
from captionstream.bench.asking import Heard, first_text
from captionstream.bench.goals import BY_NAME, Found
from captionstream.bench.machine import cores
from captionstream.bench.measuring import Cost, Spread
from captionstream.bench.stacks import STAGES, Stack, running
from captionstream.bench.workplace import Answering, workplace
from captionstream.contracts import messages as m
from captionstream.contracts.topics import PARTITIONS
from captionstream.contracts.values import ImageReference
from captionstream.local.installed import Installed
from captionstream.runtime.asking import ask
from triton_models.vision_language.decoder_graph import Recipe

LONG_SIDE = 384
RECIPES: tuple[tuple[str, Recipe, float], ...] = (
    ("G2 KL 0.1", "dynamic8", 0.1),
    ("G2 KL 0.01", "blocks8", 0.01),
)
REPLY_S = 600.0
WARM = 32
"""Pictures before the first round of G1: a broker that was just started compiles itself while it serves."""
BROKER = "kafka"
MEASURED = (*STAGES, BROKER)
POLICY = Path(__file__).with_name("policy.yaml")
TAKEN = "every check runs; what the bench's untaught model breaks of style is published"


@dataclass(frozen=True, slots=True)
class Size:
    """How many pictures a round has on each side, how many rounds there are, and how many pictures are judged."""

    naive: int
    ours: int
    rounds: int
    judged: int


@asynccontextmanager
async def rival(installed: Installed, folder: Path) -> AsyncIterator[Rival]:
    """The naive script, a process that waits for pictures."""
    command = [str(packages.models_python(installed)), "-m", "captionstream.bench.naive", str(folder)]
    opened = Answering(command, packages.source_environment(installed))
    try:
        yield Rival(opened, await asyncio.to_thread(opened.reply))
    finally:
        opened.close()


@dataclass(frozen=True, slots=True)
class Rival:
    process: Answering
    versions: dict[str, Any]

    async def ask(self, **what: Any) -> dict[str, Any]:
        return await asyncio.to_thread(functools.partial(self.process.ask, **what))


@asynccontextmanager
async def pipeline(directory: Path, folder: Path, recipe: str, workers: int) -> AsyncIterator[Stack]:
    """Ingest and safety of the platform, eye and words of the bench; `workers` write."""
    (directory / "objects").mkdir(parents=True)
    env = {
        "CAPTIONSTREAM_INGEST_LONG_SIDE": str(LONG_SIDE),
        "CAPTIONSTREAM_INGEST_OBJECTS": str(directory / "objects"),
        "CAPTIONSTREAM_SAFETY_POLICY": str(POLICY),
        "CAPTIONSTREAM_BENCH_MODEL": str(folder.absolute()),
        "CAPTIONSTREAM_BENCH_RECIPE": recipe,
        "CAPTIONSTREAM_BENCH_WORK": str(directory / "work"),
        "CAPTIONSTREAM_BENCH_EIGHT_BITS": "1" if recipe == "dynamic8" else "0",
    }
    change = {role: ("captionstream.bench.serving", role) for role in ("encoder", "generator")}
    async with running(directory, env=env, replicas={"generator": workers}, change=change) as stack:
        yield stack


@dataclass(frozen=True, slots=True)
class Run:
    """Some pictures through the pipeline: processor seconds of each stage, and of the broker."""

    count: int
    wall_s: float
    cpu_s: dict[str, float]
    broker_s: float = 0.0

    @property
    def rate(self) -> float:
        return self.count / self.wall_s

    @property
    def bound(self) -> float:
        """Captions a second if every core did nothing but the stages' work."""
        return cores() * self.count / sum(self.cpu_s.values())


async def run(pipe: Stack, files: list[Path], count: int, tag: str) -> Run:
    """`count` different pictures at once; until the last one has its answer."""
    events = written(objects_of(pipe), files, count, tag)
    before, begun = pipe.cpu_by_role(MEASURED), time.perf_counter()
    outcomes = [answer async for answer in ask(pipe.log, events, REPLY_S)]
    wall, after = time.perf_counter() - begun, pipe.cpu_by_role(MEASURED)
    for event in events:
        (objects_of(pipe) / str(event.image.object_key)).unlink()
    if failed := [answer for answer in outcomes if isinstance(answer, m.CaptionRefused)]:
        raise RuntimeError(f"{len(failed)} refusals, the first: {failed[0].reason} {failed[0].detail}")
    spent = {role: after[role] - before[role] for role in MEASURED}
    return Run(count, wall, {stage: spent[stage] for stage in STAGES}, spent[BROKER])


def objects_of(pipe: Stack) -> Path:
    return pipe.directory / "objects"


def written(objects: Path, files: list[Path], count: int, tag: str) -> list[m.ImageSubmitted]:
    """Events whose pictures lie in `objects`, as many for each partition."""
    events = []
    for number, data in enumerate(itertools.islice(pictures.distinct(files, tag), count)):
        name = spread_name(tag, number)
        (objects / name).write_bytes(data)
        events.append(m.ImageSubmitted(id=name, image=ImageReference(object_key=name)))
    return events


def spread_name(tag: str, number: int) -> str:
    """A name whose key falls into partition `number` modulo their number."""
    names = (f"{tag}-{number}-{salt}.jpg" for salt in itertools.count())
    return next(name for name in names if partition(name) == number % PARTITIONS)


def partition(name: str) -> int:
    """As the producer chooses it."""
    return int((murmur2(name.encode()) & 0x7FFFFFFF) % PARTITIONS)


async def measure(
    installed: Installed, folder: Path, files: list[Path], size: Size, tell: Callable[[str], None]
) -> dict[str, Found]:
    """G1, G2 twice, G9, G13. One pipeline after the other: with both open, G1 was lower.

    How near a recipe is does not depend on how fast it is told: that is found out while the first pipeline starts.
    """
    found: dict[str, Found] = {}
    tell("accuracy of the recipes against transformers in fp32, and the first pipeline")
    async with rival(installed, folder) as naive, judging(naive, folder, files[: size.judged]) as judged:
        for number, (goal, recipe, most) in enumerate(RECIPES):
            with workplace() as work:
                async with pipeline(work, folder, recipe, cores()) as pipe:
                    near = (await judged)[recipe]
                    await run(pipe, files, 2 * cores() if number else min(size.ours, WARM), "warm")
                    tell(f"the naive script and the pipeline ({recipe}) in turn, {size.rounds} rounds")
                    told, runs, kept = await in_turn(pipe, naive, files, size)
                    found[goal] = over_naive(goal, told, runs, near, most, naive.versions)
                    if not number:
                        found |= {"G1": of_bound(runs), "G13": kept}
                        found["G9"] = await first_delta(pipe, files, size.rounds)
    return found


@asynccontextmanager
async def judging(
    naive: Rival, folder: Path, files: list[Path]
) -> AsyncIterator[asyncio.Task[dict[Recipe, accuracy.Nearness]]]:
    """`judge` at work beside the block; it is over when the block is."""
    judged = asyncio.create_task(judge(naive, folder, files))
    try:
        yield judged
    finally:
        judged.cancel()
        await asyncio.gather(judged, return_exceptions=True)


async def judge(naive: Rival, folder: Path, files: list[Path]) -> dict[Recipe, accuracy.Nearness]:
    """The recipes side by side, each on one thread."""
    with workplace() as work:
        told = [work / f"{file.stem}.npz" for file in files]
        for file, target in zip(files, told, strict=True):
            await naive.ask(judge=str(file), to=str(target))
        recipes = [recipe for _, recipe, _ in RECIPES]
        found = await asyncio.gather(
            *(asyncio.to_thread(accuracy.of_recipe, folder, recipe, work, files, told) for recipe in recipes)
        )
        return dict(zip(recipes, found, strict=True))


async def in_turn(
    pipe: Stack, naive: Rival, files: list[Path], size: Size
) -> tuple[list[Cost], list[Run], Found]:
    """Rounds of either side, the other one waiting: the cost of a naive caption, our runs, the log's bytes for them."""
    chosen = [str(file) for file in itertools.islice(itertools.cycle(files), size.naive)]
    costs: list[Cost] = []
    runs: list[Run] = []
    before = pipe.kafka_bytes()
    for number in range(size.rounds):
        told = await naive.ask(pictures=chosen)
        costs.append(Cost(told["cpu_s"] / size.naive, told["wall_s"] / size.naive))
        runs.append(await run(pipe, files, size.ours, f"round-{number}"))
    return costs, runs, bytes_of(before, pipe.kafka_bytes(), size.rounds * size.ours)


def over_naive(
    goal: str, naive: Sequence[Cost], runs: Sequence[Run], near: accuracy.Nearness, most: float,
    versions: dict[str, Any],
) -> Found:  # fmt: skip
    """By the clock, for the whole machine; by processor seconds beside it."""
    rates, costs = [1 / one.wall_s for one in naive], [one.cpu_s for one in naive]
    ratio = Spread.of([one.rate / rate for one, rate in zip(runs, rates, strict=True)])
    ours = Spread.of([sum(one.cpu_s.values()) / one.count for one in runs])
    details = {
        "kl": near.kl, "top_1": near.top_1, "kl_end_to_end": near.kl_end_to_end, "eye_cosine": near.cosine,
        "naive_captions_s": round(Spread.of(rates).median, 3),
        "our_captions_s": round(Spread.of([one.rate for one in runs]).median, 3),
        "naive_cpu_s": round(Spread.of(costs).median, 3), "our_cpu_s": round(ours.median, 3),
        "cpu_ratio": round(Spread.of(costs).median / ours.median, 2), "naive": versions,
    }  # fmt: skip
    if near.kl > most:
        return Found(goal, None, why=f"KL {near.kl:.3g}, at most {most} is wanted", details=details)
    met = BY_NAME[goal].met_by(ratio.median)
    profile = "" if met in ("must", "excellent") else shares(runs)
    return Found(goal, round(ratio.median, 2), ratio.range, len(runs), details, profile=profile)


def of_bound(runs: Sequence[Run]) -> Found:
    """Whole runs, from the first picture to the last answer: filling and draining the pipeline count against it,
    the more so the fewer pictures a run has."""
    reached = Spread.of([one.rate / one.bound for one in runs])
    per_caption = {
        stage: round(Spread.of([one.cpu_s[stage] / one.count for one in runs]).median * 1000, 1)
        for stage in STAGES
    }
    broker = Spread.of([one.broker_s / one.count for one in runs]).median
    per_caption["broker, not in the bound"] = round(broker * 1000, 1)
    details = {"cpu_ms_a_caption": per_caption, "load": [round(value, 2) for value in os.getloadavg()]}
    met = BY_NAME["G1"].met_by(reached.median)
    profile = shares(runs) if met == "missed" else ""
    return Found("G1", round(reached.median, 3), reached.range, len(runs), details, profile=profile)


def shares(runs: Sequence[Run]) -> str:
    """Where the processor time of a caption goes."""
    sums = {stage: sum(one.cpu_s[stage] for one in runs) for stage in STAGES}
    sums[BROKER] = sum(one.broker_s for one in runs)
    count, wall = sum(one.count for one in runs), sum(one.wall_s for one in runs)
    rows = [f"{role:<10} {1000 * cpu / count:8.1f} ms a caption" for role, cpu in sums.items()]
    idle = cores() * wall - sum(sums.values())
    return "\n".join(
        [*rows, f"{'the rest':<10} {1000 * idle / count:8.1f} ms: idle, and who asks and watches"]
    )


def bytes_of(before: Mapping[str, int], after: Mapping[str, int], count: int) -> Found:
    """What the log keeps of an image; the text in the making is sent as the generator sends it."""
    kib = {topic: (after[topic] - before[topic]) / 1024 / count for topic in after}
    told = {
        topic: round(size, 2) for topic, size in sorted(kib.items(), key=lambda item: -item[1]) if size > 0
    }
    value = round(sum(kib.values()), 1)
    profile = "\n".join(f"{topic:<20} {size:8.2f} KiB" for topic, size in told.items())
    missed = BY_NAME["G13"].met_by(value) == "missed"
    details = {"kib_by_topic": told, "visual_tokens": "64 x 576 fp16 inline", "images": count}
    return Found("G13", value, details=details, profile=profile if missed else "")


async def first_delta(pipe: Stack, files: list[Path], rounds: int) -> Found:
    """One request at a time; the first text that safety released, over the answer."""
    events = written(objects_of(pipe), files, rounds + 1, "delta")
    heard = [await first_text(pipe.log, event) for event in events][1:]
    told = [one.first_s / one.whole_s for one in heard if one.first_s is not None]
    if not told:
        return Found.nothing("G9", "safety released no partial text")
    spread = Spread.of(told)
    details = {"answer_ms": round(Spread.of([one.whole_s for one in heard]).median * 1000), "safety": TAKEN}
    missed = BY_NAME["G9"].met_by(spread.median) == "missed"
    profile = way_to_first_text(heard) if missed else ""
    return Found("G9", round(spread.median, 3), spread.range, len(told), details, profile=profile)


def way_to_first_text(heard: Sequence[Heard]) -> str:
    """Medians of what each stage took, and when the first text was there."""
    rows = []
    for place, stage in enumerate(STAGES):
        waited, worked = (
            Spread.of([getattr(one.timings[place], what) for one in heard]).median
            for what in ("waited_ms", "worked_ms")
        )
        rows.append(f"{stage:<10} waited {waited:6.1f} ms  worked {worked:6.1f} ms")
    for what, seconds in (
        ("first text", [one.first_s for one in heard if one.first_s is not None]),
        ("the answer", [one.whole_s for one in heard]),
    ):
        rows.append(f"{what} after {Spread.of(seconds).median * 1000:.0f} ms")
    return "\n".join(rows)
