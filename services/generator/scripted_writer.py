"""The writer's double: writes one of the allowed sentences, chosen by its seed, in pieces."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Decoding, Egress, Usage
from captionstream.contracts.values import ModelReference
from services.generator.grammar import gbnf, spell
from services.generator.writer import Piece, Task, Unusable

NAME = "scripted"


@dataclass(frozen=True, slots=True)
class ScriptedWriter:
    """Equal tasks and seeds give equal sentences. `piece` is how many characters come at a time.

    Stands for a text-only engine, or for one that reads visual tokens or a picture: then it writes nothing without.
    It counts words as its tokens.
    """

    seed: int = 0
    piece: int = 4
    reads: Egress = Egress.TEXT

    @property
    def decoding(self) -> Decoding:
        return Decoding(seed=self.seed, temperature=0.0, max_tokens=0, constrained=True)

    async def model(self, task: Task | None = None) -> ModelReference:
        if self.reads is Egress.EMBEDDINGS and task is not None and task.seen is not None:
            return task.seen.model
        return ModelReference(name=NAME, version="1", digest=sha256_hex(NAME.encode()))

    async def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        """Raises Unusable where the task lacks what this engine reads."""
        self._check(task)
        chance = random.Random(f"{self.seed}:{gbnf(task.allowed)}")
        text = spell(task.allowed, chance.randrange)
        for start in range(0, len(text), self.piece):
            yield Piece(text[start : start + self.piece])
        asked = f"{task.prompt.system} {task.prompt.user}"
        yield Usage(input_tokens=len(asked.split()), output_tokens=len(text.split()))

    def _check(self, task: Task) -> None:
        if self.reads is Egress.EMBEDDINGS and task.seen is None:
            raise Unusable("there are no visual tokens to read")
        if self.reads is Egress.PIXELS and task.picture is None:
            raise Unusable("there is no picture to look at")

    async def probe(self) -> None:
        return None
