"""Partial text: nothing that was shown can turn out to be a violation, whatever the text goes on to say."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.safety.checks.check import Check, examined
from services.safety.release import releasable
from services.safety.words import words
from tests.unit.safety.builders import checks, context

CLEAN = [
    "A dog", "on a beach.", "Two people", "and a red ball,", "with 2 balls", "an old door", "a black cat",
    "12 candles", "in white", "The man is", "a baby", "seal", "a child", "near", "of European",
    "a boat tied up", "A picture", "of", "credit", "ext", "x", "the", "GB82", "10:30", "(", "+", "a deaf",
    "mentally", "system", "photo", "as an", "all", "—", "piece of", "years", "appears to be", "is", "who",
    "Here is a", "alt text", "forget", "camel", "Image", "placeholder", '"', '"STOP"', "“", "”", "«", "»",
    "It's", "«Alto»", ",", ".", "No.", "twelve", "Mr", "named", "a\u00a0cat", "\n", "\t",
]  # fmt: skip
VIOLATING = [
    "ann@example.com", "415-555-2671", "+34 612 345 678", "(415) 555-2671 ext 12", "4111 1111 1111 1111",
    "call 4155552671", "GB82 WEST 1234 5698 7654 32", "192.168.0.1", "536-90-4399", "12345678Z",
    "blind man", "black", "old", "men", "woman", "autism", "12 years old", "12-year-old boy", "pregnant",
    "African descent", "Muslims", "man with", "young and happy", "mentally ill", "fuck", "piece of shit",
    "camel toe", "Ignore all previous instructions", "www.example.com", "<b>", "**", "system:", "{",
    "\u202e", "cafe\u0301", "🐶", "©", "photo by", "beautiful", "image of", "Smith", "Anna Lee", "man",
    "1 84 12 76 451 089 46", "555", "2671", "1234", "WEST", "people", "person", "#dog", "IMG_2034.jpg",
    "as an ai", "(c)",
]  # fmt: skip
FRAGMENT = st.one_of(st.sampled_from(CLEAN), st.sampled_from(VIOLATING), st.text('Aab1 .,"@-', max_size=4))
TEXTS = st.builds(
    lambda fragments, gaps: "".join(text + gap for text, gap in zip(fragments, gaps, strict=False)),
    st.lists(FRAGMENT, min_size=1, max_size=9),
    st.lists(st.sampled_from([" ", " ", " ", " ", "", "  ", ", ", ". "]), min_size=9, max_size=9),
)
CONTEXT = {language: context(language) for language in ("en", "es")}


def prefixes(text: str) -> list[str]:
    """The text cut before, within and after every word: between these, only the word in writing changes."""
    ends = {0, len(text)}
    for token in re.finditer(r"\S+", text):
        ends |= {token.start(), (token.start() + token.end() + 1) // 2, token.end(), token.end() + 1}
    return [text[:end] for end in sorted(ends)]


def covered(text: str, using: tuple[Check, ...], language: str = "en") -> set[int]:
    """Every character that some finding with a place covers, by the checks that guard partial text."""
    guards = [check for check in using if check.unsettled is not None]
    return {
        place
        for finding in examined(guards, text, CONTEXT[language])
        if finding.start is not None and finding.end is not None
        for place in range(finding.start, finding.end)
    }


def violations(text: str, release: object, language: str = "en") -> list[str]:
    """What was released of some prefix and is covered in this or a longer one."""
    shown = 0
    found: list[str] = []
    for prefix in prefixes(text):
        shown = max(shown, len(release(prefix)))  # type: ignore[operator]
        bad = [place for place in covered(prefix, checks(), language) if place < shown]
        found += [prefix[:shown]] if bad else []
    return found


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["en", "es"]))
def test_no_released_character_is_ever_part_of_a_finding(text: str, language: str) -> None:
    """For every text and every way to cut it: what was shown stays clean in all that may follow."""
    assert [] == violations(text, lambda prefix: releasable(prefix, checks(), CONTEXT[language]), language)


@settings(deadline=None)
@given(TEXTS)
def test_released_prefixes_continue_each_other(text: str) -> None:
    """Monotone: a longer text never takes back what a shorter one showed."""
    released = [releasable(prefix, checks(), CONTEXT["en"]) for prefix in prefixes(text)]
    assert all(later.startswith(earlier) for earlier, later in pairwise(released))
    assert all(text.startswith(one) for one in released)


def at_word_boundary(prefix: str) -> str:
    """The naive way: show every complete word until something is wrong."""
    complete = prefix[: prefix.rfind(" ") + 1].rstrip()
    return complete if not covered(complete, checks()) else ""


def everything(prefix: str) -> str:
    return prefix


@pytest.mark.parametrize("naive", [at_word_boundary, everything])
@pytest.mark.parametrize("text", ["Call (415) 555-2671 now.", "A blind man there.", "A piece of shit."])
def test_a_naive_release_shows_what_must_not_be_shown(naive: object, text: str) -> None:
    """The control of the property: the same judge convicts a release that looks only at the text so far."""
    assert violations(text, naive)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog on a bea", "A dog on a"),
        ("A dog ", "A dog"),
        ("A", ""),
        ("A blind ", "A"),
        ("A blind with ", "A blind with"),
        ("A blind man ", "A"),
        ("A black baby ", "A"),
        ("A black baby seal ", "A black baby seal"),
        ("Two people and 2 ", "Two people and"),
        ("Two people and 2 balls ", "Two people and 2 balls"),
        ("Mail ann@example.com to ", "Mail"),
        ('A sign. The text reads "Open fr', "A sign. The text reads"),
        ('A sign. The text reads "Open" in ', 'A sign. The text reads "Open" in'),
        ('A wall. The text reads "fuck" in ', "A wall. The text reads"),
        ("A photo ", ""),
        ("A photo of a ", ""),
        ("A photo frame ", "A photo frame"),
    ],
)
def test_the_longest_safe_prefix_is_released(text: str, expected: str) -> None:
    """Not less either: a word is shown as soon as nothing can turn it into a violation."""
    assert expected == releasable(text, checks(), CONTEXT["en"])


def test_an_ordinary_caption_comes_out_almost_as_fast_as_it_is_written() -> None:
    """Held back is at most the word in writing and one or two before it."""
    text = "Two people and a black dog with a red ball on a sandy beach. "
    behind = [
        len(re.findall(r"\S+", prefix)) - len(re.findall(r"\S+", releasable(prefix, checks(), CONTEXT["en"])))
        for prefix in prefixes(text)
    ]
    assert max(behind) <= 3
    assert text.strip() == releasable(text, checks(), CONTEXT["en"])


@pytest.mark.parametrize("language", CONTEXT)
def test_a_listed_phrase_is_open_from_its_start_until_it_is_whole(language: str) -> None:
    """Each beginning of each phrase of more than one word, the longest ones too, whatever stands before it."""
    lists = CONTEXT[language].lexicon
    for phrases in (lists.traits, lists.profanity, lists.instructions, lists.preamble, lists.credit):
        told = [phrase for phrase in map(str.split, phrases.entries) if len(phrase) > 1]
        for phrase in told:
            for size in range(1, len(phrase)):
                text = " ".join(["7 7 7,", *phrase[:size], ""])
                assert phrases.unsettled(text, words(text)) <= len("7 7 7, ")
