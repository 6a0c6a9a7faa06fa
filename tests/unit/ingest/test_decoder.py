"""Decoding happens in children that may be lost: the service never is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import cache

import psutil
import pytest
from PIL import Image

from captionstream.contracts.messages import RefusalReason
from captionstream.runtime.errors import Unprocessable
from services.ingest.decode import OUT_OF_MEMORY, Decoded, DecoderPool
from services.ingest.decode_pipe import ChildLimits
from tests.unit.ingest.images import GREEN, RED, encoded

MEBIBYTE = 1024 * 1024
STRANGERS: set[int] = set()
LIMITS = ChildLimits(max_pixels=100_000_000, long_side=256, memory=512 * MEBIBYTE, seconds=20.0)
GOOD = encoded(Image.new("RGB", (40, 30), RED))


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    made = DecoderPool(LIMITS, children=1, images=100)
    yield made
    await made.aclose()


@cache
def slow_image() -> bytes:
    """Some seconds of honest work: a large noisy picture in the dearest lossless form."""
    return encoded(Image.effect_noise((4000, 4000), 90).convert("RGB"), "PNG", compress_level=1)


def decodes(decoded: Decoded) -> bool:
    return decoded.pixels[:3] == bytes(RED) and (decoded.width, decoded.height) == (40, 30)


async def refusal(pool: DecoderPool, data: bytes) -> Unprocessable:
    with pytest.raises(Unprocessable) as refused:
        await pool.decode(data)
    return refused.value


async def test_one_child_serves_many_images(pool: DecoderPool) -> None:
    """Images follow one another through the same process, refusals too."""
    assert decodes(await pool.decode(GOOD))
    child = pool.pids()
    assert (await refusal(pool, b"no image")).reason is RefusalReason.UNDECODABLE
    assert (await refusal(pool, b"")).detail == "empty"
    assert decodes(await pool.decode(GOOD))
    assert child == pool.pids()


async def test_a_child_is_replaced_after_its_share_of_images() -> None:
    """Leaks of the libraries end with the process."""
    pool = DecoderPool(LIMITS, children=1, images=2)
    await pool.decode(GOOD)
    first = pool.pids()
    await pool.decode(GOOD)
    await pool.decode(GOOD)
    assert len(first) == len(pool.pids()) == 1
    assert first != pool.pids()
    await pool.aclose()


async def test_children_work_side_by_side() -> None:
    """As many images at once as there are children, each with its own pixels."""
    pool = DecoderPool(LIMITS, children=2, images=100)
    other = encoded(Image.new("RGB", (40, 30), GREEN))
    results = await asyncio.gather(*(pool.decode(data) for data in [GOOD, other] * 6))
    assert [tuple(result.pixels[:3]) for result in results] == [RED, GREEN] * 6
    assert len(pool.pids()) == 2
    await pool.aclose()


async def test_a_child_that_dies_while_idle_costs_nothing(pool: DecoderPool) -> None:
    """Whoever killed it, the next image is decoded."""
    await pool.decode(GOOD)
    kill(pool.pids()[0])
    assert decodes(await pool.decode(GOOD))


async def test_a_child_killed_once_in_mid_image_is_replaced(pool: DecoderPool) -> None:
    """The death may have had another cause than the image, so the image is tried once more."""
    work = asyncio.ensure_future(pool.decode(slow_image()))
    kill(await busy_child())
    assert (await work).width == 256
    assert pool.deaths == 1


async def test_an_image_that_kills_every_child_is_refused(pool: DecoderPool) -> None:
    """Killed by the system twice: it is the image, and the next one goes on."""
    work = asyncio.ensure_future(refusal(pool, slow_image()))
    first = await busy_child()
    kill(first)
    kill(await busy_child(but=first))
    refused = await work
    assert (refused.reason, refused.detail) == (RefusalReason.UNDECODABLE, OUT_OF_MEMORY)
    assert pool.deaths == 2
    assert decodes(await pool.decode(GOOD))


@pytest.mark.parametrize(
    "mood", ["vast head", "vast pixels", "no pixels", "no json", "wrong json", "status 3"]
)
async def test_a_child_that_was_taken_over_gains_nothing(mood: str) -> None:
    """Whatever it answers, it is a bounded refusal, and the child is gone."""
    pool = DecoderPool(LIMITS, children=1, images=100, module="tests.unit.ingest.rogue_child")
    refused = await refusal(pool, mood.encode())
    expected = (
        "the decoder ended on this image (status 3)"
        if mood == "status 3"
        else "the decoder gave no usable answer"
    )
    assert (refused.reason, refused.detail) == (RefusalReason.UNDECODABLE, expected)
    assert children_of_this_process() == []
    await pool.aclose()


async def test_an_image_that_needs_too_much_memory_is_refused() -> None:
    """The limit holds inside the child; the service and the next image do not notice."""
    pool = DecoderPool(replace(LIMITS, memory=128 * MEBIBYTE), children=1, images=100)
    huge = encoded(Image.new("RGBA", (6000, 6000)), "PNG")
    refused = await refusal(pool, huge)
    assert (refused.reason, refused.detail) == (RefusalReason.UNDECODABLE, OUT_OF_MEMORY)
    assert decodes(await pool.decode(GOOD))
    await pool.aclose()


async def test_an_image_that_takes_too_long_is_refused() -> None:
    """The clock ends it, its process with it, and the next image goes on."""
    pool = DecoderPool(replace(LIMITS, seconds=0.1), children=1, images=100)
    refused = await refusal(pool, slow_image())
    assert (refused.reason, refused.detail) == (RefusalReason.UNDECODABLE, "decoding took more than 0.1 s")
    assert children_of_this_process() == []
    await pool.aclose()


async def test_a_cancelled_image_leaves_no_child_behind(pool: DecoderPool) -> None:
    """A stage that is stopped in mid image stops its decoder, and the pool still works."""
    work = asyncio.ensure_future(pool.decode(slow_image()))
    await busy_child()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert children_of_this_process() == []
    assert decodes(await pool.decode(GOOD))


async def test_closing_leaves_no_child_behind() -> None:
    """Nothing outlives the service."""
    pool = DecoderPool(LIMITS, children=2, images=100)
    await asyncio.gather(pool.decode(GOOD), pool.decode(GOOD))
    await pool.aclose()
    assert children_of_this_process() == []


async def test_a_child_has_no_secrets_and_no_room(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is not ours; it writes no file, dumps no core, takes only the memory it was given."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    await pool.decode(GOOD)
    child = psutil.Process(pool.pids()[0])
    assert "AWS_SECRET_ACCESS_KEY" not in child.environ()
    limits = {
        name: child.rlimit(getattr(psutil, name))[0] for name in ("RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_CORE")
    }
    assert limits == {"RLIMIT_AS": LIMITS.memory, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}


@pytest.fixture(autouse=True)
def strangers() -> Iterator[set[int]]:
    """Children that other tests of this process left; they are not our decoders."""
    STRANGERS.clear()
    STRANGERS.update(child.pid for child in psutil.Process().children())
    yield STRANGERS


def children_of_this_process() -> list[psutil.Process]:
    """Our decoders: zombies would count."""
    return [
        child for child in psutil.Process().children() if child.pid not in STRANGERS and is_decoder(child)
    ]


def is_decoder(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE or process.cmdline()[1:2] == ["-m"]
    except psutil.NoSuchProcess:
        return False


async def busy_child(but: int | None = None) -> int:
    """The pid of a child that is past its start and at work on an image."""
    while True:
        for child in children_of_this_process():
            if child.pid != but and is_decoding(child):
                return child.pid
        await asyncio.sleep(0.005)


def is_decoding(child: psutil.Process) -> bool:
    """It has more in memory than any idle child: its image, and the pixels made of it so far."""
    try:
        return bool(child.memory_info().rss > 80 * MEBIBYTE)
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
