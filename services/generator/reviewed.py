"""Pictures that people have reviewed, remembered by their features: what a similar one shows gets their word.

A memory is one safetensors file: `embeddings` fp16 [n, 1280] of unit length, and in its metadata what each
row shows and the encoder whose features these are. It holds no picture. Nouns are lower-case words, and of a
picture on which the detector sees a person only words for people in general are taken; that a lower-case word is
no name is for the reviewer to see to.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.scene import Certainty, Medium, Scene, Source, Thing
from captionstream.contracts.values import ModelReference, Sha256, Value
from captionstream.runtime.errors import Misconfigured, Unprocessable
from services.generator.things import relations_of
from services.generator.vocabulary import CLASSES, Floats, Vocabulary, Word

FEATURES = 1280
FORMAT = "1"
NAME = "reviewed-pictures"
LONGEST_NOUN = 48  # letters

OFFSET, SLOPE, SEEN_TOO = -7.0, 11.0, 2.75
"""Log-odds of being right: OFFSET + SLOPE * cosine similarity, and SEEN_TOO where the tagger sees it as well.

Chosen near a logistic regression (-7.1, 11.5, 2.8) over the 243 labelled pictures of the evaluation sets on
which the tagger's thresholds were chosen, each asked of a memory of the others. Of the 230 of the other half,
asked of a memory of these, 52 to 57 (as naming stood) get a reviewed noun; nine in ten are right, all 25 sure
ones among them.
"""

SURE, HEDGED = 0.9, 0.6  # probability of being right: similarity 0.84 and 0.67; 0.59 and 0.5 if seen, too
LEAST_SIMILAR = 0.5
LEAST_MASS, SURE_MASS = 0.05, 0.5
"""Of the tagger, on a word that it knows: below the first the word is right in one of five; below the second it
is never sure, for then only its likeness speaks for it, and an ostrich is like a rhea."""

Kind = Literal["person", "animal", "plant", "food", "artifact", "place", "other"]
NOUN = re.compile(r"[a-z]+(?:[-'][a-z]+)*(?: [a-z]+(?:[-'][a-z]+)*){0,4}")
ARTICLES = ("a ", "an ", "the ", "some ")


class BadMemory(Misconfigured):
    """A file that is no memory of reviewed pictures. The message says why, and what to do."""


class OtherEncoder(BadMemory):
    """Features of another encoder: similarity to them means nothing."""


class NotACommonNoun(Exception):
    """What was said of a picture may not be remembered. The message says why."""


class Reviewed(Value):
    """What a person said that one picture shows."""

    noun: str
    plural: str = ""
    kind: Kind = "other"
    synset: Annotated[str, Field(pattern=r"^n\d{8}$")] | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest reviewed picture; `similarity` is the cosine of the two embeddings."""

    shows: Reviewed
    similarity: float


@dataclass(frozen=True)
class ReviewedMemory:
    """`embeddings` [n, 1280] of unit length, and what each of the n rows shows."""

    rows: tuple[Reviewed, ...]
    embeddings: npt.NDArray[np.float32]
    encoder: str
    digest: str

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> ReviewedMemory:
        """Raises BadMemory."""
        try:
            return cls.parse(path.read_bytes(), _metadata(path), vocabulary)
        except OSError as unreadable:
            raise BadMemory(f"{path}: {unreadable.strerror}") from None
        except BadMemory as bad:
            raise BadMemory(f"{path}: {bad}") from None

    @classmethod
    def parse(cls, data: bytes, metadata: dict[str, str], vocabulary: Vocabulary) -> ReviewedMemory:
        """Raises BadMemory, also for a noun that `build` would not have taken."""
        if metadata.get("format") != FORMAT:
            raise BadMemory("no memory of reviewed pictures of this version; build it again")
        try:
            rows = ROWS.validate_json(metadata.get("rows", ""))
            encoder = SHA256.validate_python(metadata.get("encoder"))
            checked = {row: remembered(row, vocabulary) for row in set(rows)}
        except (ValidationError, NotACommonNoun) as bad:
            raise BadMemory(f"it holds a row that is not taken, build it again: {bad}") from None
        shown = tuple(checked[row] for row in rows)
        return cls(shown, _embeddings(data, len(shown)), encoder, sha256_hex(data))

    @property
    def reference(self) -> ModelReference:
        return ModelReference(name=NAME, version=FORMAT, digest=self.digest)

    def only_of(self, encoders: Collection[str]) -> ReviewedMemory:
        """Itself. Raises OtherEncoder unless it was made by one of those whose evidence is accepted."""
        if self.encoder not in encoders:
            accepted = ", ".join(sorted(encoder[:12] for encoder in encoders)) or "none by name"
            raise OtherEncoder(
                f"the reviewed pictures were encoded by {self.encoder[:12]}, accepted: {accepted}; build again"
            )
        return self

    def nearest(self, embedding: npt.NDArray[np.floating]) -> Match | None:
        """`embedding` [1280] of any length; None where it is zero or nothing is remembered."""
        length = float(np.linalg.norm(embedding.astype(np.float32)))
        if not self.rows or length == 0:
            return None
        similarity = self.embeddings @ (embedding.astype(np.float32) / length)
        best = int(similarity.argmax())
        return Match(self.rows[best], min(1.0, float(similarity[best])))


ROWS = TypeAdapter(tuple[Reviewed, ...])
SHA256: TypeAdapter[str] = TypeAdapter(Sha256)


# ---------------------------------------------------------------- the file


def as_file(rows: Sequence[Reviewed], embeddings: npt.NDArray[np.floating], encoder: str) -> bytes:
    """`embeddings` [n, 1280], none of them zero; `encoder` is the digest of its fingerprint."""
    lengths = np.linalg.norm(embeddings.astype(np.float32), axis=1, keepdims=True)
    unit = (embeddings.astype(np.float32) / lengths).astype(np.float16)
    told = json.dumps([row.model_dump() for row in rows], ensure_ascii=False)
    return save_tensors({"embeddings": unit}, {"format": FORMAT, "encoder": encoder, "rows": told})


def embedding_of(tensors: bytes) -> npt.NDArray[np.floating]:
    """`embedding` [1280] of the encoder's safetensors payload. Raises Unprocessable if there is none."""
    try:
        embedding = load_tensors(tensors)["embedding"]
    except (SafetensorError, KeyError):
        raise Unprocessable(RefusalReason.INTERNAL, "the encoding holds no embedding") from None
    if embedding.shape != (FEATURES,) or not np.isfinite(embedding).all():
        raise Unprocessable(RefusalReason.INTERNAL, f"an embedding of {embedding.shape}, or not finite")
    return np.asarray(embedding)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="numpy") as opened:
            return dict(opened.metadata() or {})
    except SafetensorError as broken:
        raise BadMemory(f"no safetensors file ({broken})") from None


def _embeddings(data: bytes, count: int) -> npt.NDArray[np.float32]:
    try:
        found = load_tensors(data)["embeddings"]
    except (SafetensorError, KeyError) as broken:
        raise BadMemory(f"it holds no embeddings ({broken})") from None
    if found.shape != (count, FEATURES) or not np.issubdtype(found.dtype, np.floating):
        raise BadMemory(f"embeddings of shape {found.shape}, expected {(count, FEATURES)}")
    unit = found.astype(np.float32)
    if not np.allclose(np.linalg.norm(unit, axis=1), 1, atol=0.01):
        raise BadMemory("its embeddings are not of unit length, or not finite")
    return unit


# ---------------------------------------------------------------- what may be remembered


def remembered(told: Reviewed, vocabulary: Vocabulary) -> Reviewed:
    """What was said, with the vocabulary's kind and synset where it has the word. Raises NotACommonNoun.

    A word of the vocabulary is taken as it is written there, with capitals (Afghan hound). Any other must be
    one to five words in lower case, for no name of a person, a brand or a place is to pass for a noun.
    """
    word = known(told, vocabulary)
    spelled = word is not None and told.noun == word.word
    for text in ([] if spelled else [told.noun]) + ([told.plural] if told.plural else []):
        if not NOUN.fullmatch(text) or len(text) > LONGEST_NOUN or text.startswith(ARTICLES):
            raise NotACommonNoun(f"{text!r} is no common noun in lower case, without an article")
    of_people = people(vocabulary)
    kind = vocabulary.kind_of(word) if word else "person" if told.noun in of_people else told.kind
    if kind == "person" and told.noun not in of_people:
        raise NotACommonNoun(f"{told.noun!r}: of people only {', '.join(of_people)} are remembered")
    if kind == "person" and told.plural:
        raise NotACommonNoun(f"{told.plural!r}: of people no other plural is remembered")
    synset = told.synset or (word.synset if word else None)
    return Reviewed.model_validate({**told.model_dump(), "kind": kind, "synset": synset})


def people(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The words for people."""
    return tuple(word.word for word in vocabulary.words if word.sense == "person")


def known(told: Reviewed | Thing, vocabulary: Vocabulary) -> Word | None:
    """The vocabulary's word in that sense, by its spelling, else by its synset under another spelling."""
    spelled = [word for word in vocabulary.words if word.word == told.noun]
    if spelled and told.synset is None:
        return spelled[0]
    same = (word for word in spelled or vocabulary.words if word.synset == told.synset)
    return next(same, None) if told.synset else None


# ---------------------------------------------------------------- what may be said


def reviewed_thing(match: Match | None, classes: Floats, vocabulary: Vocabulary) -> Thing | None:
    """The match as a thing of the scene, or None where it is too unlike, or the tagger knows better.

    `classes` are the tagger's [1000] probabilities.
    """
    if match is None or match.similarity < LEAST_SIMILAR:
        return None
    shows, word = match.shows, known(match.shows, vocabulary)
    mass = None if word is None else float(classes[list(word.leaves)].sum())
    right = probably_right(match.similarity, mass is not None)
    if right < HEDGED or (mass is not None and mass < LEAST_MASS):
        return None
    sure = right >= SURE and (mass is None or mass >= SURE_MASS)
    return Thing(
        noun=shows.noun,
        plural=shows.plural,
        certainty=Certainty.SURE if sure else Certainty.HEDGED,
        source=Source.REVIEWED,
        score=right,
        kind=shows.kind,
        mass_noun=word is not None and word.mass_noun,
        synset=shows.synset,
    )


def probably_right(similarity: float, seen: bool) -> float:
    """How often the noun of a picture so similar is right; `seen`: the tagger sees that, too."""
    return 1 / (1 + math.exp(-(OFFSET + SLOPE * similarity + SEEN_TOO * seen)))


def with_reviewed(scene: Scene, thing: Thing | None, vocabulary: Vocabulary) -> Scene:
    """The scene with the reviewed noun for its subject, where that is worth more than what is there.

    A scene with people stays as it is, and so does a page.
    """
    subject = scene.subject
    if thing is None or scene.medium is Medium.PAGE or _shows_people(scene):
        return scene
    if subject is not None and not _better(thing, subject, vocabulary):
        return scene
    others = tuple(other for other in scene.things[1:] if other.noun != thing.noun)
    things = (_in_place_of(subject, thing), *others)
    return scene.model_copy(update={"things": things, "relations": relations_of(things)})


def worth(thing: Thing, vocabulary: Vocabulary) -> float:
    """How much it tells in bits, times how probably it is right. What the tagger has no class for tells most."""
    word = known(thing, vocabulary)
    return thing.score * math.log2(CLASSES / (len(word.leaves) if word else 1))


def _better(thing: Thing, subject: Thing, vocabulary: Vocabulary) -> bool:
    """What is surely seen gives way only to what is surely remembered."""
    doubtful = thing.certainty is Certainty.HEDGED and subject.certainty is Certainty.SURE
    return not doubtful and worth(thing, vocabulary) > worth(subject, vocabulary)


def _shows_people(scene: Scene) -> bool:
    return any(thing.kind == "person" for thing in scene.things)


def _in_place_of(subject: Thing | None, thing: Thing) -> Thing:
    """With the subject's place, number and colour, where both words are for the same kind of thing."""
    if subject is None or subject.kind != thing.kind:
        return thing
    kept = {"box": subject.box, "count": subject.count, "at_least": subject.at_least}
    own = subject.colours if " " not in thing.noun else ()  # a ginger kitten is not a brown one as well
    return thing.model_copy(update={**kept, "colours": own, "colour_share": subject.colour_share})
