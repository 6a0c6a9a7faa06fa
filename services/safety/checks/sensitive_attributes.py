"""Traits of persons that nobody can see and nobody may infer (A20, W3C, IPTC: what is there, not who).

Word lists by kind of trait that fire only where they are said of a person: "a blind man" does, "a blind with
white slats" does not. Quotations are exempt, and so is what the publisher supplied. Names cannot be told from
other words by a list; only names that a title or "called" announces are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from captionstream.contracts.messages import CheckFinding
from services.safety.checks.check import Check, CheckContext
from services.safety.lexicons import Lexicon
from services.safety.words import LIST, Phrases, Span, Word, runs_on, unquoted, words

NAME = "sensitive-attribute"
KINDS = (
    "race",
    "religion",
    "health",
    "disability",
    "pregnancy",
    "orientation",
    "age",
    "emotion",
    "status",
    "politics",
)
NUMBER = (
    r"\b(?:\d{1,3}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|"
    r"sixty|seventy|eighty|ninety|un|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|doce|quince|veinte|treinta)"
)
AGE = re.compile(NUMBER + r"(?:[- ]years?[- ]olds?|[- ]años)\b", re.IGNORECASE)
AGE_DISTANCE = 3  # words between a person and an age that follows: "the boy is about 12 years old"
BEGUN_AGE = re.compile(NUMBER + r"(?:[- ]years?)?\s*$", re.IGNORECASE)
LONGEST_ROW = 8  # phrases between an attribute and its person
LONGEST_PHRASE = 4  # words
CAPITAL = re.compile(r"[^\W\d_a-zà-öø-ÿ]")
Rule = tuple[str, Span]


def sensitive_attributes(text: str, context: CheckContext) -> list[CheckFinding]:
    own = unquoted(text)
    supplied = supplied_text(context)
    return [
        CheckFinding(check=NAME, rule=rule, start=start, end=end)
        for rule, (start, end) in said_of_persons(own, context.lexicon)
        if spaced(text[start:end]) not in supplied
    ]


def supplied_text(context: CheckContext) -> str:
    """What people wrote about the picture: they know, we do not."""
    supplied = context.supplied
    texts = (supplied.alt_text, supplied.description, supplied.title, context.event.human_text)
    return "|".join(map(spaced, (*filter(None, texts), *supplied.people, *supplied.keywords)))


def spaced(text: str) -> str:
    return f" {' '.join(word.folded for word in words(text))} "


def said_of_persons(text: str, lexicon: Lexicon) -> Iterator[Rule]:
    clause = Clause(text, lexicon)
    if lexicon.traits.found(clause.words):
        yield from traits(clause, lexicon)
    yield from (("age", clause.span(at)) for at in clause.ages if clause.tells_age(*at))
    yield from (("gender", clause.span(at)) for at in lexicon.gendered.found(clause.words))
    yield from (("name", span) for span in names(clause))


def traits(clause: Clause, lexicon: Lexicon) -> Iterator[Rule]:
    """What a list of the lexicon has, where it is said of a person."""
    for kind, phrases in lexicon.attributes.items():
        yield from ((kind, clause.span(at)) for at in phrases.found(clause.words) if clause.describes(*at))
    for kind, phrases in lexicon.conditions.items():
        yield from ((kind, clause.span(at)) for at in phrases.found(clause.words) if clause.is_had(at[0]))
    for kind, phrases in lexicon.labels.items():
        yield from ((kind, clause.span(at)) for at in phrases.found(clause.words))


@dataclass(frozen=True)
class Clause:
    """A text, read for what it says of persons. Places are word numbers, pairs first and past-the-last."""

    text: str
    lexicon: Lexicon

    @cached_property
    def words(self) -> tuple[Word, ...]:
        return words(self.text)

    @cached_property
    def ages(self) -> list[Span]:
        """ "12-year-old", "12 years old", "12 años"."""
        return [self.inside(match.start(), match.end()) for match in AGE.finditer(self.text)]

    @cached_property
    def begun_age(self) -> int | None:
        """The word at the end with which an age may have begun: "12", "12 years"."""
        match = BEGUN_AGE.search(self.text)
        return self.inside(match.start(), match.end())[0] if match else None

    def inside(self, start: int, end: int) -> Span:
        """The words that lie in a span of characters."""
        within = [at for at, word in enumerate(self.words) if start < word.end and word.start < end]
        return within[0], within[-1] + 1

    def span(self, at: Span) -> Span:
        """The characters of words."""
        return self.words[at[0]].start, self.words[at[1] - 1].end

    def describes(self, first: int, last: int) -> bool:
        """Whether an attribute belongs to a person: before the noun, after it, or after "is"."""
        if self.lexicon.adjectives_follow and self.person_before(first):
            return True
        return self.person_after(last) or (self.said_by_copula(first) and self.ends(last))

    def person_after(self, place: int) -> bool:
        """Past words that may stand between: "a blind, smiling old man"."""
        for _ in range(LONGEST_ROW):
            size = self.size_between(place)
            if not size:
                break
            place += size
        if place >= len(self.words) or not self.words[place].joined:
            return False
        if self.words[place].folded in self.lexicon.people:
            return True
        return self.words[place].folded in self.lexicon.compound_people and self.ends(place + 1)

    def size_between(self, place: int) -> int:
        """How many words that may stand between begin at `place`; 0 if none."""
        if place >= len(self.words) or not self.words[place].listed:
            return 0
        return max([self.lexicon.between.at(self.words, place), *(b - a for a, b in self.ages if a == place)])

    def steps_from(self, place: int) -> list[int]:
        """Where the words that may stand between, and that begin at `place`, lead to."""
        ends = [place + size for size in self.sizes_between(place)]
        ends += [last for first, last in self.ages if first == place]
        return [end for end in ends if end == len(self.words) or self.words[end].listed]

    @property
    def end_of_list(self) -> list[int]:
        """The end of the text, if a list of attributes may go on there."""
        follows = self.words and LIST.fullmatch(self.text, self.words[-1].end)
        return [len(self.words)] if follows else []

    def person_before(self, place: int) -> bool:
        """The same to the left: "un hombre mayor, ciego"."""
        place = self.row_start(place)
        return place > 0 and self.words[place].joined and self.is_person(place - 1)

    def said_by_copula(self, place: int) -> bool:
        """ "The man is very ill": a person, a copula, then nothing but words that may stand between."""
        return self.follows(self.row_start(place), self.lexicon.copulas)

    def row_start(self, place: int) -> int:
        """Where the row of words that may stand between, and ends before `place`, begins: after a person."""
        for _ in range(LONGEST_ROW):
            start = self.before(place)
            if start is None or self.is_person(place - 1):
                break
            place = start
        return place

    def before(self, place: int) -> int | None:
        """Where a phrase begins that may stand between and that ends right before `place`."""
        if place == 0 or place >= len(self.words) or not self.words[place].listed:
            return None
        nearest = range(max(0, place - LONGEST_PHRASE), place)
        return next((at for at in nearest if place - at in self.sizes_between(at)), None)

    def sizes_between(self, place: int) -> list[int]:
        return list(self.lexicon.between.sizes(self.words, place))

    def is_had(self, place: int) -> bool:
        """ "A man with autism": a person, then what joins a person to a condition."""
        return self.follows(place, self.lexicon.links)

    def follows(self, place: int, joint: Phrases) -> bool:
        """Whether a person and a phrase of `joint` stand right before `place`."""
        if place >= len(self.words) or not self.words[place].joined:
            return False
        starts = (start for start, end in joint.found(self.words[:place]) if end == place)
        return any(start and self.words[start].joined and self.is_person(start - 1) for start in starts)

    def ends(self, place: int) -> bool:
        """Whether no noun follows that the words before would rather belong to."""
        if place >= len(self.words) or not self.words[place].joined:
            return True
        word = self.words[place].folded
        return word in self.lexicon.function_words or word.endswith(("ing", "ed"))

    def tells_age(self, first: int, last: int) -> bool:
        """Whether the age is a person's: one follows, or stands a few words before it in the same clause."""
        if self.person_after(last):
            return True
        for place in range(first - 1, max(-1, first - 1 - AGE_DISTANCE), -1):
            if not self.words[place + 1].joined:
                return False
            if self.is_person(place):
                return True
        return False

    def is_person(self, place: int) -> bool:
        word = self.words[place].folded
        return word in self.lexicon.people or word in self.lexicon.compound_people


def names(clause: Clause) -> Iterator[Span]:
    """Capitalised words after a title or after "named"."""
    found = clause.words
    for phrases in (clause.lexicon.titles, clause.lexicon.naming):
        for _, last in phrases.found(found):
            end = last
            while end < len(found) and CAPITAL.match(clause.text, found[end].start):
                end += 1
            if end > last:
                yield clause.span((last, end))


# ---------------------------------------------------------------- while the text is being written


def unsettled(text: str, context: CheckContext) -> int:
    """Where the words at the end begin that may still turn out to be said of a person."""
    lexicon = context.lexicon
    clause = Clause(unquoted(text), lexicon)
    return min(
        place_of(open_row(clause), clause),
        place_of(clause.begun_age, clause),
        lexicon.traits.unsettled(clause.text, clause.words),
    )


def place_of(word: int | None, clause: Clause) -> int:
    return len(clause.text) if word is None else clause.words[word].start


def open_row(clause: Clause) -> int | None:
    """The first attribute from which words that may stand before a person lead up to the end of the text."""
    open_places = {clause.begun_age, *clause.end_of_list}
    row = None
    for place in range(len(clause.words) - 1, -1, -1):
        if any(end in open_places for end in clause.steps_from(place)):
            open_places.add(place)
            row = row if place_is_modifier(clause, place) else place
        elif breaks_off(clause, place):
            open_places.add(place)
    return row


def place_is_modifier(clause: Clause, place: int) -> bool:
    """A modifier alone is no trait: "smiling" may be shown."""
    sizes = set(clause.sizes_between(place))
    return bool(sizes) and sizes == set(clause.lexicon.modifiers.sizes(clause.words, place))


def breaks_off(clause: Clause, place: int) -> bool:
    """Whether a phrase is cut short here, or a last word ("baby") may still become a person or a thing."""
    if not runs_on(clause.text, clause.words):
        return False
    last = place == len(clause.words) - 1
    if last and clause.words[place].folded in clause.lexicon.compound_people:
        return True
    return clause.lexicon.between.broken_off(clause.words, place)


CHECK = Check(
    name=NAME,
    rules=frozenset({*KINDS, "gender", "name"}),
    examine=sensitive_attributes,
    unsettled=unsettled,
)
