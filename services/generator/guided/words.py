"""The words of the guided form: what a wording is to its sentence, and those that a language has for every scene."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from importlib import resources

from services.generator.grammar import Reading

NO_CLAIM = Reading()


class Role(StrEnum):
    """What a wording is to its sentence: where it may stand, and what may follow."""

    START = "start"
    COMMA = "comma"
    JOINING = "joining"  # asks for more: no sentence ends here
    ENDING = "ending"
    TERM = "term"
    FREE = "free"
    COLOUR = "colour"  # stands before its thing


@dataclass(frozen=True, slots=True)
class Wording:
    """A text that may be said whole, and what it claims. `about` are the facts that it speaks of, each said once.

    `paintable` names a thing whose colour the model may say.
    """

    text: str
    role: Role
    reading: Reading = NO_CLAIM
    about: frozenset[str] = frozenset()
    paintable: bool = False

    @property
    def takes_colour(self) -> bool:
        """Whether a colour may stand directly before it: a noun and nothing else."""
        return self.paintable and [claim.text for claim in self.reading.claims] == [self.text]


START, COMMA = Wording("", Role.START), Wording("", Role.COMMA)
FREE, COLOUR = Wording("", Role.FREE), Wording("", Role.COLOUR)


@dataclass(frozen=True)
class Lexicon:
    """The words of a language that the guided form knows, in lower case. `colour_first`: before their noun."""

    joining: tuple[str, ...]
    ending: tuple[str, ...]
    colours: frozenset[str]
    colour_first: bool
    never: frozenset[str]

    @classmethod
    def load(cls, language: str) -> Lexicon:
        told = json.loads(
            resources.files("services.generator")
            .joinpath(f"lexicon/guided-{language}.json")
            .read_text("utf-8")
        )
        never = frozenset(word for words in told["never"].values() for word in words)
        colours = frozenset(told["colours"])
        return cls(tuple(told["joining"]), tuple(told["ending"]), colours, told["colour_first"], never)

    @cached_property
    def wordings(self) -> tuple[Wording, ...]:
        joining = (Wording(text, Role.JOINING) for text in self.joining)
        return (*joining, *(Wording(text, Role.ENDING) for text in self.ending))

    @cached_property
    def short_ending(self) -> int:
        """Characters of the shortest one but one: two equal ones do not follow each other."""
        return sorted(map(len, self.ending))[1]

    @cached_property
    def function(self) -> frozenset[str]:
        return frozenset((*self.joining, *self.ending))


lexicon = cache(Lexicon.load)
