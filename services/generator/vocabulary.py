"""The words that may be said of an image, and which classes of the tagger and the detector stand for them.

The file is made beside the models, from WordNet; see `triton_models/vocabulary.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.values import Value

CLASSES = 1000
Indices = tuple[Annotated[int, Field(ge=0, lt=CLASSES)], ...]
Floats = npt.NDArray[np.float64]


class Word(Value):
    """A word that may be said, and the tagger's classes that are a kind of it."""

    word: str
    leaves: Indices
    kind: str = Field(
        description="leaf (one class), category (a WordNet node) or group (put together by hand)"
    )
    family: bool = Field(default=False, description="asks for more: its look-alikes are no classes")
    look_alikes: bool = Field(default=False, description="named after what is no class: always hedged")
    sense: str = Field(default="other", description="person, animal, plant, food, artifact, place or other")
    mass_noun: bool = False
    synset: str | None = None

    @property
    def specific(self) -> bool:
        return self.kind == "leaf"


class DetectorLabel(Value):
    """One label of the detector, and whether it may be said."""

    label: str
    word: str
    plural: str
    sayable: bool = True
    parent_node_leaves: Indices | None = Field(
        description="classes of which the tagger must see something too; null: the detector will do"
    )
    synset: str | None = None

    @property
    def name(self) -> str:
        """As the detector writes it."""
        return self.label.replace("_", " ")


class Leaf(Value):
    """One class of the tagger; `coco` is the detector's label that covers it."""

    word: str
    coco: str | None = None


@dataclass(frozen=True)
class Vocabulary:
    """All words. `digest` tells two vocabularies apart."""

    words: tuple[Word, ...]
    labels: dict[str, DetectorLabel]
    leaves: tuple[Leaf, ...]
    digest: str
    _called: dict[frozenset[str], Floats] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, path: Path | None = None) -> Vocabulary:
        """Reads the file; without a path the one that stands beside the models."""
        source = path if path is not None else resources.files("triton_models").joinpath("vocabulary.json")
        return cls.parse(source.read_bytes())

    @classmethod
    def parse(cls, data: bytes) -> Vocabulary:
        told: dict[str, Any] = json.loads(data)
        labels = tuple(map(DetectorLabel.model_validate, told["detector"]))
        words = tuple(map(Word.model_validate, told["nodes"]))
        leaves = tuple(map(Leaf.model_validate, told["leaves"]))
        return cls(words, {label.name: label for label in labels}, leaves, sha256_hex(data))

    def masses(self, classes: Floats) -> Floats:
        """[words]: the probability of each word, the sum over its classes' probabilities [1000]."""
        return np.add.reduceat(classes[self._leaves], self._begins)

    @cached_property
    def _leaves(self) -> npt.NDArray[np.intp]:
        """The classes of all words, one word after the other: a few thousand, where a matrix would have a million."""
        return np.array([leaf for word in self.words for leaf in word.leaves])

    @cached_property
    def _begins(self) -> npt.NDArray[np.intp]:
        """Where each word's classes begin among them; no word is without any."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """[words]: how many classes stand for each word; fewer is more specific."""
        return np.array([len(word.leaves) for word in self.words])

    @cached_property
    def families(self) -> npt.NDArray[np.bool_]:
        """[words]: which of them need more mass."""
        return np.array([word.family for word in self.words])

    @cached_property
    def look_alikes(self) -> npt.NDArray[np.bool_]:
        """[words]: which of them are never sure."""
        return np.array([word.look_alikes for word in self.words])

    def classes_called(self, words: frozenset[str]) -> Floats:
        """[1000]: 1 where a class has one of these words. Looked up once for each set of words."""
        if words not in self._called:
            self._called[words] = np.array([float(leaf.word in words) for leaf in self.leaves])
        return self._called[words]

    def classes_of(self, label: DetectorLabel) -> frozenset[int]:
        """The tagger's classes that the detector calls by this label."""
        return self._classes_by_label.get(label.label, frozenset())

    def sense_of(self, label: DetectorLabel) -> str:
        """What kind of thing a label is: that of its classes, else that of its kin."""
        kin = self.classes_of(label) or label.parent_node_leaves or ()
        return next(
            (self._sense_by_class[index] for index in sorted(kin) if index in self._sense_by_class), "other"
        )

    def kind_of(self, word: Word) -> str:
        """Its sense; whatever is a kind of building or landscape is a place, a castle too."""
        return "place" if set(word.leaves) <= self._places else word.sense

    @cached_property
    def _places(self) -> frozenset[int]:
        groups = (word for word in self.words if word.kind == "group" and word.sense == "place")
        return frozenset(index for group in groups for index in group.leaves)

    @cached_property
    def _classes_by_label(self) -> dict[str, frozenset[int]]:
        labels = {leaf.coco for leaf in self.leaves if leaf.coco}
        return {
            label: frozenset(index for index, leaf in enumerate(self.leaves) if leaf.coco == label)
            for label in labels
        }

    @cached_property
    def _sense_by_class(self) -> dict[int, str]:
        return {word.leaves[0]: word.sense for word in self.words if len(word.leaves) == 1}

    def more_general(self, noun: str, synset: str | None) -> tuple[Word, ...]:
        """The words that are true of everything this word is true of, the nearest first."""
        word = self._by_synset.get(synset or "") or self._by_word.get(noun)
        if word is None:
            return ()
        wider = [
            other
            for other in self.words
            if other is not word and not other.look_alikes and set(word.leaves) <= set(other.leaves)
        ]
        return tuple(sorted(wider, key=lambda other: len(other.leaves)))

    @cached_property
    def _by_synset(self) -> dict[str, Word]:
        return {word.synset: word for word in reversed(self.words) if word.synset}

    @cached_property
    def _by_word(self) -> dict[str, Word]:
        return {word.word: word for word in reversed(self.words)}
