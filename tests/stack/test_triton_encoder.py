"""The vision models on a real tritonserver: numbers as in process, and no wrong one when it breaks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from captionstream.local.process import Part
from captionstream.local.triton import TritonPorts, shared_memory_prefix, triton_part
from captionstream.runtime.errors import Unavailable
from services.encoder import views
from services.encoder.settings import EncoderSettings, SharedMemory
from services.encoder.views import Pixels
from services.encoder.vision import Vision
from services.encoder.wiring import open_onnx, triton_sight
from tests.conftest import free_port
from tests.unit.encoder import photographs as photo
from tests.unit.encoder.vision_behaviour import VisionBehaviour
from triton_models import repository

pytestmark = pytest.mark.stack


class Server:
    """One tritonserver that tests may break."""

    def __init__(self, folder: Path, models: Path | None = None, split_models: Path | None = None) -> None:
        self.ports = TritonPorts(free_port(), free_port(), free_port())
        self.part: Part = triton_part(folder, self.ports, models=models, split_models=split_models)
        self.prefix = shared_memory_prefix(folder / "triton-0")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.part.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.part.log_path.open("ab") as log:
            process = subprocess.Popen(self.part.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + self.part.start_timeout_s
        while not self._ready():
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                raise RuntimeError(f"tritonserver did not start:\n{self.part.log_path.read_text()[-3000:]}")
            time.sleep(0.2)
        return process

    def _ready(self) -> bool:
        try:
            return asyncio.run(self.part.ready())  # type: ignore[arg-type]
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(self.part.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.process = self._start()

    def stubs(self, model: str) -> list[int]:
        """Process ids of the server's child processes for one model."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = entry.read_bytes().decode()
            except OSError:
                continue
            if "python_backend_stub" in command and self.prefix in command and f"/{model}/" in command:
                found.append(int(entry.parent.name))
        return found

    def get(self, path: str) -> Any:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.ports.http}", trust_env=False) as client:
            return client.get(path).json()

    def post(self, path: str) -> Any:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.ports.http}", trust_env=False) as client:
            return client.post(path).json()

    def told(self, **more: Any) -> EncoderSettings:
        return EncoderSettings(triton=f"127.0.0.1:{self.ports.grpc}", **more)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """All models, as a local stack serves them."""
    started = Server(tmp_path_factory.mktemp("triton"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One model that starts quickly and collects requests into batches, as on a GPU."""
    folder = tmp_path_factory.mktemp("small")
    models = repository.render(repository.ROOT, folder / "rendered", backend="python", instances=1)
    only = folder / "models" / "content_screen"
    only.parent.mkdir()
    (models / "content_screen").rename(only)
    with (only / "config.pbtxt").open("a") as config:
        config.write("dynamic_batching { max_queue_delay_microseconds: 50000 }\n")
    started = Server(folder, only.parent)
    yield started
    started.stop()


@asynccontextmanager
async def open_triton(told: EncoderSettings) -> AsyncIterator[Vision]:
    async with triton_sight(told) as sight:
        yield sight.vision


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vision(server: Server) -> AsyncIterator[Vision]:
    async with open_triton(server.told()) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def in_process() -> AsyncIterator[Vision]:
    async with open_onnx(EncoderSettings()) as opened:
        yield opened


def grey(level: int) -> Pixels:
    return np.full((224, 224, 3), level, np.uint8)


@pytest.mark.asyncio(loop_scope="module")
class TestTritonVision(VisionBehaviour):
    async def test_the_numbers_are_those_of_the_engine_in_process(
        self, vision: Vision, in_process: Vision
    ) -> None:
        """Logits, features, boxes and scores of two photographs."""
        assert vision.fingerprint == in_process.fingerprint
        for picture in (photo.astronaut(), photo.coffee()):
            for there, here in zip(
                await numbers(vision, picture), await numbers(in_process, picture), strict=True
            ):
                np.testing.assert_allclose(there, here, atol=2e-4, rtol=1e-4)

    async def test_the_words_are_those_of_the_engine_in_process(
        self, vision: Vision, in_process: Vision
    ) -> None:
        """Text for text, at the same places."""
        for picture in (photo.page(), photo.motorcycle()):
            there = await vision.read(views.reader_view(picture, 1280))
            here = await in_process.read(views.reader_view(picture, 1280))
            assert [line.text for line in here] == [line.text for line in there]
            for one, other in zip(here, there, strict=True):
                np.testing.assert_allclose(one.quad, other.quad, atol=2)

    async def test_memory_is_shared_with_it(self, vision: Vision, server: Server) -> None:
        """The server knows a region of this process, and the answers are those without."""
        shared = await numbers(vision, photo.chelsea())
        regions = server.get("/v2/systemsharedmemory/status")
        assert [str(os.getpid())] == [region["name"].split("_")[2] for region in regions]
        async with open_triton(server.told(shared_memory=SharedMemory.OFF)) as plain:
            for one, other in zip(shared, await numbers(plain, photo.chelsea()), strict=True):
                np.testing.assert_array_equal(one, other)

    async def test_the_views_of_an_image_are_one_execution(self, vision: Vision, server: Server) -> None:
        """Four inferences, executed together."""
        before = statistics(server, "vision_encoder")
        await vision.classify(views.tagger_views(photo.chelsea()))
        after = statistics(server, "vision_encoder")
        assert (4, 1) == (after[0] - before[0], after[1] - before[1])


async def numbers(vision: Vision, picture: Pixels) -> list[Any]:
    """Everything that is a number, of one picture."""
    logits, embedding = await vision.classify(views.tagger_views(picture))
    boxes, scores = await vision.detect(views.detector_view(picture)[0])
    return [logits, embedding, boxes, scores, await vision.screen(views.screen_view(picture))]


def statistics(server: Server, model: str) -> tuple[int, int]:
    """Inferences and executions so far."""
    (stats,) = server.get(f"/v2/models/{model}/stats")["model_stats"]
    return int(stats["inference_count"]), int(stats["execution_count"])


async def test_images_at_once_are_batched_by_a_server_that_batches(small_server: Server) -> None:
    """Thirty-two requests on their way together, in fewer executions; each has its own answer."""
    async with open_triton(small_server.told()) as vision:
        alone = [await vision.screen(grey(8 * number)) for number in range(32)]
        before = statistics(small_server, "content_screen")
        together = await asyncio.gather(*(vision.screen(grey(8 * number)) for number in range(32)))
        after = statistics(small_server, "content_screen")
    assert alone == pytest.approx(together, abs=1e-4)
    assert len({round(score, 5) for score in alone}) > 5
    assert 32 == after[0] - before[0]
    assert after[1] - before[1] < 32


async def test_a_killed_model_process_is_waited_for_and_gives_no_wrong_answer(small_server: Server) -> None:
    """Killed while requests are on their way; the restart of the server cures it for the same client."""
    async with open_triton(small_server.told(request_seconds=10)) as vision:
        expected = [await vision.screen(grey(8 * number)) for number in range(32)]
        asked = [asyncio.create_task(vision.screen(grey(8 * number))) for number in range(32)]
        await asyncio.sleep(0.1)
        for stub in small_server.stubs("content_screen"):
            os.kill(stub, signal.SIGKILL)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert only_right_or_away(expected, answers)
        with pytest.raises(Unavailable):
            await vision.screen(grey(0))
        await asyncio.to_thread(small_server.restart)
        assert expected == pytest.approx([await eventually(vision, grey(8 * n)) for n in range(32)], abs=1e-4)
        regions = small_server.get("/v2/systemsharedmemory/status")
        assert [str(os.getpid())] == [region["name"].split("_")[2] for region in regions]


def only_right_or_away(expected: list[float], answers: list[float | BaseException]) -> bool:
    """Every answer is the one expected or Unavailable, and at least one is Unavailable."""
    wrong = [
        answer
        for right, answer in zip(expected, answers, strict=True)
        if not isinstance(answer, Unavailable) and answer != pytest.approx(right, abs=1e-4)
    ]
    return not wrong and any(isinstance(answer, Unavailable) for answer in answers)


async def eventually(vision: Vision, image: Pixels) -> float:
    """The answer, for which a restarted server may need a moment."""
    for _ in range(100):
        try:
            return await vision.screen(image)
        except Unavailable:
            await asyncio.sleep(0.1)
    raise AssertionError("the server was not found again")


async def test_a_frozen_server_is_away_until_it_goes_on(small_server: Server) -> None:
    """A request ends at its deadline; after the thaw the same client goes on."""
    with frozen(small_server):
        async with asyncio.timeout(20), open_triton(small_server.told(request_seconds=1)) as vision:
            with pytest.raises(Unavailable):
                await vision.screen(grey(0))
    async with open_triton(small_server.told()) as vision:
        assert 0.0 <= await vision.screen(grey(0)) <= 1.0


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


async def test_a_model_that_is_not_served_is_waited_for(small_server: Server) -> None:
    """The small server has no tagger; it may still be loading it."""
    async with open_triton(small_server.told()) as vision:
        with pytest.raises(Unavailable):
            await vision.classify(np.zeros((1, 260, 260, 3), np.uint8))
        with pytest.raises(Unavailable):
            await vision.probe()
