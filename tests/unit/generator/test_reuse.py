"""Equal tasks share one text; whatever differs in a task, a model or its settings parts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from captionstream.contracts.messages import Decoding, Form, Usage
from captionstream.contracts.values import ModelReference
from captionstream.runtime.errors import Unavailable
from captionstream.runtime.once import Once
from services.generator.grammar import Literal, one_of, sequence
from services.generator.prompt import Prompt
from services.generator.reuse import ReusingWriter, kept_bytes
from services.generator.writer import Picture, Piece, Seen, Task, Unusable
from services.generator.writing import Outcome, Patience, PatientWriter
from triton_models.vision_language.visual_tokens import VisualTokens

SENTENCE = ("A red car ", "on a road ", "by the sea.")
TASK = Task(Prompt("Write.", "a car"), sequence("A ", one_of("red ", "blue "), "car on a road by the sea."))


def model(digest: str = "f") -> ModelReference:
    return ModelReference(name="author", version="1", digest=digest * 64)


@dataclass
class Author:
    """Writes the sentence when it may go on; counts how often."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    decoding: Decoding = field(default=Decoding(seed=1, temperature=0.0, max_tokens=50, constrained=False))
    who: ModelReference = field(default_factory=model)
    problem: Exception | None = None
    written: int = 0

    async def model(self, task: Task | None = None) -> ModelReference:
        return self.who

    async def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        self.written += 1
        for text in SENTENCE:
            yield Piece(text, -0.1)
            await self.go.wait()
        if self.problem is not None:
            raise self.problem
        yield Usage(input_tokens=10, output_tokens=9, cost=0.25, currency="EUR")

    async def probe(self) -> None:
        return None


def reusing(author: Author, patience: Patience = Patience()) -> ReusingWriter:  # noqa: B008 -- frozen
    return ReusingWriter(PatientWriter(author, patience), Once("writing", kept_bytes))


@dataclass
class Heard(Outcome):
    """With the partial texts that one got."""

    shown: tuple[str, ...] = ()


async def written(writer: ReusingWriter, task: Task = TASK, left_s: float | None = None) -> Heard:
    outcome = Heard()
    outcome.shown = tuple([text async for text in writer.write(task, outcome, left_s)])
    return outcome


async def test_a_hundred_equal_tasks_are_written_once() -> None:
    """All get the text; one gets it piece by piece and pays for it."""
    author = Author()
    writer = reusing(author)
    asked = [asyncio.create_task(written(writer)) for _ in range(100)]
    await asyncio.sleep(0.05)
    author.go.set()
    outcomes = await asyncio.gather(*asked)
    assert 1 == author.written
    assert {"A red car on a road by the sea."} == {outcome.text for outcome in outcomes}
    assert [0.25] + [0.0] * 99 == [outcome.usage.cost for outcome in outcomes if outcome.usage]
    assert [True] + [False] * 99 == [bool(outcome.shown) for outcome in outcomes]


async def test_a_text_is_kept_with_its_author_and_probabilities() -> None:
    """What is told of it is as true the second time."""
    author = Author()
    author.go.set()
    writer = reusing(author)
    first, second = await written(writer), await written(writer)
    assert 1 == author.written
    assert (first.author, first.pieces, None) == (second.author, second.pieces, second.problem)


OTHERS = {
    "facts": replace(TASK, prompt=Prompt("Write.", "a bus")),
    "instruction": replace(TASK, prompt=Prompt("Speak.", "a car")),
    "grammar": replace(TASK, allowed=one_of(TASK.allowed, Literal("No."))),
    "form": replace(TASK, form=Form.GUIDED),
    "visual tokens": replace(TASK, seen=Seen(model("a"), VisualTokens(np.ones((2, 3), np.float16)))),
    "picture": replace(TASK, picture=Picture("image/jpeg", b"jpeg")),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_another_task_is_another_key(what: str) -> None:
    """Nothing that a text depends on is left out."""
    from services.generator.reuse import key

    author = Author()
    assert key(TASK, author, model()) != key(OTHERS[what], author, model())


@pytest.mark.parametrize("change", ["model", "seed"])
async def test_another_model_or_seed_writes_anew(change: str) -> None:
    """A promoted model is asked, whatever the last one wrote."""
    author = Author()
    author.go.set()
    writer = reusing(author)
    await written(writer)
    if change == "model":
        author.who = model("a")
    else:
        author.decoding = author.decoding.model_copy(update={"seed": 2})
    await written(writer)
    assert 2 == author.written


async def test_a_failure_is_nobody_elses() -> None:
    """One is refused; the other, who waited for the same text, tries for itself."""
    author = Author(problem=Unusable("the model refused"))
    writer = reusing(author)
    asked = [asyncio.create_task(written(writer)) for _ in range(2)]
    await asyncio.sleep(0.05)
    author.go.set()
    assert ["the model refused"] * 2 == [outcome.problem for outcome in await asyncio.gather(*asked)]
    assert 2 == author.written
    author.problem = None
    assert (await written(writer)).problem is None


async def test_one_who_leaves_does_not_stop_the_other() -> None:
    """Also when the one who leaves was first."""
    author = Author()
    writer = reusing(author)
    first = asyncio.create_task(written(writer))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(written(writer))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    author.go.set()
    assert (await second).problem is None
    assert 1 == author.written


async def test_one_without_time_does_not_wait_for_another() -> None:
    """Its deadline is its own."""
    author = Author()
    writer = reusing(author)
    first = asyncio.create_task(written(writer))
    await asyncio.sleep(0.01)
    assert "too little time left" == (await written(writer, left_s=0.5)).problem
    author.go.set()
    assert (await first).problem is None


async def test_an_absent_required_writer_stays_unavailable() -> None:
    """The stage waits for it, as it does without a memory."""
    author = Author(problem=Unavailable("language model"))
    author.go.set()
    with pytest.raises(Unavailable):
        await written(reusing(author, Patience(budget_s=0.2, required=True)))
