"""From reviewed pictures to the rows of a memory: what the command `reviewed build` does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from captionstream.cli.sources import LARGEST_FILE, reason
from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.values import Value
from captionstream.runtime.errors import Unprocessable
from services.encoder.detections import objects
from services.encoder.evidence import Looking, prepared
from services.encoder.settings import EncoderSettings, Engine
from services.encoder.vision import Vision
from services.encoder.wiring import open_onnx
from services.generator.reviewed import Kind, NotACommonNoun, Reviewed, as_file, remembered
from services.generator.vocabulary import Vocabulary
from services.ingest.decode import Decoder
from services.ingest.settings import IngestSettings
from services.ingest.wiring import decoder_pool

PERSON, PERSON_SEEN = "person", 0.4  # score from which somebody may be in the picture: rather once too often


class Line(Value):
    """One line of a file of reviews. `picture` is a file, named from where the file of reviews is."""

    picture: Annotated[str, Field(min_length=1)]
    subject: str
    plural: str = ""
    kind: Kind = "other"
    synset: str | None = None

    @property
    def shows(self) -> Reviewed:
        return Reviewed(noun=self.subject, plural=self.plural, kind=self.kind, synset=self.synset)


class BadLine(Exception):
    """A line that is not remembered, and why."""


@dataclass(frozen=True)
class Eyes:
    """What turns a file into features: those of the embedded pipeline."""

    decoder: Decoder
    vision: Vision
    looking: Looking

    async def features(self, data: bytes, of_people: bool) -> npt.NDArray[np.float32]:
        """[1280], as the encoder would write them.

        Raises BadLine where somebody is seen, unless the noun is `of_people`; Unprocessable for what is no picture.
        """
        form = await self.decoder.decode(data)
        pixels = np.frombuffer(form.pixels, np.uint8).reshape(form.height, form.width, 3)
        inputs = prepared(pixels, self.looking)
        found = objects(*await self.vision.detect(inputs.detector), inputs.placed)
        if not of_people and any(one.label == PERSON and one.score >= PERSON_SEEN for one in found):
            raise BadLine("it shows a person: only words for people in general are remembered of it")
        _, embedding = await self.vision.classify(inputs.tagger)
        return np.asarray(embedding.mean(0))


@asynccontextmanager
async def open_eyes() -> AsyncIterator[Eyes]:
    settings = EncoderSettings(engine=Engine.ONNX)
    async with (
        aclosing(decoder_pool(IngestSettings(decoders=1))) as decoder,
        open_onnx(settings) as vision,
    ):
        yield Eyes(decoder, vision, settings.looking)


@dataclass
class Building:
    """A memory in the making; pictures are named from `folder`."""

    folder: Path
    eyes: Eyes
    vocabulary: Vocabulary
    rows: list[Reviewed] = field(default_factory=list)
    embeddings: list[npt.NDArray[np.float32]] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    """Digest of a picture → the number of the line that told what it shows."""

    async def add(self, number: int, line: bytes) -> None:
        """Raises BadLine, and nothing is remembered of that line."""
        try:
            told = Line.model_validate(json.loads(line))
            shows = remembered(told.shows, self.vocabulary)
            data = picture(self.folder / told.picture)
            digest = sha256_hex(data)
            if digest in self.lines:
                raise BadLine(f"the same picture as in line {self.lines[digest]}")
            embedding = await self.eyes.features(data, of_people=shows.kind == PERSON)
        except (ValidationError, ValueError, RecursionError, NotACommonNoun, Unprocessable) as bad:
            raise BadLine(reason(bad)) from None
        self.lines[digest] = number
        self.rows.append(shows)
        self.embeddings.append(embedding)

    def as_file(self) -> bytes:
        return as_file(self.rows, np.stack(self.embeddings), self.eyes.vision.fingerprint.digest)


def picture(path: Path) -> bytes:
    """Raises BadLine."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadLine(f"{path}: larger than {LARGEST_FILE // 2**20} MiB")
        return path.read_bytes()
    except OSError as unreadable:
        raise BadLine(f"{path}: {unreadable.strerror}") from None
