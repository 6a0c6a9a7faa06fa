"""What was written once is not written again: equal tasks for the same model share one text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields, replace

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Usage
from captionstream.contracts.values import ModelReference
from captionstream.runtime.errors import Unavailable
from captionstream.runtime.once import Once
from services.generator.grammar import gbnf
from services.generator.writer import Seen, Task, Writer
from services.generator.writing import Outcome, PatientWriter

Heard = asyncio.Queue[str | None]
"""The texts so far; None when there are no more."""

LATE_S = 0.5  # a writer that takes too long says so itself


class NotWritten(Exception):
    """There is no text to share. `outcome` says why, `heard` who asked for it."""

    def __init__(self, outcome: Outcome, heard: Heard) -> None:
        super().__init__(outcome.problem)
        self.outcome = outcome
        self.heard = heard


@dataclass(frozen=True)
class ReusingWriter:
    """A patient writer whose accepted texts are kept.

    Who asks while the same text is being written gets it when it is finished, without the partial texts. A text
    that was not accepted is nobody else's: others try for themselves.
    """

    patient: PatientWriter
    once: Once[Outcome]

    @property
    def writer(self) -> Writer:
        return self.patient.writer

    async def write(self, task: Task, outcome: Outcome, left_s: float | None = None) -> AsyncIterator[str]:
        """As PatientWriter.write."""
        heard: Heard = asyncio.Queue()
        finding = asyncio.ensure_future(self._found(task, left_s, heard))
        try:
            async for text in until(finding, heard):
                yield text
            take_over(outcome, await finding)
        finally:
            finding.cancel()

    async def _found(self, task: Task, left_s: float | None, heard: Heard) -> Outcome:
        author = await self._author(task, left_s)
        if author is None:
            return await self._written(task, left_s, heard)
        try:
            return await self._shared(key(task, self.writer, author), task, left_s, heard)
        except NotWritten as without:
            if without.heard is heard:
                return without.outcome
            return await self._written(task, left_s, heard)

    async def _author(self, task: Task, left_s: float | None) -> ModelReference | None:
        """Who would write now; None where that is not known, so that nothing can be shared."""
        budget = self.patient.budget(left_s)
        if budget <= 0:
            return None
        try:
            async with asyncio.timeout(budget):
                return await self.writer.model(task)
        except (Unavailable, TimeoutError):
            return None

    async def _shared(self, key: str, task: Task, left_s: float | None, heard: Heard) -> Outcome:
        """A text that is kept, that somebody is writing, or one's own. Raises NotWritten."""

        async def write() -> Outcome:
            written = await self._written(task, left_s, heard)
            if written.problem is not None:
                raise NotWritten(written, heard)
            return written

        try:
            async with asyncio.timeout(self.patient.budget(left_s) + LATE_S):
                got = await self.once.get(key, write)
        except TimeoutError:
            return Outcome(problem="took too long for somebody else")
        return reused(got.value) if got.shared else got.value

    async def _written(self, task: Task, left_s: float | None, heard: Heard) -> Outcome:
        outcome = Outcome()
        async for text in self.patient.write(task, outcome, left_s):
            heard.put_nowait(text)
        return outcome


async def until(finding: asyncio.Future[Outcome], heard: Heard) -> AsyncIterator[str]:
    """What is heard until there is an outcome."""
    finding.add_done_callback(lambda _: heard.put_nowait(None))
    while (text := await heard.get()) is not None:
        yield text


def key(task: Task, writer: Writer, author: ModelReference) -> str:
    """What a text depends on: the facts, what binds it, what was seen, who writes and how."""
    parts = [
        task.prompt.system,
        task.prompt.user,
        gbnf(task.allowed),
        task.form,
        repr(task.guide),  # of this process: nothing is kept longer
        "" if task.seen is None else seen_digest(task.seen),
        "" if task.picture is None else sha256_hex(task.picture.data),
        author.model_dump_json(),
        writer.decoding.model_dump_json(),
    ]
    return sha256_hex("\0".join(parts).encode())


def seen_digest(seen: Seen) -> str:
    tokens = seen.tokens
    return f"{seen.model.digest} {tokens.grid} {tokens.values.dtype} {sha256_hex(tokens.values.tobytes())}"


def reused(outcome: Outcome) -> Outcome:
    """The same text; this time it cost nothing."""
    before = outcome.usage
    if before is None:
        return outcome
    cost = None if before.cost is None else 0.0
    return replace(outcome, usage=Usage(input_tokens=0, output_tokens=0, cost=cost, currency=before.currency))


def kept_bytes(outcome: Outcome) -> int:
    """About as much as an outcome takes in memory."""
    return 500 + 2 * len(outcome.text) + 150 * len(outcome.pieces)


def take_over(outcome: Outcome, found: Outcome) -> None:
    for field in fields(found):
        setattr(outcome, field.name, getattr(found, field.name))
