"""What every writer must do. One suite; doubles, servers and engines in this process all pass it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from captionstream.contracts.messages import Usage
from captionstream.runtime.errors import Unavailable
from services.generator.grammar import accepts, may_continue, one_of, sequence
from services.generator.prompt import Prompt
from services.generator.writer import Piece, Task, Writer
from services.generator.writing import Outcome, Patience, PatientWriter

BUDGET_S = 60.0


def task_of(noun: str) -> Task:
    """A choice of sentences, one of which stands in the prompt, so that a double can read it there."""
    node = sequence("A ", one_of("", "red ", "blue "), noun, one_of("", " on grass"), ".")
    return Task(Prompt("Say again what you are told.", f"A red {noun} on grass."), node)


async def everything(writer: Writer, task: Task) -> list[Piece | Usage]:
    async with asyncio.timeout(BUDGET_S):
        return [written async for written in writer.write(task)]


def text_of(written: list[Piece | Usage]) -> str:
    return "".join(piece.text for piece in written if isinstance(piece, Piece))


class WriterBehaviour:
    """Mixin: subclasses give a `writer` fixture, and say whether their writer `counts` its tokens.

    Who needs more than words in a task, such as visual tokens, overrides `task` and `other`.
    """

    counts = False

    @pytest.fixture
    def task(self) -> Task:
        return task_of("car")

    @pytest.fixture
    def other(self) -> Task:
        return task_of("dog")

    async def test_it_writes_an_allowed_sentence(self, writer: Writer, task: Task) -> None:
        """The pieces join to a sentence of the task, and each of them goes on with the beginning of one."""
        text = ""
        for written in await everything(writer, task):
            if isinstance(written, Piece):
                text += written.text
                assert may_continue(task.allowed, text.strip())
        assert accepts(task.allowed, text.strip())

    async def test_pieces_hold_text_and_probabilities(self, writer: Writer, task: Task) -> None:
        """No piece is empty, and the logarithm of a probability is never above zero."""
        pieces = [written for written in await everything(writer, task) if isinstance(written, Piece)]
        assert all(piece.text for piece in pieces)
        assert all(piece.logprob is None or piece.logprob <= 0 for piece in pieces)

    async def test_it_tells_at_the_end_what_it_counted(self, writer: Writer, task: Task) -> None:
        """Once and last, where the engine counts; else not at all."""
        written = await everything(writer, task)
        usages = [count for count in written if isinstance(count, Usage)]
        assert len(usages) == self.counts
        assert usages == written[len(written) - len(usages) :]
        assert all(count.input_tokens > 0 and count.output_tokens > 0 for count in usages)

    async def test_the_same_task_gives_the_same_sentence(self, writer: Writer, task: Task) -> None:
        """An audit finds what was said: the seed and the temperature are part of the writer."""
        first = text_of(await everything(writer, task))
        assert first == text_of(await everything(writer, task))

    async def test_two_tasks_at_once_keep_apart(self, writer: Writer, task: Task, other: Task) -> None:
        """Each asker gets a sentence of its own task."""
        one, two = await asyncio.gather(everything(writer, task), everything(writer, other))
        assert accepts(task.allowed, text_of(one).strip())
        assert accepts(other.allowed, text_of(two).strip())
        assert text_of(one) != text_of(two)

    async def test_closing_ends_the_writing(self, writer: Writer, task: Task, other: Task) -> None:
        """Who has heard enough closes: nothing more comes, and the writer is free for the next one."""
        for _ in range(3):
            async with aclosing(writer.write(task)) as pieces:
                await anext(pieces)
            with pytest.raises(StopAsyncIteration):
                await anext(pieces)
        assert accepts(other.allowed, text_of(await everything(writer, other)).strip())

    async def test_it_says_who_writes(self, writer: Writer, task: Task) -> None:
        """A name and a digest, the same before and after, and the settings that it writes under."""
        before = await writer.model(task)
        await everything(writer, task)
        assert before == await writer.model(task)
        assert before.name
        assert 0 <= writer.decoding.temperature <= 2

    async def test_its_probe_writes(self, writer: Writer) -> None:
        """A writer that can write says so."""
        async with asyncio.timeout(BUDGET_S):
            await writer.probe()

    async def test_a_patient_asker_takes_its_sentence(self, writer: Writer, task: Task) -> None:
        """Judged as the service judges it: accepted, signed, and counted where it counts."""
        outcome = Outcome()
        async for shown in PatientWriter(writer, Patience(budget_s=BUDGET_S)).write(task, outcome):
            assert may_continue(task.allowed, shown)
        assert outcome.problem is None
        assert accepts(task.allowed, outcome.text)
        assert await writer.model(task) == outcome.author
        assert self.counts == (outcome.usage is not None)


class RemoteWriterBehaviour(WriterBehaviour):
    """Mixin for writers whose engine can be away: subclasses also give `away`, a writer without one."""

    async def test_an_absent_engine_is_unavailable(self, away: Writer, task: Task) -> None:
        """Not wrong, not empty: worth another try. The probe says the same."""
        for asking in (everything(away, task), away.probe()):
            with pytest.raises(Unavailable):
                await asking

    async def test_a_patient_asker_does_without_it(self, away: Writer, task: Task) -> None:
        """There is no text, and a reason for the record."""
        outcome = Outcome()
        shown = [text async for text in PatientWriter(away, Patience(budget_s=0.3)).write(task, outcome)]
        assert ([], "") == (shown, outcome.text)
        assert (outcome.problem or "").startswith("unavailable")
