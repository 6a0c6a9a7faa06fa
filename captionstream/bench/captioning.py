"""G1, G2, G9, G13: the bench's model through the whole pipeline on a real Kafka, in turn with the naive script."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from aiokafka.partitioner import murmur2

from captionstream.bench import accuracy, packages, pictures
from captionstream.bench.asking import first_text
from captionstream.bench.goals import BY_NAME, Found
from captionstream.bench.machine import cores
from captionstream.bench.measuring import Spread
from captionstream.bench.stacks import STAGES, Stack, running
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


@dataclass(frozen=True, slots=True)
class Size:
    """How many pictures a round has on each side, and how many rounds there are."""

    naive: int
    ours: int
    rounds: int


class Rival:
    """The naive script, a process that waits for pictures. Ends with the block that opened it."""

    def __init__(self, python: Path, folder: Path, env: dict[str, str]) -> None:
        command = [str(python), "-m", "captionstream.bench.naive", str(folder)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            text=True,
        )
        self.versions = self._reply()

    async def ask(self, **what: Any) -> dict[str, Any]:
        return await asyncio.to_thread(self._ask, what)

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"the naive script ended with status {self._process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@asynccontextmanager
async def rival(installed: Installed, folder: Path) -> AsyncIterator[Rival]:
    python, env = packages.models_python(installed), packages.source_environment(installed)
    opened = await asyncio.to_thread(Rival, python, folder, env)
    try:
        yield opened
    finally:
        opened.close()


@asynccontextmanager
async def pipeline(directory: Path, folder: Path, recipe: str, workers: int) -> AsyncIterator[Stack]:
    """Ingest and safety of the platform, eye and words of the bench; `workers` write."""
    (directory / "objects").mkdir(parents=True)
    env = {
        "CAPTIONSTREAM_INGEST_LONG_SIDE": str(LONG_SIDE),
        "CAPTIONSTREAM_INGEST_OBJECTS": str(directory / "objects"),
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
    """Some pictures through the pipeline."""

    count: int
    wall_s: float
    cpu_s: dict[str, float]

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
    before, begun = pipe.cpu_by_role(), time.perf_counter()
    outcomes = [answer async for answer in ask(pipe.log, events, REPLY_S)]
    wall, after = time.perf_counter() - begun, pipe.cpu_by_role()
    for event in events:
        (objects_of(pipe) / str(event.image.object_key)).unlink()
    if failed := [answer for answer in outcomes if isinstance(answer, m.CaptionRefused)]:
        raise RuntimeError(f"{len(failed)} refusals, the first: {failed[0].reason} {failed[0].detail}")
    return Run(count, wall, {stage: after[stage] - before[stage] for stage in STAGES})


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
    """G1, G2 twice, G9."""
    found: dict[str, Found] = {}
    async with rival(installed, folder) as naive:
        tell("accuracy of the recipes against transformers in fp32")
        judged = await judge(naive, folder, files)
        for goal, recipe, most_kl in RECIPES:
            tell(f"the naive script and the pipeline ({recipe}) in turn, {size.rounds} rounds")
            with TemporaryDirectory(prefix="captionstream-bench-") as work:
                async with pipeline(Path(work), folder, recipe, cores()) as pipe:
                    found |= await compared(pipe, naive, files, size, goal, judged[recipe], most_kl)
    return found


async def judge(naive: Rival, folder: Path, files: list[Path]) -> dict[str, accuracy.Nearness]:
    with TemporaryDirectory(prefix="captionstream-bench-") as work:
        told = [Path(work, f"{file.stem}.npz") for file in files]
        for file, target in zip(files, told, strict=True):
            await naive.ask(judge=str(file), to=str(target))
        recipes = [recipe for _, recipe, _ in RECIPES]
        return {
            recipe: await asyncio.to_thread(accuracy.of_recipe, folder, recipe, Path(work), files, told)
            for recipe in recipes
        }


async def compared(
    pipe: Stack, naive: Rival, files: list[Path], size: Size, goal: str, near: accuracy.Nearness, most: float
) -> dict[str, Found]:
    """One recipe. What takes turns is a round of either side, the other one waiting."""
    await run(pipe, files, 2 * cores(), "warm")
    await naive.ask(pictures=[str(files[0])])
    rates: list[float] = []
    costs: list[float] = []
    runs: list[Run] = []
    chosen = [str(file) for file in itertools.islice(itertools.cycle(files), size.naive)]
    for number in range(size.rounds):
        told = await naive.ask(pictures=chosen)
        rates.append(size.naive / told["wall_s"])
        costs.append(told["cpu_s"] / size.naive)
        runs.append(await run(pipe, files, size.ours, f"round-{number}"))
    found = {goal: over_naive(goal, rates, costs, runs, near, most, naive.versions)}
    if goal == RECIPES[0][0]:
        found |= {"G1": of_bound(runs), "G13": await bytes_of(pipe, files, 2 * PARTITIONS)}
        found |= {"G9": await first_delta(pipe, files, size.rounds)}
    return found


def over_naive(
    goal: str, rates: Sequence[float], costs: Sequence[float], runs: Sequence[Run], near: accuracy.Nearness,
    most: float, versions: dict[str, Any],
) -> Found:  # fmt: skip
    """By the clock, for the whole machine; by processor seconds beside it."""
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
    reached = Spread.of([one.rate / one.bound for one in runs])
    per_caption = {
        stage: round(Spread.of([one.cpu_s[stage] / one.count for one in runs]).median * 1000, 1)
        for stage in STAGES
    }
    details = {"cpu_ms_a_caption": per_caption, "load": [round(value, 2) for value in os.getloadavg()]}
    met = BY_NAME["G1"].met_by(reached.median)
    profile = shares(runs) if met == "missed" else ""
    return Found("G1", round(reached.median, 3), reached.range, len(runs), details, profile=profile)


def shares(runs: Sequence[Run]) -> str:
    """Where the processor time of a caption goes."""
    sums = {stage: sum(one.cpu_s[stage] for one in runs) for stage in STAGES}
    count, wall = sum(one.count for one in runs), sum(one.wall_s for one in runs)
    rows = [f"{stage:<10} {1000 * cpu / count:8.1f} ms a caption" for stage, cpu in sums.items()]
    idle = cores() * wall - sum(sums.values())
    return "\n".join([*rows, f"{'the rest':<10} {1000 * idle / count:8.1f} ms: broker, others, idle"])


async def bytes_of(pipe: Stack, files: list[Path], count: int) -> Found:
    """What the log keeps of an image; the text in the making is sent as the generator sends it."""
    before = pipe.kafka_bytes()
    await run(pipe, files, count, "bytes")
    after = pipe.kafka_bytes()
    kib = {topic: (after[topic] - before[topic]) / 1024 / count for topic in after}
    told = {
        topic: round(size, 2) for topic, size in sorted(kib.items(), key=lambda item: -item[1]) if size > 0
    }
    value = round(sum(kib.values()), 1)
    profile = "\n".join(f"{topic:<20} {size:8.2f} KiB" for topic, size in told.items())
    missed = BY_NAME["G13"].met_by(value) == "missed"
    details = {"kib_by_topic": told, "visual_tokens": "64 x 576 fp16 inline"}
    return Found("G13", value, rounds=count, details=details, profile=profile if missed else "")


async def first_delta(pipe: Stack, files: list[Path], rounds: int) -> Found:
    """One request at a time; the first text that safety released, over the answer."""
    events = written(objects_of(pipe), files, rounds + 1, "delta")
    timings = [await first_text(pipe.log, event) for event in events][1:]
    told = [first / total for first, total in timings if first is not None]
    if not told:
        return Found.nothing("G9", "safety released no partial text")
    spread = Spread.of(told)
    details = {"answer_ms": round(float(np.median([total for _, total in timings])) * 1000)}
    return Found("G9", round(spread.median, 3), spread.range, len(told), details)
