"""What an answer costs, how probable it was, and what it means when it is no sentence."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import aclosing
from typing import Any

import pytest

from captionstream.contracts.messages import Usage
from captionstream.runtime.errors import Misconfigured, Unavailable
from services.generator.grammar import Literal
from services.generator.language_model import LanguageModel
from services.generator.openai_settings import OpenAISettings
from services.generator.prompt import Prompt
from services.generator.writer import Piece, Task, Unusable
from tests.unit.generator.loopback_model import Answering, Behaviour, LoopbackModel, loopback

TASK = Task(Prompt("Write.", "secret facts"), Literal("A red car."))
COUNT = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 600}}
PRICE = {"input": 2.0, "output": 10.0, "cached": 0.5, "currency": "EUR"}


def engine(server: LoopbackModel, **changes: Any) -> OpenAISettings:
    return OpenAISettings(**{"name": "engine", "url": server.url} | changes)


async def heard(behaviour: Behaviour, task: Task = TASK, **changes: Any) -> list[Piece | Usage]:
    """What came, up to the end or the failure, which is the last of it."""
    async with loopback(behaviour) as server, LanguageModel.open(engine(server, **changes)) as model:
        return [written async for written in model.write(task)]


async def problem(behaviour: Behaviour, **changes: Any) -> tuple[list[Piece | Usage], Exception]:
    written: list[Piece | Usage] = []
    async with loopback(behaviour) as server, LanguageModel.open(engine(server, **changes)) as model:
        with pytest.raises((Unavailable, Unusable)) as failed:
            async for each in model.write(TASK):
                written.append(each)
    return written, failed.value


def says(*pieces: str, **told: Any) -> Behaviour:
    async def behave(request: Answering) -> None:
        await request.say(*pieces, **told)

    return behave


def streams(*events: Any) -> Behaviour:
    async def behave(request: Answering) -> None:
        await request.start_stream()
        for event in events:
            await request.event(event)
        await request.chunk(b"")

    return behave


def refuses(status: int, error: Any = None, **headers: str) -> Behaviour:
    async def behave(request: Answering) -> None:
        await request.status(status, json.dumps({"error": error}).encode(), **headers)

    return behave


def piece(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish} | more]}


# ---------------------------------------------------------------- what it cost


async def test_the_count_comes_last_with_its_cost() -> None:
    """By the price in the settings: fresh input, remembered input, output, each for a million tokens."""
    *pieces, usage = await heard(says("A red", " car.", usage=COUNT), price=PRICE)
    assert [Piece("A red"), Piece(" car.")] == pieces
    assert isinstance(usage, Usage)
    assert (1000, 10, 600, "EUR") == (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.currency,
    )
    assert usage.cost == pytest.approx((400 * 2 + 600 * 0.5 + 10 * 10) / 1_000_000)


async def test_a_count_without_a_price_has_no_cost() -> None:
    """Unknown is not free."""
    *_, usage = await heard(says("A red car.", usage={"prompt_tokens": 3, "completion_tokens": 2}))
    assert Usage(input_tokens=3, output_tokens=2) == usage


async def test_a_count_in_the_last_word_itself_is_heard() -> None:
    """Some servers send it with the end, and no mark after it."""
    end = piece("", "stop") | {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    assert [Piece("A red car."), Usage(input_tokens=3, output_tokens=2)] == await heard(
        streams(piece("A red car."), end)
    )


@pytest.mark.parametrize("count", [None, "many", {"completion_tokens": 2}], ids=["none", "nonsense", "half"])
async def test_a_sentence_stands_without_its_count(count: Any) -> None:
    """Whatever follows the last word can no longer spoil it."""
    assert [Piece("A red car.")] == await heard(says("A red car.", usage=count))


async def test_what_is_cut_off_is_paid_for_all_the_same() -> None:
    """The count of a text that is no sentence is told before the failure."""
    written, failed = await problem(says("A red", finish="length", usage=COUNT), price=PRICE)
    assert isinstance(written[-1], Usage)
    assert "the sentence is too long" == str(failed)
    written, failed = await problem(says("no JSON", usage=COUNT), output="schema")
    assert [Usage] == [type(each) for each in written]
    assert "the answer is not what was asked for" == str(failed)


# ---------------------------------------------------------------- how probable it was


async def test_the_probability_of_a_piece_is_that_of_its_tokens() -> None:
    """Two tokens in one piece: their probabilities multiply. None where the server tells none."""
    tokens = {
        "content": [{"token": "A", "logprob": math.log(0.5)}, {"token": " red", "logprob": math.log(0.5)}]
    }
    first, second = await heard(
        streams(piece("A red", logprobs=tokens), piece(" car.", logprobs=None), "[DONE]")
    )
    assert isinstance(first, Piece)
    assert first.logprob == pytest.approx(math.log(0.25))
    assert Piece(" car.", None) == second


# ---------------------------------------------------------------- what it means


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (refuses(400, {"code": "content_filter", "message": "secret"}), "the model refused"),
        (refuses(400, {"code": "content_policy_violation"}), "the model refused"),
        (refuses(400, {"code": "context_length_exceeded"}), "the prompt is too long"),
        (refuses(400, {"code": "secret"}), "the request was refused: HTTP 400"),
        (refuses(400, "secret"), "the request was refused: HTTP 400"),
        (streams(piece("A", "content_filter")), "the model refused"),
        (streams(piece("", delta={"refusal": "secret"})), "the model refused"),
        (streams(piece("", "tool_calls")), "the model called a tool"),
        (streams(piece("A", "length")), "the sentence is too long"),
        (streams("{"), "the stream holds something else than completions"),
    ],
)
async def test_what_another_try_would_not_mend_is_unusable(behaviour: Behaviour, reason: str) -> None:
    """The reasons are ours and always the same; not a word of the server's is among them."""
    _, failed = await problem(behaviour)
    assert (Unusable, reason) == (type(failed), str(failed))


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (refuses(401), "engine: HTTP 401"),
        (refuses(402), "engine: HTTP 402"),
        (refuses(403, {"code": "content_filter"}), "engine: HTTP 403"),
        (refuses(429, {"code": "insufficient_quota"}), "engine: HTTP 429"),
        (refuses(503), "engine: HTTP 503"),
        (streams(piece("A"), {"error": "secret"}), "engine: failed in the middle of a sentence"),
        (streams(piece("A", "abort")), "engine: failed in the middle of a sentence"),
        (streams(piece("A")), "engine: the stream broke off"),
    ],
)
async def test_what_another_try_may_mend_is_unavailable(behaviour: Behaviour, reason: str) -> None:
    """Keys and quotas included: they are mended by people, and the events wait or do without."""
    _, failed = await problem(behaviour)
    assert (Unavailable, reason) == (type(failed), str(failed))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry_after": "7"}, 7.0), ({"retry_after": "7", "retry_after_ms": "250"}, 0.25), ({}, None)],
)
async def test_a_busy_engine_says_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    """In seconds, or more exactly where it tells thousandths."""
    _, failed = await problem(refuses(429, **headers))
    assert isinstance(failed, Unavailable)
    assert seconds == failed.retry_after_s


async def test_an_endless_refusal_is_read_no_further_than_it_helps() -> None:
    """A body of a megabyte is still one refusal."""
    _, failed = await problem(refuses(400, {"code": "content_filter", "message": "x" * 1_000_000}))
    assert "the request was refused: HTTP 400" == str(failed)


@pytest.mark.parametrize("output", ["free", "schema"])
async def test_who_has_heard_enough_hangs_up(output: str) -> None:
    """Closing is heard by the server at once: it need not write, nor anybody pay for, the rest."""
    hung_up = asyncio.Event()

    async def goes_on(request: Answering) -> None:
        await request.start_stream()
        await request.event(piece('{"sentence": "A red'))
        try:
            for _ in range(1000):
                await request.event(piece("!"))
                await asyncio.sleep(0.01)
        except ConnectionError:
            hung_up.set()

    async with loopback(goes_on) as server, LanguageModel.open(engine(server, output=output)) as model:
        async with aclosing(model.write(TASK)) as written:
            await anext(written)
        async with asyncio.timeout(5):
            await hung_up.wait()


# ---------------------------------------------------------------- under a schema


async def test_a_sentence_in_json_comes_out_of_it() -> None:
    """In pieces that join to it, and nothing of the JSON around."""
    written = await heard(says('{"sent', 'ence": "A red car."}'), output="schema")
    assert "A red car." == "".join(each.text for each in written if isinstance(each, Piece))


async def test_a_sentence_in_json_streams() -> None:
    """Its letters come before its JSON is complete, an escape sequence in one piece; the count comes last."""
    told = TASK.allowed, Literal('A "red" car.')
    for allowed, parts, pieces in (
        (told[0], ('{"sentence": "A r', "ed", ' car."', "}"), ["A r", "ed", " car."]),
        (told[1], ('{"sentence": "A \\', '"red\\" car."}'), ["A", ' "red" car.']),
    ):
        task = Task(TASK.prompt, allowed)
        *written, count = await heard(says(*parts, usage=COUNT), task, output="schema")
        assert pieces == [each.text for each in written if isinstance(each, Piece)]
        assert isinstance(count, Usage)


async def test_what_was_shown_cannot_be_taken_back() -> None:
    """A second sentence in the same answer makes it no answer, however well it is supported."""
    written, failed = await problem(
        says('{"sentence": "A blue', '", "sentence": "A red car."}'), output="schema"
    )
    assert ([Piece("A blue")], Unusable) == (written, type(failed))


async def test_a_server_that_ignores_the_schema_is_noticed() -> None:
    """JSON of another shape, and a sentence that the scene does not support."""
    for text, reason in (
        ('{"caption": "A red car."}', "not what was asked for"),
        ('{"sentence": "A blue car."}', "does not support"),
        ("A red car.", "not what was asked for"),
    ):
        written, failed = await problem(says(text), output="schema")
        assert reason in str(failed)
        assert written == ([Piece("A blue car.")] if "blue" in text else [])


# ---------------------------------------------------------------- keys and names


async def test_the_key_travels_in_the_header_alone() -> None:
    """From the environment, into no body and no representation."""
    async with loopback(says("A red car.")) as server:
        told = engine(server, api_key_from="KEY")
        async with LanguageModel.open(told, {"KEY": "k-123"}) as model:
            assert [Piece("A red car.")] == [written async for written in model.write(TASK)]
            assert "k-123" not in repr(model) + repr(told)
        [asked] = server.asked
        assert "Bearer k-123" == asked.headers["authorization"]
        assert "k-123" not in json.dumps(asked.body)
        with pytest.raises(Misconfigured, match="KEY"):
            async with LanguageModel.open(told, {}):
                pass


async def test_a_server_that_lists_nothing_is_asked_by_name() -> None:
    """The name is all that is known of the model; two names are two models."""
    async with loopback(says("A red car."), models=refuses(404)) as server:
        references = []
        for name in ("one", "two"):
            async with LanguageModel.open(engine(server, lists_models=False, model=name)) as model:
                await anext(model.write(TASK))
                references.append(await model.model())
        assert ["one", "two"] == [reference.name for reference in references]
        assert references[0].digest != references[1].digest
        assert ["one", "two"] == [asked.body["model"] for asked in server.asked]
