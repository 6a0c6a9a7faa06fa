"""Waiting for the end of a process: by the kernel, and where Python or the kernel cannot."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from captionstream.local.child import Child
from captionstream.local.process import Part


async def never() -> bool:
    return False


@pytest.fixture(params=[True, False], ids=["the kernel tells", "nobody tells"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not request.param:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    yield


def sleeping(folder: Path) -> Child:
    return Child.start(
        Part("Sleeper", "sleeper", ("sleep", "600"), 0, never, folder / "log", stop_timeout_s=5.0)
    )


@pytest.mark.usefixtures("kernel")
async def test_all_who_wait_hear_of_the_end_and_no_descriptor_is_left(tmp_path: Path) -> None:
    """One of them gave up before."""
    child, before = sleeping(tmp_path), len(os.listdir("/proc/self/fd"))
    waiting = [asyncio.create_task(child.ended()) for _ in range(3)]
    await asyncio.sleep(0.2)
    waiting[0].cancel()
    await child.kill()
    assert ["was ended by signal 9"] * 2 == await asyncio.gather(*waiting[1:])
    assert waiting[0].cancelled()
    assert before == len(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("kernel")
async def test_the_end_that_was_asked_for_is_the_polite_one(tmp_path: Path) -> None:
    child = sleeping(tmp_path)
    await child.stop()
    assert "was ended by signal 15" == await child.ended()
