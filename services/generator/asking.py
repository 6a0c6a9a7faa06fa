"""Asking the engines of a lineup, one after the other, until the text of one of them is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Protocol

from captionstream.contracts.messages import (
    Decoding,
    Egress,
    EngineChoice,
    Event,
    ImageEncoded,
    RejectedDraft,
    Usage,
)
from captionstream.contracts.values import ModelReference
from captionstream.payloads.store import PayloadStore
from services.generator.lineup import Engine, Lineup, widest
from services.generator.pacing import Pace
from services.generator.routing import Chosen, Situation, choose, explained, plain
from services.generator.visual import EmptyShelf, Shelf, picture_of, seen_of
from services.generator.writer import Picture, Seen, Task, Writer, why
from services.generator.writing import Outcome

NAMELESS = "language model"
REASON_CHARACTERS = 110
"""Of why an engine failed, where the next one's choice is explained."""


class Asks(Protocol):
    """A writer that is asked with patience (PatientWriter), or whose texts are kept (ReusingWriter)."""

    @property
    def writer(self) -> Writer: ...

    def write(self, task: Task, outcome: Outcome, left_s: float | None = None) -> AsyncIterator[str]:
        """The whole words so far, whenever there is more; they may begin anew. Their end is in `outcome`.

        Raises Unavailable where the writer is required.
        """
        ...


@dataclass(frozen=True)
class Engines:
    """Who may be asked. `writers` has one for each engine of the lineup; `shelf` knows the split models."""

    lineup: Lineup = field(default_factory=Lineup)
    writers: Mapping[str, Asks] = field(default_factory=dict)
    shelf: Shelf = field(default_factory=EmptyShelf)
    costs: dict[str, float] = field(default_factory=dict)  # of the last caption of each engine

    def note_cost(self, name: str, usage: Usage | None) -> None:
        if usage is not None and usage.cost:
            self.costs[name] = usage.cost


@dataclass(frozen=True, slots=True)
class Attempt:
    """One engine, what it was asked, and what became of it."""

    chosen: Chosen
    task: Task
    decoding: Decoding
    outcome: Outcome

    @property
    def accepted(self) -> bool:
        return self.outcome.problem is None and bool(self.outcome.text)

    @property
    def problem(self) -> str:
        """Why it was not accepted."""
        return self.outcome.problem or "no text"

    @property
    def sent(self) -> Egress:
        """What left: nothing, if not even who writes was found out."""
        return self.chosen.choice.sent if self.outcome.author else Egress.NOTHING

    @property
    def author(self) -> str:
        return self.outcome.author.name if self.outcome.author else NAMELESS

    @property
    def models(self) -> tuple[ModelReference, ...]:
        seen = self.task.seen
        both = (seen.model if seen else None, self.outcome.author)
        return tuple(dict.fromkeys(model for model in both if model is not None))


@dataclass(slots=True)
class Asking:
    """One event's way through the lineup. `end` is the choice after which nobody else was asked.

    `pace` says when whose text is shown.
    """

    pace: Pace = field(default_factory=Pace)
    attempts: list[Attempt] = field(default_factory=list)
    end: EngineChoice = field(default_factory=lambda: plain("plain: nothing to write"))

    @property
    def written(self) -> Attempt | None:
        """The attempt whose text is taken."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].accepted else None

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def rejected(self) -> tuple[RejectedDraft, ...]:
        """The texts that were not taken, or why there are none."""
        return tuple(
            RejectedDraft(text=each.outcome.text, writer=each.author, reason=each.problem)
            for each in self.attempts
            if not each.accepted
        )

    @property
    def choice(self) -> EngineChoice:
        """Whose text came first, and the most that left for anybody on the way there."""
        return self.end.model_copy(update={"sent": widest(each.sent for each in self.attempts)})

    @property
    def usage(self) -> Usage | None:
        """What all attempts cost together, in the currency of the last one that told."""
        told = [each.outcome.usage for each in self.attempts if each.outcome.usage is not None]
        return total(told) if told else None


MakeTask = Callable[[Chosen, Seen | None, Picture | None], Task]


@dataclass(frozen=True)
class Question:
    """One event for the engines. `task` makes what a chosen engine is asked; `left` is the time to the deadline."""

    message: ImageEncoded
    one_wording: bool
    task: MakeTask
    left: Callable[[], float | None]

    @property
    def event(self) -> Event:
        return self.message.event


async def ask(
    engines: Engines, question: Question, payloads: PayloadStore, asking: Asking
) -> AsyncIterator[str]:
    """The text so far when it is due, each one the beginning of the next, whoever writes it.

    What became of it is in `asking`. Each engine is asked at most once. Raises Unprocessable for visual tokens that
    nobody here can read, and Unavailable where a required engine or the payload store is away.
    """
    while True:
        chosen = choose(engines.lineup, question.event, situation(engines, question, asking))
        asking.end = chosen.choice
        if chosen.engine is None:
            return
        attempt = await _attempt(engines, question, payloads, chosen)
        asking.attempts.append(attempt)
        asks = engines.writers[chosen.name]
        async for written in asks.write(attempt.task, attempt.outcome, question.left()):
            if text := asking.pace.due(written):
                yield text
        engines.note_cost(chosen.name, attempt.outcome.usage)
        if attempt.accepted:
            asking.end = explained(chosen.choice, why(asks.writer, attempt.task))
            return


def situation(engines: Engines, question: Question, asking: Asking) -> Situation:
    message = question.message
    tried = {each.chosen.name: f"failed ({in_short(each.problem)})" for each in asking.attempts}
    return Situation(
        left_s=question.left(),
        has_visual=message.visual is not None and engines.shelf.is_filled(),
        has_picture=message.picture is not None,
        one_wording=question.one_wording,
        set_aside=tried,
        costs=engines.costs,
    )


def in_short(problem: str) -> str:
    """Cut between words, unless the words are too long for that."""
    said = " ".join(problem.split())
    kept = shorten(said, REASON_CHARACTERS, placeholder=" …")
    return kept if kept == said or len(kept) > REASON_CHARACTERS // 2 else f"{said[:REASON_CHARACTERS]}…"


async def _attempt(engines: Engines, question: Question, payloads: PayloadStore, chosen: Chosen) -> Attempt:
    seen, picture = await _given(engines, question.message, payloads, chosen.engine)
    task = question.task(chosen, seen, picture)
    decoding = engines.writers[chosen.name].writer.decoding
    return Attempt(chosen, task, decoding.model_copy(update={"form": task.form}), Outcome())


async def _given(
    engines: Engines, message: ImageEncoded, payloads: PayloadStore, engine: Engine | None
) -> tuple[Seen | None, Picture | None]:
    """What the engine was chosen to get, and nothing else."""
    if engine is not None and message.visual is not None and engine.reads is Egress.EMBEDDINGS:
        return await seen_of(message.visual, payloads, engines.shelf), None
    if engine is not None and message.picture is not None and engine.reads is Egress.PIXELS:
        return None, await picture_of(message.picture, payloads)
    return None, None


def total(told: list[Usage]) -> Usage:
    """Costs in another currency than the last one's are left out: they cannot be added."""
    currency = told[-1].currency
    costs = [usage.cost for usage in told if usage.cost is not None and usage.currency == currency]
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in told),
        output_tokens=sum(usage.output_tokens for usage in told),
        cached_tokens=sum(usage.cached_tokens for usage in told),
        cost=sum(costs) if costs else None,
        currency=currency,
    )
