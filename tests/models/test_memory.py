"""Ten thousand captions by the prefix engine leave its process as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import psutil
import pytest

from captionstream.contracts.messages import Decoding
from services.generator.grammar import one_of
from services.generator.prefix.engine import Room
from services.generator.prefix.writer import PrefixSettings, PrefixWriter
from services.generator.writer import Piece, Task, Writer
from tests.unit.generator.prefix_writer.shelf import registered, task_about
from triton_models.registry import Registry

CAPTIONS, SLOTS = 10_000, 8
WARM = 2_000  # until each slot and the words of the prompts are known
GROWTH = 2 * 1024 * 1024  # bytes: 256 for each of the others would be too much
GIVEN_UP = 5  # one in so many ends after its first piece, as when a deadline passes
DRAWN = Decoding(seed=1, temperature=1.0, max_tokens=12, constrained=True)

pytestmark = pytest.mark.timeout(900)


async def test_memory_is_flat_over_ten_thousand_captions(tmp_path: Path) -> None:
    """Under the grammar, streamed, eight at a time, some given up halfway."""
    registry = Registry(tmp_path)
    model = registered(registry)
    short = one_of("Car.", "A car.", "Red.")
    tasks = cycle(replace(task_about(model, seed=seed), allowed=short) for seed in range(4))
    async with PrefixWriter.open(
        registry, DRAWN, PrefixSettings(room=Room(slots=SLOTS, tokens=256))
    ) as writer:
        assert 0 < await written(writer, tasks, WARM)
        before = resident()
        pieces = await written(writer, tasks, CAPTIONS - WARM)
        grown = resident() - before
    assert pieces > CAPTIONS - WARM
    assert grown < GROWTH


async def written(writer: Writer, tasks: Iterator[Task], count: int) -> int:
    """How many pieces of text came."""
    numbers = iter(range(count))

    async def some() -> int:
        return sum([await one(writer, next(tasks), number % GIVEN_UP == 0) for number in numbers])

    return sum(await asyncio.gather(*(some() for _ in range(SLOTS))))


async def one(writer: Writer, task: Task, gives_up: bool) -> int:
    pieces = 0
    async with aclosing(writer.write(task)) as said:
        async for piece in said:
            pieces += isinstance(piece, Piece)
            if gives_up:
                break
    return pieces


def resident() -> int:
    return int(psutil.Process().memory_info().rss)
