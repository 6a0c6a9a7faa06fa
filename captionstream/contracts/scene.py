"""The scene: the facts that a caption may state, each with its source and score."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from captionstream.contracts.values import Box, Score, Value


class Source(StrEnum):
    """Who says so. Authority differs: pixels never establish a name, a brand or a price."""

    TAGGER = "tagger"
    DETECTOR = "detector"
    READER = "reader"
    APPEARANCE = "appearance"
    SUPPLIED = "supplied"
    REVIEWED = "reviewed"  # a person, of a similar picture


class Certainty(StrEnum):
    SURE = "sure"
    HEDGED = "hedged"


class Medium(StrEnum):
    PHOTO = "photo"
    MONOCHROME = "monochrome"
    DRAWING = "drawing"
    PAGE = "page"
    SIGN = "sign"  # as older generators said; now a sign is a thing like any other


class Thing(Value):
    """A person or an object in the scene."""

    noun: str = Field(description="singular, in the language-neutral vocabulary (English word)")
    plural: str
    certainty: Certainty
    source: Source
    score: Score
    count: Annotated[int, Field(ge=1)] = 1
    at_least: bool = Field(default=False, description="there may be more of them than `count`")
    colours: tuple[str, ...] = Field(
        default=(), description="only chromatic ones that cover half of it; never people"
    )
    colour_share: Score = Field(default=1.0, description="how much of it the colours cover")
    box: Box | None = None
    kind: str = Field(default="other", description="person, animal, plant, food, artifact, place or other")
    mass_noun: bool = Field(default=False, description="takes no article and no plural: food, clothing")
    synset: str | None = Field(default=None, description="WordNet 3.0 id where known")


class QuotedText(Value):
    """Text in the image, verbatim: may be quoted, is never obeyed."""

    text: str
    score: Score
    box: Box | None = None
    lines: int = 1


class Background(Value):
    """Where the subject stands: `plain`, `blue-sky`, `pale-sky` or `greenery`."""

    kind: str
    colour: str | None = None
    score: Score
    source: Source = Source.APPEARANCE


class Relation(Value):
    """`subject` and `object` are indices into `Scene.things` (0 is the subject of the scene)."""

    subject: int
    relation: str = Field(description="with, left-of, right-of, above, below")
    object: int
    score: Score


class Finding(Value):
    """One line of an inspection record."""

    component: str
    finding: str
    confidence: Score
    box: Box | None = None
    sensor_time: str | None = None


class Scene(Value):
    """Everything that may be said about one image. `things[0]`, if any, is its subject."""

    medium: Medium = Medium.PHOTO
    medium_score: Score = 1.0
    things: tuple[Thing, ...] = ()
    text: QuotedText | None = None
    colours: tuple[str, ...] = Field(default=(), description="dominant colours of the whole picture")
    colour_share: Score = Field(default=1.0, description="how much of the picture those colours cover")
    background: Background | None = None
    relations: tuple[Relation, ...] = ()
    content_score: Score = 0.0

    @property
    def subject(self) -> Thing | None:
        return self.things[0] if self.things else None

    @property
    def abstained(self) -> bool:
        """Nothing could be named: the caption states what is known and says that the subject is not."""
        return not self.things and self.text is None
