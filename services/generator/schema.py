"""The scene as a JSON schema, for engines that keep to a schema but not to a grammar; and the check afterwards.

A strict task with few wordings lists them all, so an engine that keeps to the schema can say nothing else. Any other
answer is free, and is taken only if the judge takes it. The confidences that a guided answer states are what the
model says of itself, not what it computed: they stand for probabilities because there is nothing better.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.generator.grammar import sentences, wordings
from services.generator.guided.guide import Guide
from services.generator.judge import guide_for, reading
from services.generator.writer import Piece, Task, Unusable

LISTED, LISTED_CHARACTERS = 200, 7500  # more is refused by, or costs too much with, the usual engines
PIECE = re.compile(r"\s*[^\s,.]+|\s+|[,.]")
WORD = re.compile(r"[^\s,.]+")


class Word(BaseModel):
    model_config = ConfigDict(strict=True)

    word: str
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Answer(BaseModel):
    """Other fields are ignored."""

    model_config = ConfigDict(strict=True)

    sentence: str
    words: list[Word] = []


def json_schema(task: Task) -> dict[str, Any]:
    """What an answer to the task looks like; no field is optional, and there are no others."""
    guide = guide_for(task)
    return _object(sentence=_sentence(task)) if guide is None else _object(**_guided(guide))


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _sentence(task: Task) -> dict[str, Any]:
    told = {"type": "string", "description": "One sentence of the given facts and nothing else."}
    if wordings(task.allowed) > LISTED:
        return told
    texts = list(dict.fromkeys(sentences(task.allowed)))
    return {**told, "enum": texts} if sum(map(len, texts)) <= LISTED_CHARACTERS else told


def _guided(guide: Guide) -> dict[str, Any]:
    """The scene's own wordings are listed for the model; the judge does not rely on its reading them."""
    said = "; ".join(sorted(guide.supported))
    word = _object(
        word={"type": "string"},
        confidence={"type": "number", "minimum": 0, "maximum": 1},
    )
    return {
        "sentence": {
            "type": "string",
            "description": (
                f"One sentence of at most {guide.room} characters, of letters, spaces, commas and one full stop. "
                f"Say these only as they stand here: {said or 'nothing'}."
            ),
        },
        "words": {
            "type": "array",
            "description": "Each other noun, verb and adjective of it, with how sure the picture makes you of it.",
            "items": word,
        },
    }


def judged(task: Task, answer: str | bytes) -> tuple[str, tuple[Piece, ...]]:
    """The sentence of an answer in JSON, and its pieces with the confidences as their probabilities.

    Raises Unusable if the answer is not what the schema says, or its sentence not what the task allows.
    """
    try:
        told = Answer.model_validate_json(answer)
    except ValidationError:
        raise Unusable("the answer is not what was asked for") from None
    text = told.sentence.strip()
    pieces = tuple(_pieces(text, _logprobs(told.words)))
    if reading(task, pieces) is None:
        raise Unusable("says what the scene does not support", text)
    return text, pieces


def _logprobs(words: list[Word]) -> dict[str, float | None]:
    """Of each word that a confidence was stated for, the least one."""
    least: dict[str, float] = {}
    for told in words:
        for word in WORD.findall(told.word.lower()):
            least[word] = min(told.confidence, least.get(word, 1.0))
    return {word: math.log(confidence) if confidence else None for word, confidence in least.items()}


def _pieces(text: str, logprobs: dict[str, float | None]) -> Iterator[Piece]:
    for piece in PIECE.findall(text):
        yield Piece(piece, logprobs.get(piece.strip().lower()))
