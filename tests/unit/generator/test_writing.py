"""Patience with a writer: who was away rests, and nobody else does."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import numpy as np

from captionstream.contracts.messages import Decoding, Usage
from captionstream.contracts.values import ModelReference
from captionstream.runtime.errors import Unavailable
from services.generator.grammar import Literal
from services.generator.prompt import Prompt
from services.generator.writer import Piece, Seen, Task
from services.generator.writing import Outcome, Patience, PatientWriter
from triton_models.vision_language.visual_tokens import VisualTokens

HERE, AWAY = "a" * 64, "b" * 64
GREEDY = Decoding(seed=1, temperature=0.0, max_tokens=9, constrained=True)


@dataclass
class OneIsAway:
    """Writes for every split model but one; `asked` are the digests in turn."""

    decoding: Decoding = GREEDY
    asked: list[str] = field(default_factory=list)

    async def model(self, task: Task | None = None) -> ModelReference:
        assert task is not None and task.seen is not None
        self.asked.append(task.seen.model.digest)
        if task.seen.model.digest == AWAY:
            raise Unavailable("engine", "is not set up for it")
        return task.seen.model

    async def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        yield Piece("A dog.")

    async def probe(self) -> None:
        return None


async def written(writer: PatientWriter, digest: str) -> Outcome:
    model = ModelReference(name="tiny", version="1", digest=digest)
    seen = Seen(model, VisualTokens(np.zeros((1, 1), np.float32)))
    outcome = Outcome()
    async for _ in writer.write(Task(Prompt("", ""), Literal("A dog."), seen=seen), outcome):
        pass
    return outcome


async def test_a_model_that_is_away_keeps_no_other_from_writing() -> None:
    """A canary that nothing here writes for costs production no caption; it is asked again after its rest only."""
    author = OneIsAway()
    writer = PatientWriter(author, Patience(tries=1))
    told = [(await written(writer, digest)).problem for digest in (AWAY, HERE, AWAY, HERE)]
    assert [
        "unavailable: engine: is not set up for it", None, "unavailable: was away a moment ago", None,
    ] == told  # fmt: skip
    assert [AWAY, HERE, HERE] == author.asked
