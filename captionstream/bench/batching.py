"""G7, G8: the language model alone: captions at batch 8 over one at a time, and two workers over one.

G7 runs workers as processes: `python -m captionstream.bench.batching FOLDER RECIPE COUNT` writes captions and prints
what they cost.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from captionstream.bench import model
from captionstream.bench.goals import BY_NAME, Found
from captionstream.bench.making import LANGUAGE_WIDTH
from captionstream.bench.measuring import Cost, Spread, profiled, ratios
from captionstream.bench.naive import WRITTEN
from services.generator.prefix.engine import Decoding, PrefixEngine

RECIPE = "dynamic8"
WORKER_S = 300.0


def measure(
    folder: Path, captions: int, rounds: int, tell: Callable[[str], None], wanted: frozenset[str]
) -> dict[str, Found]:
    """`captions` of a round, a multiple of 8."""
    found: dict[str, Found] = {}
    if "G8" in wanted:
        tell("language model: batch 8 and batch 1 in turn")
        found |= {"G8": asyncio.run(batches(folder, captions, rounds))}
    if "G7" in wanted:
        tell("one worker and two in turn")
        found |= {"G7": workers(folder, captions, rounds)}
    return found


async def batches(folder: Path, captions: int, rounds: int) -> Found:
    with TemporaryDirectory(prefix="captionstream-bench-") as work:
        engine = await model.open_words(folder, RECIPE, Path(work))
        try:
            await written(engine, 2, 2)
            costs: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for at_once, figures in zip((1, model.SLOTS), costs, strict=True):
                    figures.append((await written(engine, captions, at_once)).cpu_s / captions)
        finally:
            await engine.close()
    ratio = ratios(*costs)
    details = {
        "cpu_ms_alone": round(Spread.of(costs[0]).median * 1000),
        "cpu_ms_of_8": round(Spread.of(costs[1]).median * 1000),
        "recipe": RECIPE, "gate": str(engine.verdict.serving),
    }  # fmt: skip
    missed = BY_NAME["G8"].met_by(ratio.median) == "missed"
    profile = where_it_goes(folder) if missed else ""
    return Found("G8", round(ratio.median, 2), ratio.range, rounds, details, profile=profile)


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

    with TemporaryDirectory(prefix="captionstream-bench-") as work:
        serving = model.serving_with(folder / "serving", RECIPE, Path(work))
        decoder = Decoder.open(serving, "dynamic8", model.SLOTS, model.ROOM)
        prompt, step = np.zeros((100, LANGUAGE_WIDTH), np.float32), [100] * model.SLOTS

        def work_of_eight() -> None:
            for slot in range(model.SLOTS):
                decoder.read(slot, prompt)
            for _ in range(WRITTEN):
                decoder.step(np.zeros((model.SLOTS, LANGUAGE_WIDTH), np.float32), step)

        return profiled(work_of_eight, 8)


# ---------------------------------------------------------------- G7


def workers(folder: Path, captions: int, rounds: int) -> Found:
    """Processor time of a caption of one worker over that of two side by side."""
    pairs = [(at_once(folder, captions, 1), at_once(folder, captions, 2)) for _ in range(rounds)]
    ratio = ratios([alone for alone, _ in pairs], [both for _, both in pairs])
    details = {
        "cpu_ms_one": round(pairs[0][0] * 1000),
        "cpu_ms_two": round(pairs[0][1] * 1000),
        "no_bar": True,
    }
    return Found("G7", round(ratio.median, 3), ratio.range, rounds, details)


def at_once(folder: Path, captions: int, count: int) -> float:
    """Processor seconds of a caption, the mean over `count` workers that run side by side."""
    command = [sys.executable, "-m", "captionstream.bench.batching", str(folder), RECIPE, str(captions)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        told = [json.loads(worker.communicate(timeout=WORKER_S)[0]) for worker in started]
    finally:
        for worker in started:
            worker.kill()
            worker.wait()
    return float(sum(cost["cpu_s"] for cost in told)) / captions / count


async def work_off(folder: Path, captions: int) -> Cost:
    with TemporaryDirectory(prefix="captionstream-bench-") as work:
        engine = await model.open_words(folder, RECIPE, Path(work))
        try:
            await written(engine, 2, 2)
            return await written(engine, captions, model.SLOTS)
        finally:
            await engine.close()


def main() -> None:
    print(json.dumps(asdict(asyncio.run(work_off(Path(sys.argv[1]), int(sys.argv[3]))))))


if __name__ == "__main__":
    main()
