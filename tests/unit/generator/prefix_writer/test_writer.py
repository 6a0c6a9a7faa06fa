"""The language half of the model whose eye saw the image writes, and no other one; by ONNX Runtime, without torch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from captionstream.contracts.messages import Decoding, RefusalReason, Usage
from captionstream.runtime.errors import Unavailable, Unprocessable
from services.generator.late import late
from services.generator.prefix.engine import Room
from services.generator.prefix.writer import PrefixSettings, PrefixWriter, messages_of
from services.generator.prompt import Prompt
from services.generator.writer import Piece, Seen, Task, Unusable, Writer, why
from tests.contract.writer_behaviour import WriterBehaviour
from tests.unit.generator.prefix_writer.shelf import choice, of_width, registered, seen_by, task_about
from triton_models.registry import Registry, SplitModel

ROOM = PrefixSettings(room=Room(slots=2, tokens=256))
GREEDY = Decoding(seed=1, temperature=0.0, max_tokens=48, constrained=True)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def model(registry: Registry) -> SplitModel:
    """In production."""
    made = registered(registry)
    registry.change(lambda aliases: aliases.producing(made.digest))
    return made


@pytest.fixture
async def writer(registry: Registry) -> AsyncIterator[PrefixWriter]:
    async with PrefixWriter.open(registry, GREEDY, ROOM) as opened:
        yield opened


class TestByOnnxRuntime(WriterBehaviour):
    counts = True

    @pytest.fixture
    async def writer(self, registry: Registry, model: SplitModel) -> AsyncIterator[Writer]:
        async with PrefixWriter.open(registry, GREEDY, ROOM) as opened:
            yield opened

    @pytest.fixture
    def task(self, model: SplitModel) -> Task:
        return task_about(model, "car")

    @pytest.fixture
    def other(self, model: SplitModel) -> Task:
        return task_about(model, "dog")


class TestSampled(TestByOnnxRuntime):
    """A temperature draws by the checkpoint's own settings; the seed makes it the same again."""

    @pytest.fixture
    async def writer(self, registry: Registry, model: SplitModel) -> AsyncIterator[Writer]:
        drawn = GREEDY.model_copy(update={"temperature": 1.0, "seed": 5})
        async with PrefixWriter.open(registry, drawn, ROOM) as opened:
            yield opened


# ---------------------------------------------------------------- whose tokens


async def test_tokens_of_a_model_that_is_not_here_are_refused_before_a_word(
    writer: PrefixWriter, model: SplitModel
) -> None:
    """No other language half reads them, however alike: the event is answered with `mixed-encoders`."""
    stranger = model.reference.model_copy(update={"digest": "f" * 64})
    task = task_about(model)
    assert task.seen is not None
    mixed = replace(task, seen=task.seen._replace(model=stranger))
    for asking in (writer.model(mixed), anext(writer.write(mixed))):
        with pytest.raises(Unprocessable) as refused:
            await asking
        assert RefusalReason.MIXED_ENCODERS is refused.value.reason


async def test_tokens_of_another_width_are_refused(writer: PrefixWriter, model: SplitModel) -> None:
    """They cannot have been made by that model's eye, whatever the message says."""
    mixed = replace(task_about(model), seen=Seen(model.reference, of_width(32)))
    with pytest.raises(Unprocessable) as refused:
        await writer.model(mixed)
    assert RefusalReason.MIXED_ENCODERS is refused.value.reason


async def test_more_tokens_than_the_class_has_places_for_are_no_sentence(
    writer: PrefixWriter, model: SplitModel
) -> None:
    """The prompt does not fit; another try would not either."""
    task = task_about(model)
    assert task.seen is not None
    wrong = replace(task, seen=Seen(model.reference, of_width(48, 5)))
    with pytest.raises(Unusable, match="DoesNotFit"):
        await anext(writer.write(wrong))


async def test_without_visual_tokens_there_is_nothing_to_write_from(writer: PrefixWriter) -> None:
    """A split model that sees nothing would make something up."""
    with pytest.raises(Unusable):
        await anext(writer.write(Task(Prompt("", ""), choice("car"))))


async def test_two_models_on_one_shelf_write_each_for_its_own_eye(
    writer: PrefixWriter, registry: Registry, model: SplitModel
) -> None:
    """Both at once, and each signs: name, engine with the form of its weights, digest of its language half."""
    other = registered(registry, "other")
    ours, theirs = await asyncio.gather(*(writer.model(task_about(one)) for one in (model, other)))
    assert ("small", "other") == (ours.name, theirs.name)
    assert ours.version.startswith("0" * 40 + " onnxruntime ")
    assert ours.digest == theirs.digest, "the same weights under two names"
    assert ours.digest != model.digest


# ---------------------------------------------------------------- loading


async def test_a_model_with_a_flipped_byte_is_not_loaded(
    writer: PrefixWriter, registry: Registry, model: SplitModel
) -> None:
    """It is not what was proved: nobody writes until somebody puts it right."""
    file = model.language / "generation_config.json"
    file.write_bytes(file.read_bytes().replace(b"0.9", b"0.8", 1))
    with pytest.raises(Unavailable, match="not what was proved"):
        await writer.model(task_about(model))


async def test_a_model_without_a_decoder_needs_the_reference_engine(
    writer: PrefixWriter, registry: Registry
) -> None:
    """Where none is set up, that is said."""
    alone = registered(registry, "mrope", servable=False)
    with pytest.raises(Unavailable, match="needs the reference engine"):
        await writer.model(task_about(alone))
    assert "no decoder for ONNX Runtime" in writer.why(seen_by(alone))
    assert "by ONNX Runtime" == writer.why(seen_by(registered(registry, "plain")))


async def test_a_writer_that_is_opened_late_tells_which_engine_wrote(
    registry: Registry, model: SplitModel
) -> None:
    """With the recipe that the gate let through; nothing before it was asked, nor for a model that is gone."""
    task = task_about(model)
    async with late(GREEDY, lambda: PrefixWriter.open(registry, GREEDY, ROOM)) as writer:
        assert "" == why(writer, task)
        await writer.model(task)
        assert "by onnxruntime " in why(writer, task)
        gone = Seen(model.reference.model_copy(update={"digest": "0" * 64}), seen_by(model).tokens)
        assert "" == why(writer, replace(task, seen=gone))


async def test_who_gives_up_while_a_model_loads_leaves_the_loading_to_the_next(
    writer: PrefixWriter, model: SplitModel
) -> None:
    """A large model takes longer than one event may; it is loaded once all the same."""
    impatient = asyncio.create_task(writer.model(task_about(model)))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert [] == [*writer.loaded]
    for _ in range(600):
        if writer.loaded:
            break
        await asyncio.sleep(0.05)
    assert [model.digest] == [*writer.loaded], "nobody asked again"


async def test_a_model_is_let_go_when_no_alias_names_it_any_more(
    registry: Registry, model: SplitModel
) -> None:
    """Not before: production stays, and so does a model that is still asked."""
    other = registered(registry, "other")
    told = replace(ROOM, kept_s=0.0)
    async with PrefixWriter.open(registry, GREEDY, told) as writer:
        await writer.model(task_about(model))
        assert (model.digest,) == writer.loaded
        registry.change(lambda aliases: aliases.producing(other.digest))
        await writer.model(task_about(other))
        assert (other.digest,) == writer.loaded


async def test_a_model_that_is_writing_is_not_let_go(registry: Registry, model: SplitModel) -> None:
    """Its event ends with the model that it began with."""
    other = registered(registry, "other")
    async with PrefixWriter.open(registry, GREEDY, replace(ROOM, kept_s=0.0)) as writer:
        writing = writer.write(task_about(model))
        first = await anext(writing)
        registry.change(lambda aliases: aliases.producing(other.digest))
        await writer.model(task_about(other))
        rest = [piece async for piece in writing]
    assert isinstance(first, Piece)
    assert isinstance(rest[-1], Usage)


# ---------------------------------------------------------------- what is asked and answered


async def test_without_a_grammar_the_model_writes_on_to_its_limit(
    registry: Registry, model: SplitModel
) -> None:
    """Random weights say nonsense, which the judge would reject; a text that is cut is none."""
    free = GREEDY.model_copy(update={"constrained": False, "max_tokens": 12})
    async with PrefixWriter.open(registry, free, ROOM) as writer:
        with pytest.raises(Unusable, match="too long"):
            _ = [piece async for piece in writer.write(task_about(model))]


def test_the_image_comes_first_then_the_instruction_then_the_facts(model: SplitModel) -> None:
    """One turn, since not every class has a system's turn; the facts are left out where the settings say so."""
    (message,) = messages_of(task_about(model))
    image, text = message["content"]
    assert ("user", {"type": "image"}) == (message["role"], image)
    assert "Say it.\nA car." == text["text"]
    assert "Say it." == messages_of(task_about(model), facts=False)[0]["content"][1]["text"]


async def test_its_probe_asks_every_model_that_an_alias_names(
    writer: PrefixWriter, registry: Registry, model: SplitModel
) -> None:
    """And nobody where none is named: an empty shelf is not broken."""
    canary = registered(registry, "canary")
    registry.change(lambda aliases: aliases.trying(canary.digest, 0.2))
    await writer.probe()
    assert {model.digest, canary.digest} == {*writer.loaded}


async def test_an_empty_shelf_has_no_author(writer: PrefixWriter) -> None:
    """Its probe has nothing to ask."""
    await writer.probe()
    with pytest.raises(Unavailable, match="no model is promoted"):
        await writer.model()
