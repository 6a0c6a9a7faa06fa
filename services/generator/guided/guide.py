"""What may be said of one scene in its guided form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from services.generator.guided.words import Lexicon, Role, Wording
from services.generator.sentence import WANTED

ROUNDING = 1e-6  # of logarithms that were added up


@dataclass(frozen=True)
class Guide:
    """What may be said of a scene in its guided form.

    Any word that is neither in `words` nor in `terms` needs the model's own ground: a probability of at least
    `least` (above 0; more than 1 allows none), which becomes the score of its claim. `never` are words that no
    ground allows, and `room` is the most characters that a text may have.
    """

    words: Lexicon
    terms: tuple[Wording, ...]
    least: float
    never: frozenset[str] = frozenset()
    paints: bool = True
    room: int = WANTED
    _floor: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.least > 0:
            raise ValueError("a word needs some ground: `least` must be above 0")
        object.__setattr__(self, "_floor", math.log(self.least) - ROUNDING)

    @property
    def floor(self) -> float:
        """The least logarithm of a word's probability."""
        return self._floor

    @property
    def function(self) -> frozenset[str]:
        return self.words.function

    @cached_property
    def supported(self) -> frozenset[str]:
        return frozenset(term.text for term in self.terms)

    @cached_property
    def endings(self) -> tuple[Wording, ...]:
        """The terms with which a sentence may end."""
        return tuple(term for term in self.terms if term.role is Role.TERM)

    @cached_property
    def plenty(self) -> int:
        """So many characters are enough for any term and the full stop."""
        return 2 + max(self.words.short_ending, *(len(term.text) for term in self.endings), 2)

    @cached_property
    def known(self) -> Mapping[str, tuple[Wording, ...]]:
        """The wordings that start with a text, for each text that starts one. The scene's stand first."""
        begun: dict[str, list[Wording]] = {}
        for wording in (*self.terms, *self.words.wordings):
            for end in range(len(wording.text) + 1):
                begun.setdefault(wording.text[:end], []).append(wording)
        return {text: tuple(wordings) for text, wordings in begun.items()}

    @cached_property
    def taken(self) -> frozenset[str]:
        """Words that are not the model's to say, since they are somebody else's or nobody's."""
        return self.function | self.supported | self.never | self.words.never
