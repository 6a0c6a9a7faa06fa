"""Words of a text with their places, quotations, and lists of phrases that can say what is still open.

A text that grows is judged word by word. `Phrases.unsettled` and `quotations` answer the question on which
safe streaming rests: from which character on may a continuation still change the verdict?
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

WORD = re.compile(r"[^\W_]+(?:['’‑\-][^\W_]+)*")
JOINT = re.compile(r"[\s\-]*")  # what may stand between two words of one phrase
LIST = re.compile(r"\s*,?\s*")
BRACES = re.compile(r"\{([^{}]*)\}")
QUOTES = {"“": "”", "„": "“", "«": "»", '"': '"'}
RECENT = 64  # texts: every check reads the same few again
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its place. `folded` is for comparing; `gap` is what parts it from the last word."""

    start: int
    end: int
    folded: str
    gap: str

    @property
    def joined(self) -> bool:
        """Only white space or a hyphen parts it from the last word."""
        return JOINT.fullmatch(self.gap) is not None

    @property
    def listed(self) -> bool:
        """At most a comma parts it from the last word."""
        return LIST.fullmatch(self.gap) is not None


@dataclass(frozen=True, slots=True)
class Quotations:
    """`spans` are closed quotations with their marks; `open_at` is where one began that has not ended."""

    spans: tuple[Span, ...]
    open_at: int | None

    def hold(self, start: int, end: int) -> bool:
        """Whether the place lies within a closed quotation."""
        return any(first <= start and end <= last for first, last in self.spans)


def fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("’", "'")


@lru_cache(RECENT)
def words(text: str) -> tuple[Word, ...]:
    found: list[Word] = []
    end = 0
    for match in WORD.finditer(text):
        found.append(Word(match.start(), match.end(), fold(match.group()), text[end : match.start()]))
        end = match.end()
    return tuple(found)


@lru_cache(RECENT)
def quotations(text: str) -> Quotations:
    """Double quotations, left to right. Apostrophes and single quotes are not quotations."""
    spans: list[Span] = []
    start, closing = None, ""
    for place, character in enumerate(text):
        if start is None and character in QUOTES:
            start, closing = place, QUOTES[character]
        elif start is not None and character == closing:
            spans.append((start, place + 1))
            start = None
    return Quotations(tuple(spans), start)


@lru_cache(RECENT)
def unquoted(text: str) -> str:
    """The text with closed quotations filled with marks; every other character keeps its place.

    Marks, not blanks: the words before and after a quotation must not become neighbours.
    """
    for start, end in quotations(text).spans:
        text = text[:start] + '"' * (end - start) + text[end:]
    return text


def expanded(entry: str) -> list[str]:
    """`cieg{o,a}` is `ciego` and `ciega`; an entry without braces is itself."""
    match = BRACES.search(entry)
    if match is None:
        return [entry]
    before, after = entry[: match.start()], entry[match.end() :]
    return [text for choice in match.group(1).split(",") for text in expanded(before + choice + after)]


class Phrases:
    """A list of words and phrases, found as whole words, whatever their case."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self.entries = frozenset(text for entry in entries for text in expanded(entry))
        phrases = {tuple(word.folded for word in words(entry)) for entry in self.entries}
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for phrase in sorted(filter(None, phrases), key=len, reverse=True):
            self._by_first.setdefault(phrase[0], []).append(phrase)
        self._longest = max(map(len, phrases), default=0)

    def __contains__(self, word: str) -> bool:
        return (word,) in self._by_first.get(word, ())

    def at(self, text: Sequence[Word], place: int) -> int:
        """How many words the longest phrase at `place` has; 0 if there is none."""
        return next(self.sizes(text, place), 0)

    def sizes(self, text: Sequence[Word], place: int) -> Iterator[int]:
        """How many words the phrases at `place` have, the longest first."""
        candidates = self._by_first.get(text[place].folded, ())
        return (len(phrase) for phrase in candidates if matches(phrase, text, place) == len(phrase))

    def found(self, text: Sequence[Word]) -> list[tuple[int, int]]:
        """First and past-the-last word of the longest phrase at every place that has one."""
        begun = (place for place, word in enumerate(text) if word.folded in self._by_first)
        return [(place, place + size) for place in begun if (size := self.at(text, place))]

    def spans(self, text: Sequence[Word]) -> list[Span]:
        """The same in characters."""
        return [(text[first].start, text[last - 1].end) for first, last in self.found(text)]

    def unsettled(self, text: str, found: Sequence[Word]) -> int:
        """Where a phrase begins that the text breaks off, or its length. `found` are its words."""
        if not runs_on(text, found):
            return len(text)
        last = range(max(0, len(found) - self._longest + 1), len(found))
        return next((found[place].start for place in last if self.broken_off(found, place)), len(text))

    def broken_off(self, text: Sequence[Word], place: int) -> bool:
        """Whether a phrase begins at `place` that is longer than the rest."""
        candidates = self._by_first.get(text[place].folded)
        if not candidates:
            return False
        rest = len(text) - place
        return any(rest < len(phrase) and matches(phrase, text, place) == rest for phrase in candidates)


def runs_on(text: str, found: Sequence[Word]) -> bool:
    """Whether the next word would be a neighbour of the last one: nothing but white space follows it."""
    return bool(found) and JOINT.fullmatch(text, found[-1].end) is not None


def matches(phrase: Sequence[str], text: Sequence[Word], place: int) -> int:
    """How many words of `phrase` stand at `place`, one after the other and not parted by punctuation."""
    count = 0
    for wanted, word in zip(phrase, text[place : place + len(phrase)], strict=False):
        if word.folded != wanted or (count and not word.joined):
            break
        count += 1
    return count
