"""The generator put together: which engines are opened when, and on which of them readiness depends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from captionstream.contracts.messages import Decoding, Egress
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Misconfigured, Unavailable
from services.generator import lineup as entries
from services.generator.grammar import Literal
from services.generator.late import LateWriter, late
from services.generator.lineup import Lineup, Route
from services.generator.lineup_file import lineup_of
from services.generator.prompt import Prompt
from services.generator.reuse import ReusingWriter
from services.generator.scripted_writer import ScriptedWriter
from services.generator.settings import GeneratorSettings, WriterKind
from services.generator.wiring import (
    open_engines,
    open_generator,
    patience,
    pipeline_version,
    prefix_decoding,
    tries,
)
from services.generator.writer import Piece, Task, Writer
from services.generator.writing import Outcome, Patience, PatientWriter
from tests.unit.generator.builders import vocabulary

GREEDY = Decoding(seed=1, temperature=0.0, max_tokens=9, constrained=True)
TASK = Task(Prompt("", ""), Literal("A dog."))
NOBODY = "http://127.0.0.1:9/v1"  # the discard port: nothing listens


def settings(**told: Any) -> GeneratorSettings:
    return GeneratorSettings(**{"language_model": NOBODY} | told)


def with_file(folder: Path, text: str, **told: Any) -> GeneratorSettings:
    file = folder / "lineup.yaml"
    file.write_text(text)
    return settings(lineup=file, **told)


# ---------------------------------------------------------------- late


class Door:
    """Counts how often a writer was opened and closed; the first `stuck` times it does not open."""

    def __init__(self, stuck: int = 0) -> None:
        self.stuck, self.opened, self.closed = stuck, 0, 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Writer]:
        if self.stuck:
            self.stuck -= 1
            raise Unavailable("engine", "is away")
        self.opened += 1
        yield ScriptedWriter()
        self.closed += 1


async def text_of(writer: LateWriter) -> str:
    return "".join([piece.text async for piece in writer.write(TASK) if isinstance(piece, Piece)])


async def test_a_late_writer_is_opened_once_when_it_is_asked_and_closed_at_the_end() -> None:
    """Who is never asked is never opened."""
    asked, idle = Door(), Door()
    async with late(GREEDY, asked) as writer, late(GREEDY, idle):
        assert 0 == asked.opened
        assert ["A dog.", "A dog."] == [await text_of(writer) for _ in range(2)]
        assert "scripted" == (await writer.model(TASK)).name
        assert (1, 0) == (asked.opened, asked.closed)
    assert (1, 1, 0, 0) == (asked.opened, asked.closed, idle.opened, idle.closed)


async def test_a_late_writer_that_did_not_open_is_tried_again() -> None:
    """The next task finds it, once it is there."""
    door = Door(stuck=1)
    async with late(GREEDY, door) as writer:
        with pytest.raises(Unavailable):
            await writer.model(TASK)
        assert "A dog." == await text_of(writer)


# ---------------------------------------------------------------- readiness

BOTH = """
engines:
  away: {{kind: openai, url: "{url}", model: m, lists_models: false, local: true, {more}}}
  ours: {{kind: scripted}}
routes: [{{engine: away}}, {{engine: ours}}]
"""


@pytest.mark.parametrize("more", ["required: true", "probed: true"])
async def test_readiness_asks_the_engines_that_are_required_or_probed(tmp_path: Path, more: str) -> None:
    """Who is away then keeps the service from being ready."""
    told = with_file(tmp_path, BOTH.format(url=NOBODY, more=more))
    async with open_generator(PayloadStore.open("memory"), told) as service:
        with pytest.raises(Unavailable):
            await service.probe()


async def test_readiness_does_not_ask_engines_that_events_can_do_without(tmp_path: Path) -> None:
    """A managed API that is away costs captions, not the service; nor does a probe cost money."""
    told = with_file(tmp_path, BOTH.format(url=NOBODY, more="required: false"))
    async with open_generator(PayloadStore.open("memory"), told) as service:
        await service.probe()


async def test_the_language_model_of_the_settings_is_probed_as_before() -> None:
    """Without a file."""
    async with open_generator(PayloadStore.open("memory"), settings()) as service:
        with pytest.raises(Unavailable):
            await service.probe()


async def test_a_key_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    """With the name of the variable."""
    text = BOTH.format(url=NOBODY, more="api_key_from: NO_SUCH_KEY_HERE")
    with pytest.raises(Misconfigured, match="NO_SUCH_KEY_HERE is not set"):
        async with open_generator(PayloadStore.open("memory"), with_file(tmp_path, text)):
            pass


# ---------------------------------------------------------------- what an engine is told


def test_an_engine_has_the_patience_of_the_service_unless_it_has_its_own() -> None:
    """Budget, rest, and whether events wait for it."""
    told = settings(budget_s=4.0, rest_s=3.0, reserve_s=2.0)
    own = patience(entries.Prefix(budget_s=20, rest_s=0, required=True), told)
    assert (20.0, 0.0, 2.0, True) == (own.budget_s, own.rest_s, own.reserve_s, own.required)
    usual = patience(entries.Prefix(), told)
    assert (4.0, 3.0, 2.0, False) == (usual.budget_s, usual.rest_s, usual.reserve_s, usual.required)


async def test_an_engine_that_is_away_is_tried_once_where_another_comes_after_it(tmp_path: Path) -> None:
    """The last one, and one that is required, are tried as long as the budget allows."""
    made = lineup_of(with_file(tmp_path, BOTH.format(url=NOBODY, more="required: false")))
    assert [1, None] == [tries(made, name) for name in ("away", "ours")]
    bound = lineup_of(with_file(tmp_path, BOTH.format(url=NOBODY, more="required: true")))
    assert tries(bound, "away") is None


async def test_one_try_is_one_request(tmp_path: Path) -> None:
    """And the outcome says that the engine was away."""
    door = Door(stuck=2)
    async with late(GREEDY, door) as writer:
        outcome = Outcome()
        assert [] == [text async for text in PatientWriter(writer, Patience(tries=1)).write(TASK, outcome)]
    assert (1, "unavailable: engine: is away") == (door.stuck, outcome.problem)


def test_a_split_engine_decodes_as_the_service_unless_it_is_told_otherwise() -> None:
    """Seed, temperature, length."""
    told = settings(seed=7, temperature=0.5, max_tokens=50)
    assert Decoding(seed=7, temperature=0.5, max_tokens=50, constrained=True) == prefix_decoding(
        entries.Prefix(), told
    )
    own = prefix_decoding(entries.Prefix(temperature=0, max_tokens=20, constrained=False), told)
    assert Decoding(seed=7, temperature=0, max_tokens=20, constrained=False) == own


async def test_texts_are_kept_unless_there_is_no_room_for_them() -> None:
    """`kept_mb` of 0 asks the engine every time."""
    lineup = Lineup(engines={"ours": entries.Scripted(sends=Egress.TEXT)}, routes=(Route(engine="ours"),))
    kinds = []
    for kept_mb in (32, 0):
        async with open_engines(lineup, settings(kept_mb=kept_mb)) as engines:
            kinds.append(type(engines.writers["ours"]))
    assert [ReusingWriter, PatientWriter] == kinds


def test_the_pipeline_version_changes_with_the_lineup(tmp_path: Path) -> None:
    """Two lineups may write differently."""
    one = pipeline_version(vocabulary(), with_file(tmp_path, BOTH.format(url=NOBODY, more="max_tokens: 20")))
    other = pipeline_version(
        vocabulary(), with_file(tmp_path, BOTH.format(url=NOBODY, more="max_tokens: 30"))
    )
    assert one != other
    assert other != pipeline_version(vocabulary(), settings(writer=WriterKind.PLAIN))
