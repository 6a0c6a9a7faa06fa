"""The language model's engine against a real server that misbehaves."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from captionstream.contracts.messages import CaptionDrafted
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from services.generator.grammar import Literal
from services.generator.language_model import LanguageModel
from services.generator.openai.outcomes import retry_after
from services.generator.openai.stream import ANSWER_BYTES
from services.generator.prompt import Prompt
from services.generator.settings import GeneratorSettings
from services.generator.wiring import open_generator
from services.generator.writer import Task, Unusable
from tests.unit.generator.builders import DELIVERY, encoded, logits, shares
from tests.unit.generator.loopback_model import Answering, Behaviour, LoopbackModel, loopback

SENTENCE = "A red car."
TASK = Task(Prompt("Write.", "secret facts"), Literal(SENTENCE))


async def says_the_sentence(request: Answering) -> None:
    await request.say("A red", " car", ".")


async def written(model: LanguageModel) -> str:
    return "".join([piece.text async for piece in model.write(TASK)])


def told(server: LoopbackModel, **changes: Any) -> GeneratorSettings:
    return GeneratorSettings(**{"language_model": server.url} | changes)


async def test_a_sentence_comes_in_pieces() -> None:
    """The pieces of the stream, in order, nothing else."""
    async with loopback(says_the_sentence) as server, LanguageModel.open(told(server)) as model:
        assert ["A red", " car", "."] == [piece.text async for piece in model.write(TASK)]


async def test_the_request_holds_the_grammar_and_the_decoding() -> None:
    """Under a grammar where the server knows them; deterministic by default; the key as a header."""
    async with loopback(says_the_sentence) as server:
        async with LanguageModel.open(told(server, api_key="k-123", seed=5, max_tokens=9)) as model:
            await written(model)
        async with LanguageModel.open(told(server, constrained=False, model="loopback")) as model:
            await written(model)
    first, second = server.asked
    assert 'root ::= "A red car."' == first.body["grammar"]
    assert (5, 0.0, 9, True, "loopback") == tuple(
        first.body[name] for name in ("seed", "temperature", "max_tokens", "stream", "model")
    )
    assert ["Write.", "secret facts"] == [message["content"] for message in first.body["messages"]]
    assert "Bearer k-123" == first.headers["authorization"]
    assert "identity" == first.headers["accept-encoding"]
    assert "grammar" not in second.body
    assert "authorization" not in second.headers


async def test_connections_are_kept() -> None:
    """Ten sentences, one connection."""
    async with loopback(says_the_sentence) as server, LanguageModel.open(told(server)) as model:
        for _ in range(10):
            assert SENTENCE == await written(model)
        assert (10, 1) == (len(server.asked), server.connections)


async def test_the_model_is_known_by_what_its_server_tells() -> None:
    """Same listing, same digest, whenever it was made; a wanted model must be there."""
    async with loopback(says_the_sentence) as server:
        async with LanguageModel.open(told(server)) as model:
            reference = await model.model()
            assert ("loopback", "tests") == (reference.name, reference.version)
            assert 64 == len(reference.digest)
        async with LanguageModel.open(told(server, model="other")) as model:
            with pytest.raises(Unavailable, match="other is not served"):
                await model.model()


# ---------------------------------------------------------------- misbehaviour


def answers(code: int, **headers: str) -> Behaviour:
    async def behave(request: Answering) -> None:
        await request.status(code, **headers)

    return behave


def streams(*events: Any, content_type: str = "text/event-stream", cut: bool = False) -> Behaviour:
    async def behave(request: Answering) -> None:
        await request.start_stream(content_type)
        for event in events:
            await request.event(event)
        if cut:
            request.writer.close()
        else:
            await request.chunk(b"")

    return behave


def piece(text: str, finish: str | None = None, **delta: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text} | delta, "finish_reason": finish}]}


async def hangs_up(request: Answering) -> None:
    request.writer.close()


async def goes_on_for_ever(request: Answering) -> None:
    await request.start_stream()
    for _ in range(2 * ANSWER_BYTES // 1024):
        await request.chunk(b"x" * 1024)


async def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    """Servers drop idle connections without a word; that is no absence."""
    async with loopback(hangs_up, says_the_sentence) as server, LanguageModel.open(told(server)) as model:
        assert await written(model) == SENTENCE
        assert len(server.asked) == 2


@pytest.mark.parametrize("code", [301, 401, 403, 404, 408, 429, 500, 502, 503, 529])
async def test_a_server_that_cannot_serve_anybody_is_unavailable(code: int) -> None:
    """Busy, broken or misconfigured: the same request may succeed later."""
    async with loopback(answers(code)) as server, LanguageModel.open(told(server)) as model:
        with pytest.raises(Unavailable, match=f"HTTP {code}"):
            await written(model)


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_a_refused_request_is_unusable(code: int) -> None:
    """The same request would be refused again."""
    async with loopback(answers(code)) as server, LanguageModel.open(told(server)) as model:
        with pytest.raises(Unusable, match=f"HTTP {code}"):
            await written(model)


async def test_a_busy_server_says_when_to_come_back() -> None:
    """Retry-After travels with the refusal."""
    async with loopback(answers(429, retry_after="7")) as server, LanguageModel.open(told(server)) as model:
        with pytest.raises(Unavailable) as busy:
            await written(model)
    assert 7.0 == busy.value.retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("12", 12.0),
        ("Fri, 01 May 2026 12:00:30 GMT", 30.0),
        ("Fri, 01 May 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after_is_read_in_both_of_its_forms(value: str | None, seconds: float | None) -> None:
    """Seconds or a date; a date in the past is now, nonsense is nothing."""
    assert seconds == retry_after(value, datetime(2026, 5, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    "behaviour",
    [
        hangs_up,
        streams(piece("A red"), cut=True),
        streams(piece("A red")),
        streams({"error": {"message": "oom"}}),
    ],
    ids=["hangs up", "cut", "ends without an end", "error inside"],
)
async def test_a_broken_stream_is_unavailable(behaviour: Behaviour) -> None:
    """Whatever came before the break is no sentence."""
    async with loopback(behaviour) as server, LanguageModel.open(told(server)) as model:
        with pytest.raises(Unavailable):
            await written(model)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (streams("{not json"), "something else"),
        (streams({"choices": "many"}), "something else"),
        (streams(piece("A"), content_type="text/html"), "no event stream"),
        (answers(200), "no event stream"),
        (goes_on_for_ever, "does not end"),
        (streams(piece("A red", "length")), "too long"),
        (streams(piece("", "content_filter")), "refused"),
        (streams(piece("", refusal="I cannot")), "refused"),
    ],
    ids=["no json", "no chunk", "html", "json", "endless", "length", "filtered", "refusal"],
)
async def test_nonsense_is_unusable(behaviour: Behaviour, reason: str) -> None:
    """Garbage, floods, cut-offs by length and refusals are no sentences, and are not asked for again."""
    async with loopback(behaviour) as server, LanguageModel.open(told(server)) as model:
        with pytest.raises(Unusable, match=reason):
            await written(model)


async def test_nobody_listening_is_unavailable() -> None:
    """A closed port, and a listing of models that is none."""
    async with loopback(says_the_sentence) as server:
        pass
    async with LanguageModel.open(told(server)) as model:
        with pytest.raises(Unavailable, match="ConnectError"):
            await model.model()
    for strange in (answers(200, content_type="text/html"), answers(500), hangs_up):
        async with (
            loopback(says_the_sentence, models=strange) as server,
            LanguageModel.open(told(server)) as model,
        ):
            with pytest.raises(Unavailable):
                await model.model()


async def test_the_probe_notices_a_server_that_ignores_grammars() -> None:
    """Healthy is not enough: it must keep to a grammar, if it is to be trusted with one."""
    async with loopback(says_the_sentence) as server:
        async with LanguageModel.open(told(server)) as model:
            with pytest.raises(Unavailable, match="grammar"):
                await model.probe()
        async with LanguageModel.open(told(server, constrained=False)) as model:
            await model.probe()


# ---------------------------------------------------------------- through the stage


async def drafted(server: LoopbackModel, **settings: Any) -> CaptionDrafted:
    payloads = PayloadStore.open("memory")
    look = {"appearance": {"subject_colours": shares(red=0.7), "plain_background": shares(white=0.9)[0]}}
    message = await encoded(payloads, logits(sports_car=0.95), evidence=look)
    async with open_generator(payloads, told(server, **settings)) as service:
        last = [produced async for produced in service.stage.advance(message, DELIVERY)][-1]
    assert isinstance(last, CaptionDrafted)
    return last


async def goes_quiet(request: Answering) -> None:
    await request.start_stream()
    await request.event(piece("A red"))
    await request.writer.wait_closed()


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (answers(503), "unavailable: language model: HTTP 503"),
        (answers(400), "the request was refused: HTTP 400"),
        (goes_on_for_ever, "the answer does not end"),
        (goes_quiet, "took over"),
    ],
    ids=["down", "refused", "endless", "quiet"],
)
async def test_whatever_the_model_does_there_is_a_caption(behaviour: Behaviour, reason: str) -> None:
    """The plain sentence stands within the budget, and the reason is on record."""
    async with loopback(behaviour) as server:
        message = await drafted(server, budget_s=0.5)
    assert ["A red sports car on a plain white background."] == [draft.text for draft in message.candidates]
    assert message.rejected[0].reason.startswith(reason)


async def test_a_free_sentence_is_taken_only_if_the_grammar_fits() -> None:
    """For models without grammars: the same judge, after the fact."""

    async def writes(text: str) -> CaptionDrafted:
        async def behave(request: Answering) -> None:
            await request.say(*(f"{word} " for word in text.split()))

        async with loopback(behave) as server:
            return await drafted(server, constrained=False)

    faithful = await writes("Against a plain white background, a red sports car.")
    inventive = await writes("A shiny red sports car on a plain white background.")
    assert ["loopback", "plain"] == [draft.writer for draft in faithful.candidates]
    assert ["plain"] == [draft.writer for draft in inventive.candidates]
    assert "A shiny" == inventive.rejected[0].text.strip()


async def test_no_prompt_and_no_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Logs are read by more people than prompts."""
    caplog.set_level(logging.DEBUG)
    async with loopback(answers(400), says_the_sentence) as server:
        settings = told(server, api_key="k-123")
        async with LanguageModel.open(settings) as model:
            with pytest.raises(Unusable) as refusal:
                await written(model)
            await written(model)
    logged = caplog.text + str(refusal.value) + repr(model) + repr(settings)
    assert "k-123" not in logged
    assert "secret facts" not in logged
    assert "A red" not in logged
