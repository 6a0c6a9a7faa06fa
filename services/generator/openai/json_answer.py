"""The sentence inside an answer in JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pydantic_core import from_json

from captionstream.contracts.messages import Usage
from services.generator.judge import guide_for
from services.generator.schema import judged
from services.generator.writer import Piece, Task, Unusable


async def sentence(
    task: Task, answer: AsyncGenerator[Piece | Usage, None]
) -> AsyncGenerator[Piece | Usage, None]:
    """As it comes in strict form; in guided form at the end, where its words' confidences stand.

    Raises Unusable unless the whole answer is what was asked for. What it cost is told before that.
    """
    heard, shown, counts = "", "", list[Usage]()
    async with aclosing(answer):
        async for part in answer:
            if isinstance(part, Usage):
                counts.append(part)
                continue
            heard += part.text
            said = begun(heard) if guide_for(task) is None else ""
            if len(said) > len(shown) and said.startswith(shown):
                yield Piece(said[len(shown) :])
                shown = said
    try:
        for piece in ending(task, heard, shown):
            yield piece
    except Unusable:
        for count in counts:
            yield count
        raise
    for count in counts:
        yield count


def ending(task: Task, heard: str, shown: str) -> tuple[Piece, ...]:
    """What is left to say once everything was heard. Raises Unusable."""
    text, pieces = judged(task, heard)
    if not text.startswith(shown):
        raise Unusable("the answer is not what was asked for", text)
    left = text[len(shown) :]
    return pieces if not shown else (Piece(left),) if left else ()


def begun(heard: str) -> str:
    """The sentence of an answer that is not complete, as far as it goes."""
    try:
        told = from_json(heard, allow_partial="trailing-strings")
    except ValueError:
        return ""
    said = told.get("sentence", "") if isinstance(told, dict) else ""
    return said.strip() if isinstance(said, str) else ""
