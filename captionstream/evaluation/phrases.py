"""The noun phrases of an English caption, by word lists alone: no grammar of the writer is known here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HEDGE = re.compile(
    r"\b(?:(?:what|which|that)\s+)?(?:may|might|could|appears?\s+to|seems?\s+to|looks?\s+to)\s+be\b"
    r"|\bwhat\s+(?:looks|seems|appears)\s+like\b|\b(?:looks|seems)\s+like\b"
    r"|\b(?:possibly|perhaps|probably|maybe|likely|presumably|apparently)\b",
    re.IGNORECASE,
)
QUOTED = re.compile(r'"[^"]*"?|“[^”]*”?|«[^»]*»?')
PLACE_FIRST = re.compile(
    r"^(?:on|in|at(?!\s+least)|under|against|beneath|below|above|behind|beside|near|before|with|inside|outside)\b[^,.;]*,\s*",
    re.IGNORECASE,
)
NO_SUBJECT = re.compile(
    r"^(?:the\s+)?(?:text|words?|writing|lettering)\b.*?\b(?:reads?|begins?|says?)\b|^link to\b"
    r"|^(?:an?\s+)?(?:black and white\s+)?(?:picture|image|drawing|photo|photograph)(?=\s*(?:$|,|with\b|that\b))",
    re.IGNORECASE,
)
SENTENCE = re.compile(r"(?:[^.;!?]|[.;!?](?!\s|$))+[.;!?]?")
LABEL = re.compile(r"^\s*(?:visible|seen|shown)\s*:\s*", re.IGNORECASE)
MEDIUM = re.compile(
    r"^(?:an?\s+|the\s+)?(?:[a-z]+(?:\s+and\s+white)?\s+)?"
    r"(?:drawing|picture|image|photo|photograph|illustration|sketch|cartoon|close-up|view)s?\s+of\s+",
    re.IGNORECASE,
)
WORD = re.compile(r"[^\W_]+(?:[-'’.]+[^\W_]+)*", re.UNICODE)


def word_list(words: str) -> frozenset[str]:
    return frozenset(words.split())


COLOURS = word_list(
    "red orange yellow green blue purple pink brown turquoise black white grey gray beige violet golden gold "
    "silver cyan magenta teal maroon navy cream tan crimson scarlet lilac olive ivory"
)
SHADES = word_list("light dark pale bright deep plain mostly partly")
NUMBERS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "dozen": 12, "both": 2,
}  # fmt: skip
VAGUE_NUMBERS = word_list("several many few various numerous multiple couple some")
DETERMINERS = word_list(
    "a an the this that these those its his her their one some any each every another other own"
)
SIZES = word_list("large small big little tiny huge young old long short tall round")
BEFORE_NOUN = DETERMINERS | VAGUE_NUMBERS | {"at", "least", "about", "more", "than"}
COUNTERS = word_list("pair pairs piece pieces group bunch herd flock kind sort type row set stack pile lot")
"""`a pair of scissors` is scissors."""

THINGS_IN_ING = word_list(
    "awning building ceiling clothing crossing drawing dressing duckling dumpling earring engraving evening "
    "fencing flooring gosling herring icing lightning lining morning painting pudding railing sibling spring "
    "stocking string swing topping viking wedding wing"
)
"""Things, though they end like actions."""

CUTS = word_list(
    "with and in on at under against beneath below above behind beside near before after by to from for "
    "that which who whose while where when as inside outside over around among between along across through "
    "is are was were has have reads read begins wearing holding sitting standing riding lying carrying "
    "without into onto off next left right there"
)
"""Words that no noun phrase goes on over."""


@dataclass(frozen=True)
class NounPhrase:
    """`words` without article and number, in lower case; `parts` are the names that it gives.

    `alternatives` when they are joined by "or"; otherwise several parts are a vessel and its content.
    Colours stay: "brown bear" is a name.
    """

    words: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]
    start: int
    number: str | None = None
    alternatives: bool = False


def noun_phrases(text: str) -> list[NounPhrase]:
    """Those of the first sentence, in order; none where it names no subject."""
    found = next(phrases_by_sentence(text), ("", []))
    return [] if NO_SUBJECT.search(found[0].strip()) else found[1]


def phrases_by_sentence(text: str) -> Iterator[tuple[str, list[NounPhrase]]]:
    """Every sentence, and what a semicolon parts, with its phrases. Quotations and hedges are passed over."""
    own = QUOTED.sub(lambda found: " " * len(found[0]), text)
    own = HEDGE.sub(lambda found: " " * len(found[0]), own)
    for match in SENTENCE.finditer(own):
        yield match[0], list(_phrases(match.start(), match[0]))


def _phrases(offset: int, sentence: str) -> Iterator[NounPhrase]:
    for start, words in _runs(sentence, _begin(sentence)):
        phrase = _phrase(offset + start, words)
        if phrase is not None:
            yield phrase


def without_colours(words: Sequence[str]) -> tuple[str, ...]:
    """What remains of the words before a noun that may be part of its name."""
    return tuple(word for word in words if word not in COLOURS | SHADES | SIZES | {"and"})


def hedge_at(text: str, phrase: NounPhrase) -> bool:
    """Whether a hedge covers the phrase: the nearest words before it. What the text does not say is not hedged."""
    return any(0 <= phrase.start - hedge.end() <= 2 for hedge in HEDGE.finditer(text))


def _begin(sentence: str) -> int:
    """Where the subject's phrase starts: behind a place that comes first, a label, and the medium."""
    place = len(sentence) - len(sentence.lstrip())
    for opening in (LABEL, PLACE_FIRST, MEDIUM):
        found = opening.match(sentence[place:])
        place += found.end() if found else 0
        place += len(sentence[place:]) - len(sentence[place:].lstrip())
    return place


def _runs(sentence: str, begin: int) -> Iterator[tuple[int, list[str]]]:
    """Words in a row without a cut or a comma between them, each run with where it starts."""
    run: list[str] = []
    start = end = begin
    for match in WORD.finditer(sentence, begin):
        word = match[0].lower()
        broken = re.search(r"[,:()–—]", sentence[end : match.start()]) is not None
        if run and (broken or _is_action(word, run) or (word in CUTS and not _within_colours(word, run))):
            yield start, run
            run = []
        end = match.end()
        if run or not (word in CUTS or word == "of" or _is_action(word, run)):
            start = start if run else match.start()
            run.append(word)
    if run:
        yield start, run


def _within_colours(word: str, run: Sequence[str]) -> bool:
    """`black and white dog` is one phrase."""
    return word == "and" and run[-1] in COLOURS


def _is_action(word: str, run: Sequence[str]) -> bool:
    """`a dog running` ends before its action; a washing machine and a religious building do not."""
    named = [one for one in run if one not in BEFORE_NOUN | COLOURS | SHADES | SIZES | NUMBERS.keys()]
    return len(word) > 5 and word.endswith("ing") and bool(named) and word not in THINGS_IN_ING


def _phrase(start: int, words: Sequence[str]) -> NounPhrase | None:
    number, rest = _stripped(words)
    if not set(rest) - BEFORE_NOUN:
        return None
    joint = next((word for word in rest if word in ("or", "of")), None)
    parts = [_stripped(part)[1] for part in _split(rest, joint)] if joint else [rest]
    if joint == "of" and parts[0] and parts[0][-1] in COUNTERS:
        parts = parts[1:]
    return NounPhrase(rest, tuple(filter(None, parts)), start, number, alternatives=joint == "or")


def _stripped(words: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The number, and the words without article and number; the last word always stays."""
    number, place = None, 0
    while place < len(words) - 1 and (words[place] in BEFORE_NOUN | NUMBERS.keys() or words[place].isdigit()):
        number = number if words[place] in BEFORE_NOUN - VAGUE_NUMBERS else words[place]
        place += 1
    return number, tuple(words[place:])


def _split(words: Sequence[str], at: str | None) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == at:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts
