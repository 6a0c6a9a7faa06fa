"""The writer's double: writes one of the allowed sentences, chosen by its seed, in pieces."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Decoding
from captionstream.contracts.values import ModelReference
from services.generator.grammar import gbnf, spell
from services.generator.writer import Piece, Task

NAME = "scripted"


@dataclass(frozen=True, slots=True)
class ScriptedWriter:
    """Equal tasks and seeds give equal sentences. `piece` is how many characters come at a time."""

    seed: int = 0
    piece: int = 4

    @property
    def decoding(self) -> Decoding:
        return Decoding(seed=self.seed, temperature=0.0, max_tokens=0, constrained=True)

    async def model(self, task: Task | None = None) -> ModelReference:
        return ModelReference(name=NAME, version="1", digest=sha256_hex(NAME.encode()))

    async def write(self, task: Task) -> AsyncGenerator[Piece, None]:
        chance = random.Random(f"{self.seed}:{gbnf(task.allowed)}")
        text = spell(task.allowed, chance.randrange)
        for start in range(0, len(text), self.piece):
            yield Piece(text[start : start + self.piece])

    async def probe(self) -> None:
        return None
