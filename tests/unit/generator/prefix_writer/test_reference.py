"""The reference engine over a real socket: its tokens become a text, and what goes wrong there is told apart."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from captionstream.contracts.messages import Decoding, Form, Usage
from captionstream.contracts.values import Profile
from captionstream.runtime.errors import Unavailable
from services.generator.guided.of_scene import guide_of
from services.generator.prefix.binding import from_json
from services.generator.prefix.grammar_mask import spaced_lark
from services.generator.prefix.writer import PrefixSettings, PrefixWriter
from services.generator.writer import Piece, Unusable
from tests.unit.generator.builders import english, scene, thing
from tests.unit.generator.loopback_model import Answering, Behaviour, LoopbackModel, loopback
from tests.unit.generator.prefix import small_model
from tests.unit.generator.prefix_writer.shelf import choice, registered, task_about
from triton_models.registry import Registry, SplitModel
from triton_models.vision_language.visual_tokens import decode

GREEDY = Decoding(seed=3, temperature=0.0, max_tokens=40, constrained=True)
BY_REFERENCE = PrefixSettings(which="reference")


@pytest.fixture
def model(tmp_path: Path) -> SplitModel:
    return registered(Registry(tmp_path / "models"), servable=False)


def spelled(text: str) -> list[int]:
    tokenizer = Tokenizer.from_file(str(small_model.FOLDER / "language" / "tokenizer.json"))
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def says(text: str, finish: str | None = "constraint") -> Behaviour:
    """Token for token; the last has a finish, unless the line breaks before it."""

    async def behave(request: Answering) -> None:
        await request.start_stream("application/x-ndjson")
        ids = spelled(text)
        for place, token in enumerate(ids):
            last = finish if place == len(ids) - 1 else None
            await line(request, id=token, logprob=-0.5, finish=last)
        await request.chunk(b"")

    return behave


def fails(kind: str) -> Behaviour:
    async def behave(request: Answering) -> None:
        await request.start_stream("application/x-ndjson")
        await line(request, failed=kind, detail="so it is")
        await request.chunk(b"")

    return behave


def answers(status: int) -> Behaviour:
    return lambda request: request.status(status)


async def line(request: Answering, **told: object) -> None:
    await request.chunk(json.dumps(told).encode() + b"\n")


async def written(model: SplitModel, server: LoopbackModel, **changes: object) -> list[Piece | Usage]:
    decoding = GREEDY.model_copy(update=changes)
    async with opened(model, server.port, decoding) as writer:
        return [piece async for piece in writer.write(task_about(model))]


def opened(
    model: SplitModel, port: int, decoding: Decoding = GREEDY
) -> AbstractAsyncContextManager[PrefixWriter]:
    registry = Registry(model.folder.parent)
    return PrefixWriter.open(registry, decoding, BY_REFERENCE, f"http://127.0.0.1:{port}")


async def test_tokens_become_pieces_and_are_counted(model: SplitModel) -> None:
    """An accented letter is two tokens and one piece, as probable as both together."""
    async with loopback(says("A café.")) as server:
        *pieces, usage = await written(model, server)
    assert ["A", " ", "c", "a", "f", "é", "."] == [piece.text for piece in pieces if isinstance(piece, Piece)]
    assert Piece("é", -1.0) in pieces
    assert isinstance(usage, Usage)
    assert 8 == usage.output_tokens
    assert usage.input_tokens > 30


async def test_the_engine_is_asked_with_ids_visual_tokens_and_the_grammar(model: SplitModel) -> None:
    """The prompt is made here, by the model's own template, with every bit that the eye gave."""
    async with loopback(says("A car.")) as server:
        await written(model, server)
        await written(model, server, temperature=1.0, constrained=False)
    bound, free = (request.body for request in server.asked)
    (seen,) = bound["seen"]
    arrived = decode(base64.urlsafe_b64decode(seen), 48)
    assert (small_model.seen(1).values == arrived.values).all()
    assert len(arrived) == bound["ids"].count(small_model.small_model().split.image_token_id)
    assert (spaced_lark(choice("car")), None, 40) == (bound["grammar"], bound["seed"], bound["most_tokens"])
    assert (None, 3) == (free["grammar"], free["seed"])
    assert (None, None) == (bound["guide"], free["guide"])
    assert model.digest == bound["model"]


async def test_the_engine_is_asked_with_the_guide_of_a_guided_task(model: SplitModel) -> None:
    """And with no grammar: that would bind the text letter by letter."""
    guide = guide_of(scene(thing("car")), english(), Profile.ALT, 0.3)
    guided = replace(task_about(model), form=Form.GUIDED, guide=guide)
    async with loopback(says("A car on a road.")) as server, opened(model, server.port) as writer:
        assert [piece async for piece in writer.write(guided)]
    (asked,) = (request.body for request in server.asked)
    assert guide == from_json(asked["guide"])
    assert asked["grammar"] is None


@pytest.mark.parametrize(
    "behaviour", [answers(404), answers(500), answers(503), fails("failed"), says("A car.", None)]
)
async def test_an_engine_that_is_away_or_breaks_is_unavailable(
    model: SplitModel, behaviour: Behaviour
) -> None:
    """Another try may fare better: it restarts, or finds the model by then."""
    async with loopback(behaviour) as server:
        with pytest.raises(Unavailable):
            await written(model, server)


@pytest.mark.parametrize(
    "behaviour",
    [answers(422), fails("does-not-fit"), fails("not-finite"), fails("bad-grammar"), says("A ca", "length")],
)
async def test_a_request_that_it_cannot_answer_is_unusable(model: SplitModel, behaviour: Behaviour) -> None:
    """No try will change that."""
    async with loopback(behaviour) as server:
        with pytest.raises(Unusable):
            await written(model, server)


async def test_nonsense_on_the_line_is_unavailable(model: SplitModel) -> None:
    """Somebody else listens there."""

    async def behave(request: Answering) -> None:
        await request.start_stream("text/html")
        await request.chunk(b"<html>\n")
        await request.chunk(b"")

    async with loopback(behave) as server:
        with pytest.raises(Unavailable):
            await written(model, server)


async def test_nobody_there_is_unavailable(model: SplitModel) -> None:
    """Connection refused."""
    async with loopback(says("A car.")) as gone:
        port = gone.port
    async with opened(model, port) as writer:
        with pytest.raises(Unavailable):
            await anext(writer.write(task_about(model)))


async def test_closing_hangs_up(model: SplitModel) -> None:
    """So that the engine, which writes one at a time, is free for the next one."""
    hung_up = asyncio.Event()

    async def behave(request: Answering) -> None:
        await request.start_stream("application/x-ndjson")
        await line(request, id=spelled("A")[0], logprob=-0.5)
        while True:
            try:
                await line(request, id=spelled("A")[0], logprob=-0.5)
            except ConnectionError:
                hung_up.set()
                raise
            await asyncio.sleep(0.01)

    async with loopback(behave) as server, opened(model, server.port) as writer:
        writing = writer.write(task_about(model))
        await anext(writing)
        await writing.aclose()
        await asyncio.wait_for(hung_up.wait(), 10)
