"""Split vision-language models on a real tritonserver: equal to the eye in process, and swapped while it runs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from captionstream.local.process import Broken
from captionstream.local.triton import (
    NotLoaded,
    TritonQuestion,
    load_model,
    serve_model,
    stop_serving,
    stubs,
)
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from services.encoder.scripted import plate
from services.encoder.seer import RegistrySeer, Seer, laid_out
from services.encoder.triton import TritonEyes, reached
from services.encoder.wiring import open_encoder
from tests.stack.test_triton_encoder import Server
from tests.stack.tiny_models import copied_registry
from tests.unit.encoder.builders import DELIVERY, prepared
from tests.unit.encoder.seer_behaviour import SeerBehaviour, pictures
from triton_models.registry import Aliases, Registry, SplitModel
from triton_models.vision_language.eye import Eye
from triton_models.vision_language.visual_tokens import decode

pytestmark = [pytest.mark.stack, pytest.mark.models, pytest.mark.timeout(300)]
SERVED = ("smolvlm", "idefics3", "llava_onevision", "qwen2_5_vl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("split")


@pytest.fixture(scope="module")
def registry(folder: Path) -> Registry:
    return copied_registry(folder / "registry", *SERVED)


@pytest.fixture(scope="module")
def server(folder: Path, registry: Registry) -> Iterator[Server]:
    """Everything that a local stack serves, and the four split models of the registry."""
    started = Server(folder, split_models=registry.folder)
    yield started
    started.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seer(server: Server, registry: Registry) -> AsyncIterator[Seer]:
    async with reached(f"127.0.0.1:{server.ports.grpc}", shared_bytes=1 << 22) as triton:
        yield RegistrySeer(registry, TritonEyes(triton, timeout_s=30))


@pytest.mark.asyncio(loop_scope="module")
class TestTritonSeer(SeerBehaviour):
    async def test_the_tokens_are_those_of_the_eye_in_process(
        self, seer: Seer, registry: Registry, server: Server
    ) -> None:
        """Bit for bit, with memory shared and without, for four classes and pictures of all shapes."""
        async with reached(f"127.0.0.1:{server.ports.grpc}", shared_bytes=0) as triton:
            plain = RegistrySeer(registry, TritonEyes(triton, timeout_s=30))
            for model in registry.models():
                eye = Eye(model.halves.split, model.graph)
                for picture in pictures():
                    expected = eye.see(laid_out(model.halves.split, picture))
                    for one in (seer, plain):
                        got = await one.see(model, picture)
                        assert expected.grid == got.grid
                        np.testing.assert_array_equal(expected.values, got.values)

    async def test_memory_is_shared_with_it(self, seer: Seer, registry: Registry, server: Server) -> None:
        """The server knows a region of this process."""
        await seer.see(registry.models()[0], pictures()[0])
        regions = server.get("/v2/systemsharedmemory/status")
        assert str(os.getpid()) in [region["name"].split("_")[2] for region in regions]


async def test_a_model_is_added_and_taken_away_while_it_runs(server: Server, folder: Path) -> None:
    """What is unloaded is waited for; the server is well all the time, and the others answer."""
    question = TritonQuestion(f"http://127.0.0.1:{server.ports.http}", server.prefix)
    assert await question.ready()
    (extra,) = copied_registry(folder / "extra", "smolvlm-other").models()
    async with reached(f"127.0.0.1:{server.ports.grpc}", shared_bytes=0) as triton:
        seer = RegistrySeer(Registry(folder / "extra"), TritonEyes(triton, timeout_s=30))
        with pytest.raises(Unavailable):
            await seer.see(extra, pictures()[0])
        assert await serve_model(folder, extra)
        assert 1 == stubs(server.prefix)[extra.triton_name]
        expected = Eye(extra.halves.split, extra.graph).see(laid_out(extra.halves.split, pictures()[0]))
        np.testing.assert_array_equal(expected.values, (await seer.see(extra, pictures()[0])).values)
        assert [True] * 12 == [await question.alive() for _ in range(12)]
        assert await stop_serving(folder, extra.triton_name)
        await until(lambda: not stubs(server.prefix)[extra.triton_name])
        with pytest.raises(Unavailable):
            await seer.see(extra, pictures()[0])
    assert [True] * 12 == [await question.alive() for _ in range(12)]


async def test_a_model_that_is_not_in_the_repository_is_not_loaded(server: Server) -> None:
    """Said in the server's own words."""
    with pytest.raises(NotLoaded, match="vlm_nothing"):
        await load_model(f"http://127.0.0.1:{server.ports.http}", "vlm_nothing")


async def test_a_swap_under_load_loses_nothing_and_mixes_nothing(
    server: Server, registry: Registry, tmp_path: Path
) -> None:
    """Twenty-four events while production changes back and forth: each has the tokens of the model that it names."""
    one, other = (registry.named(name) for name in ("smolvlm", "idefics3"))
    registry.write(Aliases(production=one.digest, canary=other.digest, share=0.3))
    payloads = PayloadStore.open(str(tmp_path))
    told = server.told(models=registry.folder, visual_precision="float32", views=1, reader_side=64)
    async with open_encoder(payloads, told) as service:
        await service.probe()
        answers = {}
        for number in range(24):
            if number % 8 == 4:
                registry.change(lambda now: Aliases(production=now.canary, canary=now.production, share=0.3))
            message = await prepared(plate(number, (120, 90)), payloads, f"e-{number}")
            (answers[number],) = [answer async for answer in service.stage.advance(message, DELIVERY)]
    seen = {answer.visual.model.digest for answer in answers.values()}
    assert {one.digest, other.digest} == seen
    eyes = {model.digest: (model, Eye(model.halves.split, model.graph)) for model in (one, other)}
    for number, answer in answers.items():
        model, eye = eyes[answer.visual.model.digest]
        expected = eye.see(laid_out(model.halves.split, plate(number, (120, 90))))
        got = decode(await payloads.get(answer.visual.tokens), answer.visual.width)
        np.testing.assert_array_equal(expected.values, got.values)


async def test_another_question_about_a_picture_never_asks_triton_again(
    server: Server, registry: Registry
) -> None:
    """Three languages and both models: two inferences of split models, one of each."""
    one, other = (registry.named(name) for name in ("smolvlm", "idefics3"))
    payloads = PayloadStore.open("memory")
    async with open_encoder(payloads, server.told(models=registry.folder)) as service:
        message = await prepared(plate(77, (120, 90)), payloads)
        before = [inferences(server, model) for model in (one, other)]
        for model in (one, other, one):
            registry.write(Aliases(production=model.digest))
            for language in ("en", "es", "de"):
                event = message.event.model_copy(update={"language": language})
                asked = message.model_copy(update={"event": event})
                (answer,) = [answer async for answer in service.stage.advance(asked, DELIVERY)]
                assert model.reference == answer.visual.model
        after = [inferences(server, model) for model in (one, other)]
    assert [1, 1] == [now - then for then, now in zip(before, after, strict=True)]


async def test_a_dead_eye_is_noticed_and_a_changed_one_is_left_out(
    server: Server, registry: Registry
) -> None:
    """A killed process: the picture waits, and the supervisor is told to replace the server. A flipped byte in another
    graph: its model is not served by the new server, with the reason in the log; the others are."""
    model, changed = registry.named("smolvlm"), registry.named("qwen2_5_vl")
    question = TritonQuestion(f"http://127.0.0.1:{server.ports.http}", server.prefix)
    assert await question.ready()
    for stub in server.stubs(model.triton_name):
        os.kill(stub, signal.SIGKILL)
    await until(lambda: not stubs(server.prefix)[model.triton_name])
    with pytest.raises(Broken, match=model.triton_name):
        await question.alive()
    flip_a_byte(changed.graph)
    async with reached(f"127.0.0.1:{server.ports.grpc}", shared_bytes=0) as triton:
        seer = RegistrySeer(registry, TritonEyes(triton, timeout_s=10))
        with pytest.raises(Unavailable):
            await seer.see(model, pictures()[0])
        await asyncio.to_thread(server.restart)
        assert len(await seer.see(model, pictures()[0])) > 0
    served = {one["name"] for one in server.post("/v2/repository/index")}
    assert changed.triton_name not in served
    assert {registry.named(name).triton_name for name in SERVED[:3]} < served
    assert "not served" in server.part.log_path.read_text()


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()  # it is linked to the one that other tests use
    file.write_bytes(content)


def inferences(server: Server, model: SplitModel) -> int:
    (stats,) = server.get(f"/v2/models/{model.triton_name}/stats")["model_stats"]
    return int(stats["inference_count"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)
