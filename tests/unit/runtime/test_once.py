"""Work is done once, however many ask, and memory stays bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from captionstream.runtime.errors import Unavailable
from captionstream.runtime.once import Once
from captionstream.telemetry import metrics

SIZE = 10


def once(**limits: Any) -> Once[str]:
    """Results are texts, each of SIZE bytes."""
    return Once("test", lambda _: SIZE, **limits)


class Worker:
    """Works when `go` is set; counts how often it was asked and how often it was ended early."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.calls = 0
        self.ended = 0
        self.failure: Exception | None = None

    async def __call__(self) -> str:
        self.calls += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended += 1
            raise
        if self.failure is not None:
            raise self.failure
        return "done"


def count(result: str) -> float:
    return float(metrics.REUSE.labels("test", result)._value.get())


async def test_a_hundred_copies_at_once_are_one_piece_of_work() -> None:
    """One misses, ninety-nine join it; the next one finds it kept."""
    cache, worker = once(), Worker()
    before = {result: count(result) for result in ("hit", "miss", "joined")}
    asked = [asyncio.create_task(cache.get("a", worker)) for _ in range(100)]
    await asyncio.sleep(0)
    worker.go.set()
    answers = await asyncio.gather(*asked)
    late = await cache.get("a", worker)
    assert 1 == worker.calls
    assert [False] + [True] * 99 + [True] == [answer.shared for answer in (*answers, late)]
    assert {"hit": 1, "miss": 1, "joined": 99} == {name: count(name) - was for name, was in before.items()}


async def test_two_keys_are_two_results() -> None:
    """Keys are not mixed."""
    cache = once()

    async def first() -> str:
        return "first"

    async def second() -> str:
        return "second"

    await asyncio.gather(cache.get("a", first), cache.get("b", second))
    kept = [await cache.get("a", second), await cache.get("b", first)]
    assert ["first", "second"] == [got.value for got in kept]


async def test_a_result_has_its_age() -> None:
    """What it stands for may be gone by then."""
    now = 0.0
    cache, worker = once(max_age_s=60, clock=lambda: now), Worker()
    worker.go.set()
    first = await cache.get("a", worker)
    now = 60.0
    second = await cache.get("a", worker)
    now = 61.0
    third = await cache.get("a", worker)
    assert [False, True, False] == [got.shared for got in (first, second, third)]
    assert 1 == len(cache)


async def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    """The one who asks after it tries again."""
    cache, worker = once(), Worker()
    worker.failure = Unavailable("triton")
    worker.go.set()
    answers = await asyncio.gather(*(cache.get("a", worker) for _ in range(3)), return_exceptions=True)
    assert [Unavailable] * 3 == [type(answer) for answer in answers]
    worker.failure = None
    assert not (await cache.get("a", worker)).shared
    assert 2 == worker.calls


async def test_one_who_stops_waiting_does_not_stop_the_others() -> None:
    """Also when it was the one who started."""
    cache, worker = once(), Worker()
    first = asyncio.create_task(cache.get("a", worker))
    second = asyncio.create_task(cache.get("a", worker))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    worker.go.set()
    assert (await second).shared
    assert (1, 0) == (worker.calls, worker.ended)


async def test_an_encoding_ends_when_nobody_waits_for_it() -> None:
    """And the next one who asks starts a new one."""
    cache, worker = once(), Worker()
    asked = [asyncio.create_task(cache.get("a", worker)) for _ in range(2)]
    await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    worker.go.set()
    assert not (await cache.get("a", worker)).shared
    assert (2, 1) == (worker.calls, worker.ended)


async def test_the_least_recently_used_is_dropped_first() -> None:
    """Two fit; the one looked at again stays."""
    cache, worker = once(max_entries=2), Worker()
    worker.go.set()
    for key in ("a", "b", "a", "c"):
        await cache.get(key, worker)
    assert [True, False] == [(await cache.get("a", worker)).shared, (await cache.get("b", worker)).shared]


@pytest.mark.parametrize(("room", "expected"), [(0, 0), (1, 1), (3, 3), (5, 5)])
async def test_memory_is_bounded_by_bytes(room: int, expected: int) -> None:
    """As many are kept as fit, of ten."""
    cache, worker = once(max_bytes=room * SIZE + SIZE // 2), Worker()
    worker.go.set()
    for key in range(10):
        await cache.get(str(key), worker)
    assert expected == len(cache)
