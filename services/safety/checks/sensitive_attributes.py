"""Traits of persons that nobody can see and nobody may infer (A20: W3C and IPTC say what is there, not who it is).

Word lists by kind of trait that fire only where they are said of a person: "a blind man" does, "a blind with white
slats" does not. Quotations are exempt, and so is what the publisher supplied. Names cannot be told from other words
by a list; only names that a title or "called" announces are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from captionstream.contracts.messages import CheckFinding
from services.safety.checks.check import Check, CheckContext
from services.safety.lexicons import Lexicon
from services.safety.words import Phrases, Span, Word, unquoted, words

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
    found = words(text)
    for kind, phrases in lexicon.attributes.items():
        yield from (
            (kind, place(found, span)) for span in phrases.found(found) if describes(found, span, lexicon)
        )
    for kind, phrases in lexicon.conditions.items():
        yield from (
            (kind, place(found, span)) for span in phrases.found(found) if is_had(found, span[0], lexicon)
        )
    for kind, phrases in lexicon.labels.items():
        yield from ((kind, place(found, span)) for span in phrases.found(found))
    for span in ages(text, found):
        if person_after(found, span[1], lexicon) or person_near(found, span[0], lexicon):
            yield "age", place(found, span)
    yield from (("gender", place(found, span)) for span in lexicon.gendered.found(found))
    yield from (("name", span) for span in names(text, found, lexicon))


def ages(text: str, found: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """First and past-the-last word of "12-year-old", "12 years old" and "12 años"."""
    for match in AGE.finditer(text):
        inside = [
            at for at, word in enumerate(found) if match.start() < word.end and word.start < match.end()
        ]
        yield inside[0], inside[-1] + 1


def person_near(found: Sequence[Word], place: int, lexicon: Lexicon) -> bool:
    """Whether a person stands a few words to the left, in the same clause."""
    for word in reversed(found[max(0, place - AGE_DISTANCE - 1) : place + 1]):
        if word is not found[place] and is_person(word, lexicon):
            return True
        if not word.joined:
            return False
    return False


def place(found: Sequence[Word], span: tuple[int, int]) -> Span:
    return found[span[0]].start, found[span[1] - 1].end


def describes(found: Sequence[Word], span: tuple[int, int], lexicon: Lexicon) -> bool:
    """Whether the attribute belongs to a person: before the noun, after it, or after "is"."""
    first, last = span
    if lexicon.adjectives_follow and person_before(found, first, lexicon):
        return True
    return person_after(found, last, lexicon) or (
        said_by_copula(found, first, lexicon) and ends(found, last, lexicon)
    )


def person_after(found: Sequence[Word], place: int, lexicon: Lexicon) -> bool:
    """Past words that may stand between: "a blind, smiling old man"."""
    while place < len(found) and found[place].listed and joins(found[place], lexicon):
        place += 1
    if place == len(found) or not found[place].joined:
        return False
    if found[place].folded in lexicon.people:
        return True
    return found[place].folded in lexicon.compound_people and ends(found, place + 1, lexicon)


def person_before(found: Sequence[Word], place: int, lexicon: Lexicon) -> bool:
    """The same to the left: "un hombre mayor, ciego"."""
    while place > 0 and found[place].listed and joins(found[place - 1], lexicon):
        if is_person(found[place - 1], lexicon):
            return True
        place -= 1
    return place > 0 and found[place].joined and is_person(found[place - 1], lexicon)


def joins(word: Word, lexicon: Lexicon) -> bool:
    return word.folded in lexicon.modifiers or any(
        word.folded in listed for listed in lexicon.attributes.values()
    )


def is_person(word: Word, lexicon: Lexicon) -> bool:
    return word.folded in lexicon.people or word.folded in lexicon.compound_people


def said_by_copula(found: Sequence[Word], place: int, lexicon: Lexicon) -> bool:
    """ "The man is very ill": a person, a copula, then nothing but words that may stand between."""
    while place > 0 and found[place].listed and joins(found[place - 1], lexicon):
        place -= 1
    return follows(found, place, lexicon.copulas, lexicon)


def is_had(found: Sequence[Word], place: int, lexicon: Lexicon) -> bool:
    """ "A man with autism": a person, then what joins a person to a condition."""
    return follows(found, place, lexicon.links, lexicon)


def follows(found: Sequence[Word], place: int, joint: Phrases, lexicon: Lexicon) -> bool:
    """Whether a person and a phrase of `joint` stand right before `place`."""
    if not found[place].joined:
        return False
    starts = (start for start, end in joint.found(found[:place]) if end == place)
    return any(start > 0 and found[start].joined and is_person(found[start - 1], lexicon) for start in starts)


def ends(found: Sequence[Word], place: int, lexicon: Lexicon) -> bool:
    """Whether no noun follows that the words before would rather belong to."""
    if place >= len(found) or not found[place].joined:
        return True
    return found[place].folded in lexicon.function_words or found[place].folded.endswith(("ing", "ed"))


def names(text: str, found: Sequence[Word], lexicon: Lexicon) -> Iterator[Span]:
    """Capitalised words after a title or after "named"."""
    for phrases in (lexicon.titles, lexicon.naming):
        for _, last in phrases.found(found):
            end = last
            while end < len(found) and CAPITAL.match(text, found[end].start):
                end += 1
            if end > last:
                yield place(found, (last, end))


def unsettled(text: str, context: CheckContext) -> int:
    """Where the words at the end begin that may still turn out to be said of a person."""
    lexicon = context.lexicon
    found = words(unquoted(text))
    lists = (*lexicon.attributes.values(), *lexicon.conditions.values(), *lexicon.labels.values())
    broken = [phrases.unsettled(found, len(text)) for phrases in lists]
    spans = [span for listed in lexicon.attributes.values() for span in listed.found(found)]
    row = trailing(found, [*spans, *ages(unquoted(text), found)], lexicon)
    return min([len(text) if row is None else found[row].start, age_at_end(text), *broken])


def trailing(found: Sequence[Word], spans: Sequence[tuple[int, int]], lexicon: Lexicon) -> int | None:
    """The first of the attributes in the row of words at the end that may stand before a person."""
    place, row = len(found), None
    while place > 0:
        starts = [first for first, last in spans if last == place]
        if starts:
            row = place = min(starts)
        elif joins(found[place - 1], lexicon) or found[place - 1].folded in lexicon.compound_people:
            place -= 1
        else:
            break
    return row


def age_at_end(text: str) -> int:
    """ "A 12 " may become "a 12 year old"."""
    match = BEGUN_AGE.search(text)
    return match.start() if match else len(text)


CHECK = Check(
    name=NAME,
    rules=frozenset({*KINDS, "gender", "name"}),
    examine=sensitive_attributes,
    unsettled=unsettled,
)
