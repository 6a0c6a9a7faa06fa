"""English nouns as WordNet 3.0 knows them: which lemma a piece of text ends with, and what it is a kind of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from triton_models.vocabulary import WordNet

ENDINGS = (("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
           ("ies", "y"), ("ves", "f"), ("s", ""))  # fmt: skip
"""WordNet's own rules of detachment for nouns (morphy(7WN)): plural ending, ending of the lemma."""

IRREGULAR: Mapping[str, Sequence[str]] = {"people": ("person",)}
"""Plurals that `noun.exc` lacks; WordNet counts people as a group only."""

JOINTS = re.compile(r"[\s_\-'’.]+")


@dataclass(frozen=True)
class Ending:
    """The longest noun that a phrase ends with; `before` are the words that it leaves over."""

    before: tuple[str, ...]
    lemmas: tuple[str, ...]


@dataclass(frozen=True)
class Nouns:
    """WordNet's nouns with their irregular plurals. A synset is its offset in `data.noun`."""

    wordnet: WordNet
    irregular: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, folder: Path) -> Nouns:
        """`folder` holds `index.noun`, `data.noun` and `noun.exc`."""
        lines = (line.split() for line in (folder / "noun.exc").read_text("latin-1").splitlines())
        irregular: dict[str, Sequence[str]] = {plural: lemmas for plural, *lemmas in lines}
        return cls(WordNet.read(folder), {**irregular, **IRREGULAR})

    @cached_property
    def _spellings(self) -> Mapping[str, Sequence[str]]:
        """`payphone` finds `pay-phone`: lemmas without what joins their words."""
        found: dict[str, list[str]] = {}
        for lemma in self.wordnet.senses:
            found.setdefault(JOINTS.sub("", lemma), []).append(lemma)
        return found

    def senses(self, lemma: str) -> tuple[int, ...]:
        """All synsets of a lemma, the commonest first; none for an unknown one."""
        return self.wordnet.senses.get(lemma, ())

    def sense(self, name: str) -> int:
        """The synset of `lemma[:number]`, in any case, its words joined by `_` or a space.

        Raises KeyError, IndexError or ValueError for one that WordNet lacks.
        """
        return self.wordnet.sense("_".join(name.lower().split()))

    def has(self, name: str) -> bool:
        try:
            self.sense(name)
        except (KeyError, IndexError, ValueError):
            return False
        return True

    def above(self, synset: int) -> Mapping[int, int]:
        """The synset and all it is a kind of, each with the least number of edges up to it."""
        edges, waiting = {synset: 0}, [synset]
        for each in waiting:  # grows: nearest first
            for parent in self.wordnet.parents[each]:
                if parent not in edges:
                    edges[parent] = edges[each] + 1
                    waiting.append(parent)
        return edges

    def is_kind(self, synset: int, name: str) -> bool:
        """Whether the synset is a kind of the sense `lemma[:number]`."""
        return self.sense(name) in self.above(synset)

    def singulars(self, word: str) -> list[str]:
        """The word itself and what it may be the plural of."""
        found = [word, *self.irregular.get(word, ())]
        for ending, lemma in ENDINGS:
            if word.endswith(ending) and len(word) > len(ending) + 1 and not word.endswith("ss"):
                found.append(word[: -len(ending)] + lemma)
        if word.endswith("ves"):
            found.append(word[:-3] + "fe")
        return found

    def lemmas(self, words: Sequence[str]) -> tuple[str, ...]:
        """Lemmas that the words spell together, the last one in singular or plural."""
        *first, last = words
        spelled = [JOINTS.sub("", "".join([*first, form])).lower() for form in self.singulars(last)]
        return tuple(dict.fromkeys(lemma for one in spelled for lemma in self._spellings.get(one, ())))

    def endings(self, words: Sequence[str]) -> Iterator[Ending]:
        """Every noun that the words end with, the longest first."""
        for start in range(len(words)):
            lemmas = self.lemmas(words[start:])
            if lemmas:
                yield Ending(tuple(words[:start]), lemmas)
