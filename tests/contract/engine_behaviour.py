"""What every engine must do behind the generator's stage, whatever its archetype. One suite for doubles and real ones.

A subclass gives `candidate`: the engine as a lineup has it, its writer, and the message that its encoder would send.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from captionstream.contracts.messages import (
    Archetype,
    CaptionDrafted,
    Decoding,
    DraftDelta,
    Egress,
    ImageEncoded,
    Usage,
)
from captionstream.contracts.values import ModelReference
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from services.generator.asking import Engines
from services.generator.grammar import may_continue, read
from services.generator.lineup import EgressRule, Engine, Lineup, Route, Scripted
from services.generator.scripted_writer import ScriptedWriter
from services.generator.sentence import Request, sentence
from services.generator.stage import GeneratorStage
from services.generator.visual import EmptyShelf, Shelf
from services.generator.wiring import languages
from services.generator.writer import Piece, Task, Writer, why
from services.generator.writing import Patience, PatientWriter
from tests.unit.generator.builders import DELIVERY, NOON, encoded, english, logits, shares, vocabulary

NAME, SPARE = "under-test", "spare"


@dataclass
class Counting:
    """A writer that is watched: how often it was asked to write, and how often it was told to stop or ended."""

    writer: Writer
    asked: list[Task] = field(default_factory=list)
    ended: int = 0

    @property
    def decoding(self) -> Decoding:
        return self.writer.decoding

    async def model(self, task: Task | None = None) -> ModelReference:
        return await self.writer.model(task)

    async def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        self.asked.append(task)
        try:
            async with aclosing(self.writer.write(task)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.ended += 1

    async def probe(self) -> None:
        await self.writer.probe()


@dataclass
class Troubled(Counting):
    """The same writer behind a line that fails with `trouble`, or goes quiet, after its first piece."""

    trouble: Exception | None = None

    async def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        self.asked.append(task)
        async with aclosing(self.writer.write(task)) as pieces:
            async for piece in pieces:
                yield piece
                break
        if self.trouble is not None:
            raise self.trouble
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Candidate:
    """An engine under test. `sent` are the fields of ImageEncoded that it reads; `shelf` knows its split model.

    `patience` is the time that its real work takes.
    """

    entry: Engine
    writer: Writer
    sent: Mapping[str, Any] = field(default_factory=dict)
    shelf: Shelf = field(default_factory=EmptyShelf)
    patience: Patience = field(default_factory=Patience)

    @property
    def remote(self) -> Engine:
        """The same engine, if it were somebody else's."""
        return Scripted(sends=self.entry.reads, local=False)


class EngineBehaviour:
    @pytest.fixture
    def payloads(self) -> PayloadStore:
        return PayloadStore.open("memory")

    @pytest.fixture
    async def candidate(self, payloads: PayloadStore) -> Candidate:
        raise NotImplementedError

    # ---------------------------------------------------------------- the text

    async def test_a_caption_is_supported_or_the_plain_sentence_stands(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """Every candidate is a sentence of the scene with its claims; what was not taken is on record."""
        _, drafted = await answered(stage(candidate, payloads), await a_red_car(payloads, candidate))
        assert "plain" == drafted.candidates[-1].writer
        node = sentence(drafted.scene, Request(), english()).whole
        for draft in drafted.candidates:
            reading = read(node, draft.text)
            assert reading is not None, draft.text
            assert draft.claims == reading.claims
        assert 2 == len(drafted.candidates) + len(drafted.rejected)

    async def test_partial_text_only_grows_and_is_always_supported(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """Every delta is the start of the next one, of a sentence of the scene, and numbered."""
        deltas, drafted = await answered(stage(candidate, payloads), await a_red_car(payloads, candidate))
        texts = [delta.text for delta in deltas]
        assert all(later.startswith(text) and later != text for text, later in pairwise(texts))
        assert list(range(len(deltas))) == [delta.sequence for delta in deltas]
        node = sentence(drafted.scene, Request(), english()).whole
        assert all(may_continue(node, text) for text in texts)

    # ---------------------------------------------------------------- what the message tells

    async def test_the_message_tells_who_was_chosen_and_why(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """Engine, archetype, what left, a reason; and how it decoded, under which prompt."""
        watched = Counting(candidate.writer)
        await answered(stage(candidate, payloads, watched), await a_red_car(payloads, candidate))
        _, drafted = await answered(stage(candidate, payloads), await a_red_car(payloads, candidate))
        told = drafted.provenance
        assert told.choice is not None
        assert drafted.candidates[0].writer != "plain", drafted.rejected
        assert why(candidate.writer, watched.asked[0]) in told.choice.reason
        assert (NAME, candidate.entry.archetype) == (told.choice.engine, told.choice.archetype)
        assert candidate.entry.leaves is told.choice.sent
        assert told.choice.reason.startswith(f"{NAME}: ")
        assert candidate.writer.decoding == told.decoding
        assert told.prompt is not None

    async def test_the_message_names_every_model_that_had_a_part(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """The author, and the split model whose eye made the tokens; each once."""
        message = await a_red_car(payloads, candidate)
        watched = Counting(candidate.writer)
        _, drafted = await answered(stage(candidate, payloads, watched), message)
        author = await candidate.writer.model(watched.asked[0])
        models = drafted.provenance.models
        assert author in models
        assert (message.visual is None) or message.visual.model in models
        assert len(models) == len(set(models))

    async def test_the_message_tells_what_was_used_where_the_engine_does(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """The engine's own count, unchanged."""
        message = await a_red_car(payloads, candidate)
        watched = Counting(candidate.writer)
        _, drafted = await answered(stage(candidate, payloads, watched), message)
        counted = [
            piece async for piece in candidate.writer.write(watched.asked[0]) if isinstance(piece, Usage)
        ]
        assert bool(counted) is (drafted.provenance.usage is not None)
        assert all(usage.output_tokens > 0 for usage in counted)

    # ---------------------------------------------------------------- what it is given

    async def test_an_engine_is_given_what_it_reads_and_nothing_else(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """Visual tokens for one that reads them, the picture for one that looks at it, words for all."""
        watched = Counting(candidate.writer)
        await answered(stage(candidate, payloads, watched), await a_red_car(payloads, candidate))
        (task,) = watched.asked
        reads = candidate.entry.reads
        assert (reads is Egress.EMBEDDINGS, reads is Egress.PIXELS) == (
            task.seen is not None,
            task.picture is not None,
        )
        assert "sports car" in task.prompt.user

    async def test_without_what_it_reads_it_is_not_asked(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """And the reason says what was missing. A text-only engine lacks nothing."""
        watched = Counting(candidate.writer)
        message = (await a_red_car(payloads, candidate)).model_copy(update={"visual": None, "picture": None})
        _, drafted = await answered(stage(candidate, payloads, watched), message)
        assert drafted.provenance.choice is not None
        if candidate.entry.reads is Egress.TEXT:
            assert 1 == len(watched.asked)
        else:
            assert [] == watched.asked
            assert f"{NAME} skipped: no " in drafted.provenance.choice.reason
            assert Archetype.PLAIN is drafted.provenance.choice.archetype

    async def test_an_engine_of_ours_needs_no_permission(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """For a tenant that lets nothing leave it writes all the same, and nothing leaves."""
        entry = Scripted(sends=candidate.entry.reads, local=True)
        made = stage(candidate, payloads, entry=entry, egress=EgressRule(default=Egress.NOTHING))
        _, drafted = await answered(made, await a_red_car(payloads, candidate))
        assert drafted.provenance.choice is not None
        assert (NAME, Egress.NOTHING) == (drafted.provenance.choice.engine, drafted.provenance.choice.sent)

    async def test_an_engine_that_is_not_ours_is_never_called_for_a_tenant_that_lets_nothing_leave(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """Not even to ask who it is; for a tenant that allows it, it is called, and the message says what left."""
        rule = EgressRule(default=candidate.entry.reads, tenants={"acme": Egress.NOTHING})
        watched = Counting(candidate.writer)
        made = stage(candidate, payloads, watched, entry=candidate.remote, egress=rule)
        _, drafted = await answered(made, await a_red_car(payloads, candidate, tenant="acme"))
        assert [] == watched.asked
        assert drafted.provenance.choice is not None
        assert (Archetype.PLAIN, Egress.NOTHING) == (
            drafted.provenance.choice.archetype,
            drafted.provenance.choice.sent,
        )
        assert "tenant acme lets nothing leave" in drafted.provenance.choice.reason
        _, drafted = await answered(made, await a_red_car(payloads, candidate))
        assert 1 == len(watched.asked)
        assert drafted.provenance.choice is not None
        assert candidate.entry.reads is drafted.provenance.choice.sent

    # ---------------------------------------------------------------- time and trouble

    async def test_too_near_a_deadline_it_is_not_asked(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """Late means cheaper, not never."""
        watched = Counting(candidate.writer)
        message = await a_red_car(payloads, candidate, deadline_s=3.0)
        late = stage(candidate, payloads, watched, clock=lambda: NOON + timedelta(seconds=2.5))
        _, drafted = await answered(late, message)
        assert ([], ["plain"]) == (watched.asked, [draft.writer for draft in drafted.candidates])

    @pytest.mark.parametrize(
        "trouble", [Unavailable("engine", "cut off", retry_after_s=60), None], ids=["cut", "quiet"]
    )
    async def test_where_it_fails_the_next_engine_writes_and_both_are_on_record(
        self, candidate: Candidate, payloads: PayloadStore, trouble: Exception | None
    ) -> None:
        """Cut off or too slow in the middle of a sentence; the choice names who wrote, the deltas still only grow."""
        failing = Troubled(candidate.writer, trouble=trouble)
        made = stage(candidate, payloads, failing, spare=True, patience=Patience(budget_s=1.0))
        deltas, drafted = await answered(made, await a_red_car(payloads, candidate))
        assert ["scripted", "plain"] == [draft.writer for draft in drafted.candidates]
        assert 1 == len(drafted.rejected) == len(failing.asked)
        assert drafted.provenance.choice is not None
        assert SPARE == drafted.provenance.choice.engine
        assert f"{NAME} skipped: failed" in drafted.provenance.choice.reason
        assert all(later.text.startswith(delta.text) for delta, later in pairwise(deltas))

    async def test_whoever_stops_listening_ends_the_writing(
        self, candidate: Candidate, payloads: PayloadStore
    ) -> None:
        """A stage that is closed in the middle leaves no engine at work."""
        watched = Counting(candidate.writer)
        message = await a_red_car(payloads, candidate)
        produced = stage(candidate, payloads, watched).advance(message, DELIVERY)
        first = await anext(produced)
        assert isinstance(first, DraftDelta)
        await produced.aclose()  # type: ignore[attr-defined]
        for _ in range(200):  # what is dropped is closed by the loop, a little later
            if watched.ended:
                break
            await asyncio.sleep(0.01)
        assert (1, 1) == (len(watched.asked), watched.ended)


def stage(
    candidate: Candidate,
    payloads: PayloadStore,
    writer: Writer | None = None,
    *,
    entry: Engine | None = None,
    egress: EgressRule | None = None,
    spare: bool = False,
    patience: Patience | None = None,
    **changes: Any,
) -> GeneratorStage:
    """The stage with this engine alone, or with a text-only one of ours behind it."""
    engines: dict[str, Engine] = {NAME: entry or candidate.entry}
    writers = {NAME: PatientWriter(writer or candidate.writer, patience or candidate.patience)}
    if spare:
        engines[SPARE], writers[SPARE] = Scripted(), PatientWriter(ScriptedWriter(3), Patience())
    lineup = Lineup(
        engines=engines,
        egress=egress or EgressRule(default=Egress.PIXELS),
        routes=tuple(Route(engine=name) for name in engines),
    )
    return GeneratorStage(
        vocabulary=vocabulary(),
        engines=Engines(lineup, writers, candidate.shelf),
        payloads=payloads,
        languages=languages(),
        pipeline_version="test",
        **{"clock": lambda: NOON} | changes,
    )


async def a_red_car(payloads: PayloadStore, candidate: Candidate, **event: Any) -> ImageEncoded:
    """A scene that can be said in several ways, with what this engine reads beside it."""
    look = {"appearance": {"subject_colours": shares(red=0.7), "plain_background": shares(white=0.9)[0]}}
    return await encoded(payloads, logits(sports_car=0.95), evidence=look, event=event, **candidate.sent)


async def answered(made: GeneratorStage, message: ImageEncoded) -> tuple[list[DraftDelta], CaptionDrafted]:
    *deltas, last = [produced async for produced in made.advance(message, DELIVERY)]
    assert isinstance(last, CaptionDrafted)
    return [delta for delta in deltas if isinstance(delta, DraftDelta)], last
