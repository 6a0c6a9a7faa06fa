"""The reference engine as a process of its own: a writer like every other, for the models that have no other engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from captionstream.contracts.messages import Decoding
from captionstream.local.reference_engine import is_needed, reference_engine_part
from captionstream.runtime.errors import Unavailable
from services.generator.prefix.writer import PrefixWriter
from services.generator.prompt import Prompt
from services.generator.writer import Seen, Task, Writer
from tests.conftest import free_port
from tests.contract.writer_behaviour import RemoteWriterBehaviour
from tests.parity.end_to_end import running
from tests.stack.tiny_models import copied_registry
from tests.unit.generator.prefix_writer.shelf import choice
from triton_models.registry import Registry, SplitModel
from triton_models.vision_language.eye import Eye

pytestmark = [pytest.mark.models, pytest.mark.stack, pytest.mark.timeout(600)]
GREEDY = Decoding(seed=1, temperature=0.0, max_tokens=48, constrained=True)


@dataclass(frozen=True)
class Engine:
    registry: Registry
    model: SplitModel
    seen: Seen
    url: str

    def task(self, noun: str) -> Task:
        return Task(Prompt("Say it.", f"A {noun}."), choice(noun), seen=self.seen)

    def writer(self, url: str | None = None) -> AbstractAsyncContextManager[PrefixWriter]:
        return PrefixWriter.open(self.registry, GREEDY, reference_url=url or self.url)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """With Qwen2.5-VL's class in production: no other engine has its positions of several axes."""
    folder: Path = tmp_path_factory.mktemp("reference")
    registry = copied_registry(folder / "models", "qwen2_5_vl")
    (model,) = registry.models()
    registry.change(lambda aliases: aliases.producing(model.digest))
    split = model.halves.split
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 150, 3), np.uint8))
    seen = Seen(model.reference, Eye(split, model.graph).see(split.lay(split.prepare(picture))))
    with running(reference_engine_part(folder, free_port(), registry.folder)) as port:
        yield Engine(registry, model, seen, f"http://127.0.0.1:{port}")


class TestReferenceEngine(RemoteWriterBehaviour):
    counts = True

    @pytest.fixture
    async def writer(self, engine: Engine) -> AsyncIterator[Writer]:
        async with engine.writer() as opened:
            yield opened

    @pytest.fixture
    async def away(self, engine: Engine) -> AsyncIterator[Writer]:
        async with engine.writer(f"http://127.0.0.1:{free_port()}") as opened:
            yield opened

    @pytest.fixture
    def task(self, engine: Engine) -> Task:
        return engine.task("car")

    @pytest.fixture
    def other(self, engine: Engine) -> Task:
        return engine.task("dog")


async def test_a_class_without_another_engine_is_written_here_and_says_so(engine: Engine) -> None:
    """Chosen by itself, though the settings prefer ONNX Runtime; a stack starts it for that model."""
    assert is_needed(engine.registry.folder)
    async with engine.writer() as writer:
        assert "no decoder for ONNX Runtime" in writer.why(engine.seen)
        assert (await writer.model(engine.task("car"))).version.endswith("transformers fp32")
        assert "by transformers fp32" == writer.why(engine.seen)


async def test_it_is_ready_when_a_token_was_written(engine: Engine) -> None:
    """And it lives."""
    async with httpx.AsyncClient(base_url=engine.url, trust_env=False, timeout=60) as client:
        assert [200, 200] == [(await client.get(path)).status_code for path in ("/readyz", "/livez")]
        assert "token" in (await client.get("/readyz")).text


@pytest.mark.parametrize(
    ("body", "status"), [({}, 422), ({"model": "f" * 64, "ids": [1], "most_tokens": 1}, 404)]
)
async def test_what_it_cannot_answer_is_said(engine: Engine, body: dict[str, object], status: int) -> None:
    """A request that is none, and a model that is not there."""
    async with httpx.AsyncClient(base_url=engine.url, trust_env=False, timeout=60) as client:
        assert status == (await client.post("/write", json=body)).status_code


async def test_whoever_hangs_up_is_not_waited_for(engine: Engine) -> None:
    """Twenty who left do not hold up the next one; it would wait for a thousand tokens of each."""
    free = GREEDY.model_copy(update={"constrained": False, "max_tokens": 1000})
    async with PrefixWriter.open(engine.registry, free, reference_url=engine.url) as writer:
        for _ in range(20):
            asking = asyncio.create_task(anext(writer.write(engine.task("car"))))
            await asyncio.sleep(0.05)
            asking.cancel()
    async with asyncio.timeout(60), engine.writer() as writer:
        assert [piece async for piece in writer.write(engine.task("dog"))]


async def test_a_model_that_needs_it_waits_where_it_is_not_set_up(engine: Engine) -> None:
    """The message says what is missing."""
    async with PrefixWriter.open(engine.registry, GREEDY) as writer:
        with pytest.raises(Unavailable, match="needs the reference engine"):
            await writer.model(engine.task("car"))
