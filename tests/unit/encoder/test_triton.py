"""What a failing, lying or restarted Triton means for an image: wait, or a defect; never a wrong answer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from captionstream.runtime.errors import Unavailable
from services.encoder.scripted import ScriptedVision
from services.encoder.shared_memory import PREFIX, Region, remove_leftovers
from services.encoder.triton import TritonVision, on_this_host, reached
from services.encoder.views import Pixels
from services.encoder.vision import RejectedByModel
from tests.unit.encoder.peer import Answer, Peer, forever, listening, refusing

VERSIONS = {"vision_encoder": "1", "object_detector": "1", "text_reader": "1", "content_screen": "1"}
ROOM = 4 * 1024 * 1024


@asynccontextmanager
async def vision_at(port: int, shared_bytes: int = 0, timeout_s: float = 5.0) -> AsyncIterator[TritonVision]:
    fingerprint = ScriptedVision().fingerprint
    async with reached(f"127.0.0.1:{port}", shared_bytes) as server:
        yield TritonVision(server, fingerprint, VERSIONS, timeout_s)


def grey(level: int) -> Pixels:
    return np.full((224, 224, 3), level, np.uint8)


async def outcome(before: Answer, timeout_s: float = 5.0) -> BaseException | float:
    """What becomes of a screening when the peer does `before` first."""
    peer = Peer()
    peer.before = before
    async with listening(peer) as port, vision_at(port, timeout_s=timeout_s) as vision:
        try:
            return await vision.screen(grey(51))
        except Exception as failure:
            return failure


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    """Nothing listens on this port."""
    async with listening(Peer()) as port:
        pass
    async with vision_at(port) as vision:
        with pytest.raises(Unavailable, match="triton"):
            await vision.screen(grey(51))


STUB_GONE = (
    "Failed to process the request(s) for model instance 'x', message: Stub process 'x' is not healthy."
)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (grpc.StatusCode.UNAVAILABLE, "server is shutting down"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "in the queue"),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'content_screen' is not found"),
        (grpc.StatusCode.INTERNAL, STUB_GONE),
        (grpc.StatusCode.INTERNAL, "RuntimeException: out of memory"),
    ],
)
async def test_a_server_that_cannot_answer_now_is_waited_for(code: grpc.StatusCode, message: str) -> None:
    """Whatever it is asked: the trouble is the server's, not the picture's."""
    assert isinstance(await outcome(refusing(code, message)), Unavailable)


async def test_a_request_has_a_deadline() -> None:
    """A server that never answers is away."""
    assert isinstance(await outcome(forever, timeout_s=0.2), Unavailable)


async def test_a_request_that_the_server_calls_invalid_is_a_defect() -> None:
    """Waiting would not help."""
    failure = await outcome(refusing(grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape"))
    assert isinstance(failure, RejectedByModel)
    assert "unexpected shape" in str(failure)


async def test_a_picture_that_breaks_a_working_model_is_a_defect() -> None:
    """The model answers zeros right after: the record must not wait ten minutes for a server that is well."""
    failure = await outcome(refusing(grpc.StatusCode.INTERNAL, "ResizeImgError: ", times=1))
    assert isinstance(failure, RejectedByModel)


async def test_a_dead_instance_beside_a_live_one_is_no_defect_of_the_picture() -> None:
    """The model answers zeros, but the message names the process that is gone."""
    assert isinstance(await outcome(refusing(grpc.StatusCode.INTERNAL, STUB_GONE, times=1)), Unavailable)


async def test_empty_outputs_are_no_answer() -> None:
    """What a server with the wrong numpy sends while it says that it is ready."""
    peer = Peer()
    peer.empty = True
    async with listening(peer) as port, vision_at(port) as vision:
        for ask in (
            vision.screen(grey(51)),
            vision.classify(np.zeros((1, 260, 260, 3), np.uint8)),
            vision.detect(np.zeros((416, 416, 3), np.uint8)),
        ):
            with pytest.raises(Unavailable):
                await ask


async def test_outputs_of_another_shape_are_no_answer() -> None:
    """A model with one class less, one without anchors, one that scores twice."""
    peer = Peer()
    peer.outputs = {
        "vision_encoder": {"class_logits": (999,), "embedding": (1280,)},
        "object_detector": {"boxes": (0, 4), "scores": (0, 80)},
        "content_screen": {"score": (2,)},
    }
    async with listening(peer) as port, vision_at(port) as vision:
        for ask in (
            vision.screen(grey(51)),
            vision.classify(np.zeros((1, 260, 260, 3), np.uint8)),
            vision.detect(np.zeros((416, 416, 3), np.uint8)),
        ):
            with pytest.raises(Unavailable, match="expected"):
                await ask


async def test_another_version_of_a_model_is_refused() -> None:
    """Encodings of two fingerprints are never mixed."""
    peer = Peer()
    peer.version = "2"
    async with listening(peer) as port, vision_at(port) as vision:
        with pytest.raises(Unavailable, match="version 2, recorded is 1"):
            await vision.screen(grey(51))


async def test_a_server_that_comes_back_is_found_again() -> None:
    """On the same port, within seconds, with the same client."""
    async with listening(Peer()) as port:
        pass
    async with vision_at(port) as vision:
        with pytest.raises(Unavailable):
            await vision.screen(grey(51))
        async with listening(Peer(), port):
            assert 0.2 == pytest.approx(await answered(vision, grey(51)))


async def answered(vision: TritonVision, image: Pixels) -> float:
    """The answer after at most a hundred tries."""
    for _ in range(100):
        try:
            return await vision.screen(image)
        except Unavailable:
            await asyncio.sleep(0.05)
    raise AssertionError("the server was not found again")


# ------------------------------------------------------------------ shared memory


async def test_pixels_go_by_shared_memory_and_arrive_whole() -> None:
    """Thirty pictures at once, each in its own place."""
    peer = Peer()
    async with listening(peer) as port, vision_at(port, 40 * 224 * 224 * 3) as vision:
        levels = [7 * number for number in range(30)]
        scores = await asyncio.gather(*(vision.screen(grey(level)) for level in levels))
    assert [level / 255 for level in levels] == pytest.approx(scores, abs=1e-5)
    assert (30, 0) == (peer.by_region, peer.inside)


async def test_what_finds_no_room_travels_in_the_request() -> None:
    """A region for one picture, five pictures at once."""
    peer = Peer()
    async with listening(peer) as port, vision_at(port, 224 * 224 * 3) as vision:
        scores = await asyncio.gather(*(vision.screen(grey(51)) for _ in range(5)))
    assert [0.2] * 5 == pytest.approx(scores)
    assert peer.by_region >= 1 and peer.inside >= 1
    assert 5 == peer.by_region + peer.inside


async def test_a_server_that_cannot_open_the_region_gets_the_pixels_in_the_request() -> None:
    """It runs in another container; it is asked once only."""
    peer = Peer()
    peer.takes_regions = False
    async with listening(peer) as port, vision_at(port, ROOM) as vision:
        assert [0.2, 0.4] == pytest.approx([await vision.screen(grey(51)), await vision.screen(grey(102))])
    assert (0, 2, 1) == (peer.by_region, peer.inside, peer.times_told)


async def test_a_machine_without_room_for_the_region_sends_the_pixels_in_the_request() -> None:
    """An exabyte of shared memory; nothing is left behind."""
    peer, before = Peer(), set(Path("/dev/shm").glob(f"{PREFIX}{os.getpid()}_*"))
    async with listening(peer) as port, vision_at(port, 1 << 60) as vision:
        assert 0.2 == pytest.approx(await vision.screen(grey(51)))
    assert 1 == peer.inside
    assert before == set(Path("/dev/shm").glob(f"{PREFIX}{os.getpid()}_*"))


async def test_a_restarted_server_is_told_about_the_region_again() -> None:
    """Twenty requests meet a server that has forgotten it: all are answered, and it is in use again."""
    peer = Peer()
    async with listening(peer) as port, vision_at(port, 40 * 224 * 224 * 3) as vision:
        await vision.screen(grey(51))
        peer.regions.clear()
        scores = await asyncio.gather(*(vision.screen(grey(level)) for level in range(20)))
        assert [level / 255 for level in range(20)] == pytest.approx(scores, abs=1e-5)
        used = peer.by_region
        await vision.screen(grey(51))
        assert used + 1 == peer.by_region


async def test_closing_leaves_no_region_behind() -> None:
    """Neither on this machine nor in the server."""
    peer = Peer()
    async with listening(peer) as port:
        async with vision_at(port, ROOM) as vision:
            await vision.screen(grey(51))
            (name,) = peer.regions
            assert Path("/dev/shm", name).exists()
        assert {} == peer.regions
        assert not Path("/dev/shm", name).exists()


def test_regions_of_dead_processes_are_removed_and_those_of_live_ones_are_not(tmp_path: Path) -> None:
    """One process is killed without a chance to tidy up."""
    make = (
        f"import sys, time; sys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path; from services.encoder.shared_memory import Region\n"
        f"region = Region(4096, Path({str(tmp_path)!r}))\n"
        "print(region.name, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", make], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    theirs = process.stdout.readline().strip()
    ours = Region(4096, tmp_path)
    assert [] == remove_leftovers(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [theirs] == remove_leftovers(tmp_path)
    assert [ours.name] == [path.name for path in tmp_path.iterdir()]
    assert theirs.startswith(f"{PREFIX}{process.pid}_")
    ours.close()


def test_spans_do_not_overlap_and_all_come_back(tmp_path: Path) -> None:
    """A thousand pictures taken and given back in a shuffled order; then the whole region is free again."""
    random = np.random.default_rng(11)
    region = Region(64 * 1024, tmp_path)
    held: list[tuple[int, int, object]] = []
    for _ in range(1000):
        if held and random.random() < 0.5:
            _, _, place = held.pop(int(random.integers(len(held))))
            place.__exit__(None, None, None)  # type: ignore[attr-defined]
            continue
        pixels = np.zeros((1, int(random.integers(1, 900)), 3), np.uint8)
        place = region.holding(pixels)
        offset = place.__enter__()
        if offset is not None:
            end = offset + pixels.nbytes
            assert all(end <= start or offset >= stop for start, stop, _ in held)
            held.append((offset, end, place))
    for _, _, place in held:
        place.__exit__(None, None, None)  # type: ignore[attr-defined]
    with region.holding(np.zeros((64, 1024, 1), np.uint8)) as offset:
        assert 0 == offset
    region.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:8001", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("triton:8001", False),
        ("10.0.0.1:1", False),
    ],
)
def test_memory_is_shared_with_a_server_on_this_host_only(address: str, expected: bool) -> None:
    """Told by a loopback address."""
    assert expected == on_this_host(address)
