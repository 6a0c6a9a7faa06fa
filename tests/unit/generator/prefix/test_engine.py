"""Writing for many at once: each gets what it would get alone."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from services.generator.prefix.constraint import Allowed, Floats, NothingAllowed
from services.generator.prefix.engine import (
    Asked,
    Closed,
    Decoding,
    NotFinite,
    PrefixEngine,
    Room,
    Token,
    TooLate,
    TooLong,
)
from tests.unit.generator.prefix.small_model import question, seen, small_model
from triton_models.vision_language.visual_tokens import VisualTokens

TWELVE = Decoding(12)
LONG = "Say in a few words what you see."
TEXTS = ("What is it?", "And which colour has it?", "Why?", "Say more about what lies behind it, please.")


@pytest.fixture
async def engine() -> AsyncIterator[PrefixEngine]:
    """Two slots: of more requests some have to wait."""
    opened = await PrefixEngine.open(small_model(), Room(slots=2, tokens=200))
    yield opened
    await opened.close()


async def _written(
    engine: PrefixEngine, asked: Asked, decoding: Decoding = TWELVE, rule: Rule | None = None
) -> list[Token]:
    async with aclosing(engine.write(asked, decoding, rule)) as tokens:
        return [token async for token in tokens]


def _ids(tokens: list[Token]) -> list[int]:
    return [token.id for token in tokens]


class Rule:
    """A constraint that allows each of `texts` by turns, and has finished after the last."""

    def __init__(self, *allowed: set[int]) -> None:
        self._allowed = list(allowed)
        self.seen: list[float] = []

    @property
    def finished(self) -> bool:
        return not self._allowed

    def mask(self, logprobs: Floats) -> Allowed | None:
        self.seen.append(float(np.exp(logprobs.astype(np.float64)).sum()))
        mask = np.zeros(len(logprobs), np.bool_)
        mask[list(self._allowed[0])] = True
        return mask

    def take(self, token: int) -> None:
        self._allowed.pop(0)


async def test_requests_that_join_and_leave_get_what_they_get_alone(engine: PrefixEngine) -> None:
    """Greedy and with seeds, more of them than slots, of mixed lengths, some ended early."""
    asked = [engine.asked(question(text), [seen(n)]) for n, text in enumerate(TEXTS * 2)]
    how = [Decoding(3 + 2 * n, seed=None if n % 2 else n) for n in range(len(asked))]
    alone = [_ids(await _written(engine, one, told)) for one, told in zip(asked, how, strict=True)]
    together = await asyncio.gather(*map(_written, [engine] * 8, asked, how))
    assert alone == [_ids(tokens) for tokens in together]
    assert len({tuple(ids[:3]) for ids in alone}) > 4


async def test_what_stands_before_the_image_is_read_once(engine: PrefixEngine) -> None:
    """The second request takes it from the first, and answers as if it had read it itself."""
    asked = engine.asked(question(system=LONG), [seen()])
    other = engine.asked(question("Why?", system=LONG), [seen(2)])
    first, again, third = [await _written(engine, one) for one in (asked, asked, other)]
    assert [0, asked.static, asked.static] == [tokens[0].cached for tokens in (first, again, third)]
    assert asked.static > len(LONG)
    assert _ids(first) == _ids(again)
    assert _ids(first) == _ids(await _written(engine, asked._replace(static=0)))


async def test_an_answer_depends_on_the_image(engine: PrefixEngine) -> None:
    """Its tokens take their places in the prompt."""
    one, other = [await _written(engine, engine.asked(question(), [seen(n)])) for n in (1, 2)]
    assert _ids(one) != _ids(other)


async def test_every_token_says_how_likely_it_was_to_the_model(engine: PrefixEngine) -> None:
    """Whatever seed or rule chose it: the model's own distribution is one."""
    asked = engine.asked(question(), [seen()])
    free = await _written(engine, asked, Decoding(1))
    bound = await _written(engine, asked, Decoding(1), Rule({65}))
    assert 65 == bound[0].id
    assert bound[0].logprob < free[0].logprob < 0


async def test_a_constraint_binds_and_ends_its_own_request_only(engine: PrefixEngine) -> None:
    """It sees the model's own probabilities before each token."""
    asked = engine.asked(question(), [seen()])
    rule = Rule({65}, {66}, {67, 68})
    bound, free = await asyncio.gather(
        _written(engine, asked, rule=rule), _written(engine, asked, Decoding(12))
    )
    assert [65, 66] == _ids(bound)[:2]
    assert (3, "constraint") == (len(bound), bound[-1].finish)
    assert [1, 1, 1] == [round(total, 3) for total in rule.seen]
    assert _ids(free) == _ids(await _written(engine, asked))
    with pytest.raises(NothingAllowed):
        await _written(engine, asked, rule=Rule(set()))


async def test_an_answer_ends_by_its_length_its_end_token_or_a_stop_string(engine: PrefixEngine) -> None:
    """And the last token says which of them it was."""
    asked = engine.asked(question(), [seen()])
    whole = await _written(engine, asked)
    assert (12, "length") == (len(whole), whole[-1].finish)
    end = min(engine.ends)
    ended = await _written(engine, asked, rule=Rule({65}, {end}))
    assert ("end", "") == (ended[-1].finish, ended[-1].text)
    letters = engine.tokenizer.decode([65, 66, 67, 68])
    rule = Rule({65}, {66}, {67}, {68})
    stopped = await _written(engine, asked, Decoding(12, stop=(letters[1:3],)), rule)
    assert (3, "stop") == (len(stopped), stopped[-1].finish)
    assert letters[0] == "".join(token.text for token in stopped)


async def test_whoever_closes_while_the_answer_is_being_written_frees_its_slot(engine: PrefixEngine) -> None:
    """Tokens come one by one, and no more are thought of than are waited for."""
    asked = engine.asked(question(), [seen()])
    rules = [Endless() for _ in range(5)]
    for rule in rules:
        async with aclosing(engine.write(asked, Decoding(150), rule)) as tokens:
            assert (await anext(tokens)).finish is None
    await _written(engine, asked, Decoding(3))
    asked_for = [rule.masks for rule in rules]
    await _written(engine, asked, Decoding(30))
    assert asked_for == [rule.masks for rule in rules]


async def test_a_deadline_ends_what_runs_and_what_waits(engine: PrefixEngine) -> None:
    """The loop's clock says when; others go on."""
    asked = engine.asked(question(), [seen()])
    now = asyncio.get_running_loop().time()
    with pytest.raises(TooLate):
        async for _ in engine.write(asked, Decoding(150), deadline=now - 1):
            pytest.fail("nobody should have read its prompt")
    with pytest.raises(TooLate):
        async for _ in engine.write(asked, Decoding(150), Endless(), deadline=now + 0.2):
            pass
    assert 3 == len(await _written(engine, asked, Decoding(3)))


class Endless(Rule):
    """Allows all, slowly, and counts."""

    masks = 0

    @property
    def finished(self) -> bool:
        return False

    def mask(self, logprobs: Floats) -> Allowed | None:
        self.masks += 1
        time.sleep(0.01)
        return None

    def take(self, token: int) -> None:
        pass


async def test_what_does_not_fit_is_refused_before_anything_is_read(engine: PrefixEngine) -> None:
    """A prompt that leaves no room, and an answer that could outgrow it."""
    with pytest.raises(TooLong):
        engine.asked(question("a" * 200), [seen()])
    asked = engine.asked(question("a" * 100), [seen()])
    with pytest.raises(TooLong):
        await _written(engine, asked, Decoding(100))
    assert 5 == len(await _written(engine, asked, Decoding(5)))


async def test_what_is_no_number_ends_one_request_and_leaves_nothing_behind(engine: PrefixEngine) -> None:
    """Not even in the slot that the next one gets."""
    asked = engine.asked(question(), [seen()])
    before = _ids(await _written(engine, asked))
    broken = asked._replace(seen=(VisualTokens(np.full((4, 48), np.nan, np.float32), (0, 0)),))
    spoilt, fine = await asyncio.gather(
        _written(engine, broken), _written(engine, asked), return_exceptions=True
    )
    assert isinstance(spoilt, NotFinite)
    assert not isinstance(fine, BaseException)
    assert before == _ids(fine) == _ids(await _written(engine, asked))


async def test_a_closed_engine_says_so_to_everybody() -> None:
    """Those who are being written, those who wait, and those who come later."""
    engine = await PrefixEngine.open(small_model(), Room(slots=1, tokens=200))
    asked = engine.asked(question(), [seen()])
    waiting = [asyncio.create_task(_written(engine, asked, Decoding(150), Endless())) for _ in range(3)]
    await asyncio.sleep(0.05)
    await engine.close()
    assert [Closed] * 3 == [type(end) for end in await asyncio.gather(*waiting, return_exceptions=True)]
    with pytest.raises(Closed):
        await _written(engine, asked)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.timeout(400)
async def test_ten_thousand_captions_leave_no_memory_behind() -> None:
    """Of mixed lengths, more different beginnings of prompts than are kept; some are given up."""
    engine = await PrefixEngine.open(small_model(), Room(slots=8, tokens=100))
    asked = [engine.asked(question("a" * (n % 7), system="b" * (n % 13)), [seen(n)]) for n in range(40)]
    size = 0.0

    async def one(n: int) -> None:
        async with aclosing(engine.write(asked[n % 40], Decoding(1 + n % 2, seed=n))) as tokens:
            async for _ in tokens:
                if n % 7 == 0:
                    return

    try:
        for block in range(100):
            await asyncio.gather(*(one(n) for n in range(block * 100, block * 100 + 100)))
            size = size or (_resident_mb() if block == 19 else 0.0)
        assert _resident_mb() - size < 4
    finally:
        await engine.close()
