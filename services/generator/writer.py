"""The seam to language models: given facts and a grammar, somebody writes a sentence.

Unavailable (runtime)   nobody is there; worth another try soon
Unusable                somebody wrote, or answered, something that no try will make a sentence
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from captionstream.contracts.messages import Decoding
from captionstream.contracts.values import ModelReference
from services.generator.grammar import Node
from services.generator.prompt import Prompt


class Unusable(Exception):
    """What came is no sentence. `reason` is for the record, `text` is what came of it."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text


@dataclass(frozen=True, slots=True)
class Task:
    """A sentence to write: the facts as a prompt, and every text that will be taken."""

    prompt: Prompt
    allowed: Node


class Writer(Protocol):
    """Writes one sentence. Holds no text between two tasks."""

    @property
    def decoding(self) -> Decoding: ...

    async def model(self) -> ModelReference:
        """Who writes. Raises Unavailable."""
        ...

    def write(self, task: Task) -> AsyncGenerator[str, None]:
        """The sentence in pieces, as they come. Raises Unavailable or Unusable."""
        ...

    async def probe(self) -> None:
        """Writes one word for real. Raises Unavailable."""
        ...
