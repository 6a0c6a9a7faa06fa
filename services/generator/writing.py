"""Asking a writer with limited patience, and believing only what the judge of its task takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

import stamina

from captionstream.contracts.messages import Usage
from captionstream.contracts.values import ModelReference
from captionstream.runtime.errors import Unavailable
from services.generator.judge import Judge
from services.generator.pacing import whole_words
from services.generator.writer import Piece, Task, Unusable, Writer

KEPT_CHARACTERS = 500  # of a text that was rejected
LONGEST_REST_S = 60.0  # whatever the writer asked for
Written = Piece | Usage


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a sentence may take. `required` waits for the writer instead of doing without."""

    budget_s: float = 5.0
    reserve_s: float = 1.0  # of a deadline, kept for what comes after
    rest_s: float = 5.0  # after a writer was away, the next events do without it for so long
    required: bool = False
    tries: int | None = None  # of one event while the writer is away; as many as the budget allows


@dataclass(slots=True)
class Outcome:
    """What became of a task: `text` was accepted, unless there is a `problem` with it.

    `author` is who wrote, and `usage` what it cost, as far as that became known; `pieces` are the text as it came.
    """

    text: str = ""
    problem: str | None = None
    author: ModelReference | None = None
    usage: Usage | None = None
    pieces: tuple[Piece, ...] = ()


@dataclass
class PatientWriter:
    """A writer whose absence costs at most the budget of one event, not of each.

    One split model may be away and another be there, so each rests by itself.
    """

    writer: Writer
    patience: Patience = Patience()
    _resting_until: dict[str, float] = field(default_factory=dict)
    """By `_model_of` the task, on the loop's clock."""

    async def write(self, task: Task, outcome: Outcome, left_s: float | None = None) -> AsyncIterator[str]:
        """The whole words so far, after every piece: the start of a sentence of the task. A second try begins anew.

        The end of it stands in `outcome`. `left_s` is the time to the event's deadline. Raises Unavailable
        only where a writer is required.
        """
        budget = self.budget(left_s)
        if budget <= 0:
            outcome.problem = "too little time left"
        elif self._resting(task):
            outcome.problem = "unavailable: was away a moment ago"
        else:
            async for text in self._patiently(task, outcome, budget):
                yield text

    def budget(self, left_s: float | None) -> float:
        """Seconds that a sentence may take; none where it is too late for one."""
        budget = self.patience.budget_s
        return budget if left_s is None else min(budget, left_s - self.patience.reserve_s)

    def _resting(self, task: Task) -> bool:
        until = self._resting_until.get(_model_of(task), 0.0)
        return not self.patience.required and asyncio.get_running_loop().time() < until

    async def _patiently(self, task: Task, outcome: Outcome, budget: float) -> AsyncIterator[str]:
        ends_at = asyncio.get_running_loop().time() + budget
        tries = stamina.retry_context(
            on=lambda problem: _worth_another_try(problem, ends_at),
            attempts=self.patience.tries,
            timeout=budget,
            wait_initial=0.05,
            wait_jitter=0.1,
            wait_max=1.0,
        )
        try:
            async for attempt in tries:
                with attempt:
                    async for text in self._noted(task, outcome, ends_at):
                        yield text
        except Unusable as unusable:
            outcome.text, outcome.problem = unusable.text[:KEPT_CHARACTERS], unusable.reason
        except (Unavailable, TimeoutError) as away:
            self._gave_up(task, outcome, away, budget)

    async def _noted(self, task: Task, outcome: Outcome, ends_at: float) -> AsyncIterator[str]:
        """One try, with the reason of its failure kept for the case that there is no time for another."""
        try:
            async for text in self._once(task, outcome, ends_at):
                yield text
            outcome.problem = None
        except Unavailable as away:
            outcome.problem = f"unavailable: {away}"
            raise

    async def _once(self, task: Task, outcome: Outcome, ends_at: float) -> AsyncIterator[str]:
        async with asyncio.timeout_at(ends_at):
            outcome.author = await self.writer.model(task)
        judge = Judge(task)
        outcome.pieces = ()
        async with aclosing(self.writer.write(task)) as pieces:
            async for piece in _timely(pieces, ends_at):
                if isinstance(piece, Usage):
                    outcome.usage = piece
                    continue
                outcome.pieces += (piece,)
                if not judge.take(piece):
                    raise Unusable("says what the scene does not support", judge.text)
                yield whole_words(judge.text)
        outcome.text = judge.text.rstrip()
        if judge.reading() is None:
            raise Unusable("breaks off", judge.text)

    def _gave_up(self, task: Task, outcome: Outcome, away: Unavailable | TimeoutError, budget: float) -> None:
        if self.patience.required:
            raise (
                away if isinstance(away, Unavailable) else Unavailable("language model", f"over {budget:g} s")
            )
        asked = away.retry_after_s if isinstance(away, Unavailable) else None
        rest = min(LONGEST_REST_S, max(self.patience.rest_s, asked or 0.0))
        self._resting_until[_model_of(task)] = asyncio.get_running_loop().time() + rest
        outcome.problem = outcome.problem or f"took over {budget:.1f} s"


def _model_of(task: Task) -> str:
    """The split model that must write the task; empty where any model of the writer may."""
    return task.seen.model.digest if task.seen else ""


async def _timely(pieces: AsyncIterator[Written], ends_at: float) -> AsyncIterator[Written]:
    """The pieces, as long as they come before `ends_at` (the loop's clock). Raises TimeoutError."""
    while True:
        try:
            async with asyncio.timeout_at(ends_at):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        yield piece


def _worth_another_try(problem: Exception, ends_at: float) -> bool | float:
    """An absent writer is asked again after the time that it named, if that leaves any."""
    if not isinstance(problem, Unavailable):
        return False
    if problem.retry_after_s is None:
        return True
    left = ends_at - asyncio.get_running_loop().time()
    return problem.retry_after_s if problem.retry_after_s < left else False
