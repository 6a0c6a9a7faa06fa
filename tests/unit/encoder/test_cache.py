"""One image is encoded once, however many ask, and memory stays bounded."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from captionstream.contracts.evidence import Appearance, ImageEvidence
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from captionstream.telemetry import metrics
from services.encoder.cache import EncodingCache
from services.encoder.evidence import tensors
from services.encoder.scripted import ScriptedVision


async def evidence(content_score: float = 0.0) -> ImageEvidence:
    payload = await tensors(
        np.zeros((1, 1000), np.float32), np.zeros((1, 1280), np.float32), PayloadStore.open("memory")
    )
    return ImageEvidence(
        fingerprint=ScriptedVision().fingerprint, tensors=payload, content_score=content_score,
        appearance=Appearance(),
    )  # fmt: skip


class Encoder:
    """Encodes when `go` is set; counts how often it was asked and how often it was ended early."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.calls = 0
        self.ended = 0
        self.failure: Exception | None = None

    async def __call__(self) -> ImageEvidence:
        self.calls += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended += 1
            raise
        if self.failure is not None:
            raise self.failure
        return await evidence()


def count(result: str) -> float:
    return float(metrics.CACHE.labels(result)._value.get())


async def test_a_hundred_copies_at_once_are_one_encoding() -> None:
    """One misses, ninety-nine join it; the next one finds it kept."""
    cache, encoder = EncodingCache(), Encoder()
    before = {result: count(result) for result in ("hit", "miss", "joined")}
    asked = [asyncio.create_task(cache.get("a", encoder)) for _ in range(100)]
    await asyncio.sleep(0)
    encoder.go.set()
    answers = await asyncio.gather(*asked)
    late = await cache.get("a", encoder)
    assert 1 == encoder.calls
    assert [False] + [True] * 99 + [True] == [answer.cached for answer in (*answers, late)]
    assert {"hit": 1, "miss": 1, "joined": 99} == {name: count(name) - was for name, was in before.items()}


async def test_two_images_are_two_encodings() -> None:
    """Keys are not mixed."""
    cache = EncodingCache()

    async def first() -> ImageEvidence:
        return await evidence(0.1)

    async def second() -> ImageEvidence:
        return await evidence(0.2)

    await asyncio.gather(cache.get("a", first), cache.get("b", second))
    kept = [await cache.get("a", second), await cache.get("b", first)]
    assert [0.1, 0.2] == [one.content_score for one in kept]


async def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    """The one who asks after it tries again."""
    cache, encoder = EncodingCache(), Encoder()
    encoder.failure = Unavailable("triton")
    encoder.go.set()
    answers = await asyncio.gather(*(cache.get("a", encoder) for _ in range(3)), return_exceptions=True)
    assert [Unavailable] * 3 == [type(answer) for answer in answers]
    encoder.failure = None
    assert not (await cache.get("a", encoder)).cached
    assert 2 == encoder.calls


async def test_one_who_stops_waiting_does_not_stop_the_others() -> None:
    """Also when it was the one who started."""
    cache, encoder = EncodingCache(), Encoder()
    first = asyncio.create_task(cache.get("a", encoder))
    second = asyncio.create_task(cache.get("a", encoder))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    encoder.go.set()
    assert (await second).cached
    assert (1, 0) == (encoder.calls, encoder.ended)


async def test_an_encoding_ends_when_nobody_waits_for_it() -> None:
    """And the next one who asks starts a new one."""
    cache, encoder = EncodingCache(), Encoder()
    asked = [asyncio.create_task(cache.get("a", encoder)) for _ in range(2)]
    await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    encoder.go.set()
    assert not (await cache.get("a", encoder)).cached
    assert (2, 1) == (encoder.calls, encoder.ended)


async def test_the_least_recently_used_is_dropped_first() -> None:
    """Two fit; the one looked at again stays."""
    cache, encoder = EncodingCache(max_entries=2), Encoder()
    encoder.go.set()
    for key in ("a", "b", "a", "c"):
        await cache.get(key, encoder)
    assert [True, False] == [(await cache.get("a", encoder)).cached, (await cache.get("b", encoder)).cached]


@pytest.mark.parametrize(("room", "expected"), [(0, 0), (1, 1), (3, 3), (5, 5)])
async def test_memory_is_bounded_by_bytes(room: int, expected: int) -> None:
    """As many are kept as fit, of ten."""
    size = len((await evidence()).model_dump_json())
    cache, encoder = EncodingCache(max_bytes=room * size + size // 2), Encoder()
    encoder.go.set()
    for key in range(10):
        await cache.get(str(key), encoder)
    assert expected == len(cache)
