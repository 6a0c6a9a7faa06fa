"""G7, G8: the language model alone: captions at batch 8 over one at a time, and two workers over one.

Two workers are processes: `python -m captionstream.bench.batching FOLDER` opens an engine, then writes as many
captions as each line of its input says, so many at a time, and answers with what they cost.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from captionstream.bench import model
from captionstream.bench.goals import BY_NAME, Found
from captionstream.bench.making import LANGUAGE_WIDTH
from captionstream.bench.measuring import Cost, Spread, profiled, ratios
from captionstream.bench.naive import WRITTEN
from captionstream.bench.workplace import Answering, workplace
from services.generator.prefix.engine import Decoding, PrefixEngine

RECIPE = "dynamic8"


def measure(folder: Path, captions: int, rounds: int, tell: Callable[[str], None]) -> dict[str, Found]:
    """A round: one worker writes `captions`, a multiple of 8, eight at a time, between two lots one at a time, so
    that a machine that grows slower hits both; then both workers write eight at a time.
    """
    tell("language model: one at a time, eight at a time, two workers, in turn")
    alone: list[float] = []
    eight: list[float] = []
    two: list[float] = []
    with two_workers(folder) as workers:
        for _ in range(rounds):
            first = cost(workers[:1], captions // 4, 1)
            eight.append(cost(workers[:1], captions, model.SLOTS))
            alone.append((first + cost(workers[:1], captions // 4, 1)) / 2)
            two.append(cost(workers, captions, model.SLOTS))
        gate = workers[0].gate
    return {"G8": batches(folder, alone, eight, gate), "G7": scaling(eight, two)}


def batches(folder: Path, alone: Sequence[float], eight: Sequence[float], gate: str) -> Found:
    ratio = ratios(alone, eight)
    details = {
        "cpu_ms_alone": round(Spread.of(alone).median * 1000),
        "cpu_ms_of_8": round(Spread.of(eight).median * 1000),
        "recipe": RECIPE, "gate": gate,
    }  # fmt: skip
    missed = BY_NAME["G8"].met_by(ratio.median) == "missed"
    profile = where_it_goes(folder) if missed else ""
    return Found("G8", round(ratio.median, 2), ratio.range, len(alone), details, profile=profile)


def scaling(one: Sequence[float], two: Sequence[float]) -> Found:
    """Processor time of a caption of one worker over that of two side by side."""
    ratio = ratios(one, two)
    details = {
        "cpu_ms_one": round(Spread.of(one).median * 1000), "cpu_ms_two": round(Spread.of(two).median * 1000),
        "no_bar": True,
    }  # fmt: skip
    return Found("G7", round(ratio.median, 3), ratio.range, len(one), details)


async def written(engine: PrefixEngine, captions: int, at_once: int) -> Cost:
    """So many captions, so many at a time; the processor time of this whole process."""
    cpu, wall = time.process_time(), time.perf_counter()
    for begin in range(0, captions, at_once):
        await asyncio.gather(*(one(engine, begin + n) for n in range(at_once)))
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


async def one(engine: PrefixEngine, number: int) -> None:
    async for _ in engine.write(model.asked(engine, drawn_tokens(number)), Decoding(WRITTEN)):
        pass


def drawn_tokens(number: int) -> model.Tokens:
    """Visual tokens as long as those of the bench's eye."""
    return np.random.default_rng(number).normal(0, 0.12, (64, LANGUAGE_WIDTH)).astype(np.float32)


def where_it_goes(folder: Path) -> str:
    """Of a prompt and of a step of one and of eight, on the thread that owns the model."""
    from services.generator.prefix.decoder import Decoder

    with workplace() as work:
        serving = model.serving_with(folder / "serving", RECIPE, work)
        decoder = Decoder.open(serving, "dynamic8", model.SLOTS, model.ROOM)
        prompt, step = np.zeros((100, LANGUAGE_WIDTH), np.float32), [100] * model.SLOTS

        def work_of_eight() -> None:
            for slot in range(model.SLOTS):
                decoder.read(slot, prompt)
            for _ in range(WRITTEN):
                decoder.step(np.zeros((model.SLOTS, LANGUAGE_WIDTH), np.float32), step)

        return profiled(work_of_eight, 8)


# ---------------------------------------------------------------- workers


class Worker:
    """A process with the model open, and what its gate said."""

    def __init__(self, folder: Path) -> None:
        self.process = Answering([sys.executable, "-m", "captionstream.bench.batching", str(folder)])
        self.gate = ""

    def wait(self) -> None:
        self.gate = str(self.process.reply()["gate"])


@contextmanager
def two_workers(folder: Path) -> Iterator[list[Worker]]:
    workers: list[Worker] = []
    try:
        workers += (Worker(folder) for _ in range(2))
        for worker in workers:
            worker.wait()
        yield workers
    finally:
        for worker in workers:
            worker.process.close()


def cost(workers: Sequence[Worker], captions: int, at_once: int) -> float:
    """Processor seconds of a caption, the mean over workers that run side by side."""
    for worker in workers:
        worker.process.tell(captions=captions, at_once=at_once)
    return float(sum(worker.process.reply()["cpu_s"] for worker in workers)) / captions / len(workers)


async def work_off(folder: Path) -> None:
    with workplace() as work:
        engine = await model.open_words(folder, RECIPE, work)
        try:
            await written(engine, 2, 2)
            print(json.dumps({"gate": str(engine.verdict.serving)}), flush=True)
            for line in sys.stdin:
                print(json.dumps(asdict(await written(engine, **json.loads(line)))), flush=True)
        finally:
            await engine.close()


def main() -> None:
    asyncio.run(work_off(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
