"""The reference engine as a process of its own: a writer like every other, for the models that have no other engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from captionstream.contracts.messages import Decoding, Form
from captionstream.contracts.values import Profile
from captionstream.local.reference_engine import is_needed, reference_engine_part
from captionstream.runtime.errors import Unavailable
from services.generator.grammar import accepts
from services.generator.guided.of_scene import guide_of
from services.generator.guided.way import MODEL
from services.generator.judge import reading
from services.generator.prefix.writer import PrefixSettings, PrefixWriter, Which
from services.generator.prompt import Prompt
from services.generator.sentence import Request, sentence
from services.generator.writer import Piece, Seen, Task, Writer
from tests.conftest import free_port
from tests.contract.writer_behaviour import RemoteWriterBehaviour
from tests.parity.end_to_end import running
from tests.stack.tiny_models import copied_registry
from tests.unit.generator.builders import english, scene, thing
from tests.unit.generator.prefix_writer.shelf import choice
from triton_models.registry import Registry, SplitModel
from triton_models.vision_language.eye import Eye

pytestmark = [pytest.mark.models, pytest.mark.stack, pytest.mark.timeout(600)]
GREEDY = Decoding(seed=1, temperature=0.0, max_tokens=48, constrained=True)
LONGER = GREEDY.model_copy(update={"max_tokens": 200})
ANY, SURE = 1e-300, 0.9
"""Least probabilities of a word. These models have random weights, which are sure of nothing."""


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

    def guided_writer(self, which: Which) -> AbstractAsyncContextManager[PrefixWriter]:
        return PrefixWriter.open(self.registry, LONGER, PrefixSettings(which), reference_url=self.url)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """With Qwen2.5-VL's class in production: no other engine has its positions of several axes."""
    folder: Path = tmp_path_factory.mktemp("reference")
    registry = copied_registry(folder / "models", "qwen2_5_vl", "smolvlm")
    model = registry.named("qwen2_5_vl")
    registry.change(lambda aliases: aliases.producing(model.digest))
    seen = seen_by(model)
    with running(reference_engine_part(folder, free_port(), registry.folder)) as port:
        yield Engine(registry, model, seen, f"http://127.0.0.1:{port}")


def seen_by(model: SplitModel) -> Seen:
    split = model.halves.split
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 150, 3), np.uint8))
    return Seen(model.reference, Eye(split, model.graph).see(split.lay(split.prepare(picture))))


def told_of(noun: str, seen: Seen, form: Form = Form.GUIDED, least: float = ANY) -> Task:
    """About a scene with one thing, in words of the scene or also in the model's own."""
    shown = scene(thing(noun))
    allowed = sentence(shown, Request(), english()).head
    guide = guide_of(shown, english(), Profile.ALT, least, room=60)
    return Task(Prompt("Say it.", f"A {noun}."), allowed, form, guide, seen)


async def pieces_of(writer: PrefixWriter, task: Task) -> list[Piece]:
    return [piece async for piece in writer.write(task) if isinstance(piece, Piece)]


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
            async with aclosing(writer.write(engine.task("car"))) as pieces:
                asking = asyncio.create_task(anext(pieces))
                await asyncio.sleep(0.05)
                asking.cancel()
                await asyncio.wait({asking})
    async with asyncio.timeout(60), engine.writer() as writer:
        assert [piece async for piece in writer.write(engine.task("dog"))]


async def test_a_model_that_needs_it_waits_where_it_is_not_set_up(engine: Engine) -> None:
    """The message says what is missing."""
    async with PrefixWriter.open(engine.registry, GREEDY) as writer:
        with pytest.raises(Unavailable, match="needs the reference engine"):
            await writer.model(engine.task("car"))


@pytest.mark.parametrize("noun", ["dog", "car", "boat"])
async def test_a_guided_text_has_words_of_the_models_own(engine: Engine, noun: str) -> None:
    """Each with the model's own ground, as the judge reads it: the scene's grammar would allow none of them."""
    task = told_of(noun, engine.seen)
    async with engine.guided_writer("reference") as writer:
        pieces = await pieces_of(writer, task)
        author = (await writer.model(task)).name
    said = reading(task, pieces, author)
    assert said is not None, pieces
    own = [claim for claim in said.claims if claim.source == f"{MODEL}:{author}"]
    assert own
    assert all(0 <= claim.score < 1 for claim in own)
    assert not accepts(task.allowed, "".join(piece.text for piece in pieces).strip())


async def test_a_word_without_ground_is_not_said(engine: Engine) -> None:
    """The guide's threshold arrives too: function words are left, in an order that is the model's own."""
    task = told_of("dog", engine.seen, least=SURE)
    async with engine.guided_writer("reference") as writer:
        pieces = await pieces_of(writer, task)
    said = reading(task, pieces)
    assert said is not None, pieces
    assert ["dog"] == [claim.text for claim in said.claims]
    assert not accepts(task.allowed, "".join(piece.text for piece in pieces).strip())


async def test_the_same_task_in_its_strict_form_has_none(engine: Engine) -> None:
    """What binds it is its form and not the guide that it has too."""
    task = told_of("dog", engine.seen, Form.STRICT)
    async with engine.guided_writer("reference") as writer:
        text = "".join(piece.text for piece in await pieces_of(writer, task))
    assert accepts(task.allowed, text.strip())


async def test_both_engines_of_a_model_write_the_same_guided_text(engine: Engine) -> None:
    """Word for word and as sure of each: one guide and one judge, two ways to run the same weights."""
    seen = seen_by(engine.registry.named("smolvlm"))
    for noun in ("dog", "car", "boat"):
        task = told_of(noun, seen)
        async with engine.guided_writer("onnxruntime") as onnx, engine.guided_writer("reference") as other:
            expected, found = await pieces_of(onnx, task), await pieces_of(other, task)
            assert "onnxruntime" in onnx.why(seen) and "transformers" in other.why(seen)
        assert [piece.text for piece in expected] == [piece.text for piece in found]
        sure = [[piece.logprob for piece in pieces] for pieces in (expected, found)]
        assert sure[0] == pytest.approx(sure[1], abs=0.01)
        assert reading(task, found) is not None
