"""What is asked in the proof: conversations about drawn pictures of mixed sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from triton_models.vision_language.language import Message

SIZES = ((96, 96), (150, 60), (110, 180), (60, 40))  # width, height


@dataclass(frozen=True)
class Question:
    """A conversation about one picture."""

    picture: Image.Image
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Case:
    """Questions that are answered as one batch."""

    name: str
    questions: tuple[Question, ...]


def pictures(seed: int) -> list[Image.Image]:
    """Of mixed sizes: soft colours with coarse and fine grain, so that every scale carries something."""
    random = np.random.default_rng(seed)
    return [_picture(random, width, height) for width, height in SIZES]


def _picture(random: np.random.Generator, width: int, height: int) -> Image.Image:
    coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8)).resize((width, height))
    fine = random.integers(0, 256, (height, width, 3), np.uint8)
    return Image.blend(coarse, Image.fromarray(fine), 0.3)


def cases(seen: Sequence[Image.Image]) -> tuple[Case, ...]:
    asked = [_asked("Describe this picture."), _asked("What colour is it?"), _talked("And what lies on it?")]
    mixed = [Question(picture, asked[number % 3]) for number, picture in enumerate(seen)]
    return (
        Case("1", (mixed[0],)),
        Case(f"{len(mixed)}, mixed sizes", tuple(mixed)),
        Case("3 prompts, 1 picture", tuple(Question(seen[2], messages) for messages in asked)),
    )


def _said(role: str, *parts: Message) -> Message:
    return {"role": role, "content": list(parts)}


def _text(text: str) -> Message:
    return {"type": "text", "text": text}


def _asked(text: str) -> tuple[Message, ...]:
    return (_said("user", {"type": "image"}, _text(text)),)


def _talked(text: str) -> tuple[Message, ...]:
    return (*_asked("What is it?"), _said("assistant", _text("A table.")), _said("user", _text(text)))
