"""The seam to language models: given facts, and how far they bind, somebody writes a sentence.

Unavailable (runtime)   nobody is there; worth another try soon
Unusable                somebody wrote, or answered, something that no try will make a sentence
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from captionstream.contracts.messages import Decoding, Form, Usage
from captionstream.contracts.values import ModelReference
from captionstream.runtime.errors import Unavailable, Unprocessable
from services.generator.grammar import Node
from services.generator.guided.guide import Guide
from services.generator.prompt import Prompt
from triton_models.vision_language.visual_tokens import VisualTokens


class Unusable(Exception):
    """What came is no sentence. `reason` is for the record, `text` is what came of it."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text


class Seen(NamedTuple):
    """What the eye of a split model made of the image, and which split model that is."""

    model: ModelReference
    tokens: VisualTokens


class Picture(NamedTuple):
    """The image as a file, for engines that take pixels."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Task:
    """A sentence to write.

    `prompt` are the facts in words. `allowed` is every text that the scene supports: it binds a STRICT text
    letter by letter, and a GUIDED one through `guide`, which says of each word whether it may be said. `seen`
    and `picture` are there where the engine was chosen to get them.
    """

    prompt: Prompt
    allowed: Node
    form: Form = Form.STRICT
    guide: Guide | None = None
    seen: Seen | None = None
    picture: Picture | None = None


class Piece(NamedTuple):
    """Some more text. `logprob` is the natural logarithm of the probability that the model itself gave it,
    grammar or not; None where the engine does not tell."""

    text: str
    logprob: float | None = None


class Writer(Protocol):
    """Writes one sentence. Holds no text between two tasks."""

    @property
    def decoding(self) -> Decoding: ...

    async def model(self, task: Task | None = None) -> ModelReference:
        """Who writes, or would write this task. Raises Unavailable."""
        ...

    def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        """The sentence in pieces, as they come, and what it cost at the end, where that is known.

        Raises Unavailable or Unusable. Closing the generator ends the writing.
        """
        ...

    async def probe(self) -> None:
        """Writes one word for real. Raises Unavailable."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A writer with several engines for split models. It tells which of them writes, and why that one."""

    def why(self, seen: Seen) -> str:
        """Raises Unprocessable or Unavailable where the model is not there any more."""
        ...


def why(writer: Writer, task: Task) -> str:
    """By which engine of the writer this task is written; empty where that is not known."""
    if task.seen is None or not isinstance(writer, Explains):
        return ""
    try:
        return writer.why(task.seen)
    except (Unprocessable, Unavailable):
        return ""
