"""Redaction: places are those of the published text, no token is left in parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionstream.contracts.messages import CheckFinding
from services.safety.redaction import STICKY, redacted, says_something
from tests.unit.safety.builders import lists

WORDS = {"default": "[removed]", "email": "[email address]"}
TEXT = st.text('ab .@-é"', max_size=40)
SPAN = st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["email", "x"]))


def finding(start: int, end: int, rule: str = "email") -> CheckFinding:
    return CheckFinding(check="personal-data", rule=rule, start=start, end=end)


def test_a_span_gives_way_to_a_neutral_word() -> None:
    """The word is that of the rule, and the place is where it now stands."""
    text = "Write to ann@example.com today."
    result = redacted(text, [finding(9, 24)], WORDS)
    assert "Write to [email address] today." == result.text
    assert [(9, 24, "email")] == [(one.start, one.end, one.rule) for one in result.redactions]


def test_overlapping_spans_are_one_redaction() -> None:
    """The longest part names it."""
    result = redacted("Call ann@example.com.", [finding(9, 16, "url"), finding(5, 20)], WORDS)
    assert "Call [email address]." == result.text
    assert ["email"] == [one.rule for one in result.redactions]


@pytest.mark.parametrize(
    ("text", "covered", "expected"),
    [
        ("Mail xann@example.comx now.", "ann@example.com", "Mail [email address] now."),
        ("Mail ann@example.com.", "ann@example.com", "Mail [email address]."),
        ("Mail (ann@example.com) now.", "ann@example", "Mail ([email address]) now."),
        ('The text reads "ann@example.com".', "ann", 'The text reads "[email address]".'),
    ],
)
def test_no_part_of_a_token_is_left(text: str, covered: str, expected: str) -> None:
    """A check that saw too little must not leave half an address; punctuation around it stays."""
    start = text.index(covered)
    assert expected == redacted(text, [finding(start, start + len(covered))], WORDS).text


@given(TEXT, st.lists(SPAN, max_size=5))
def test_places_hold_in_the_published_text(text: str, spans: list[tuple[int, int, str]]) -> None:
    """Every redaction stands where it says; around it is the original, and no covered character is left."""
    found = [finding(a, b, rule) for a, b, rule in spans if a < b <= len(text)]
    result = redacted(text, found, WORDS)
    rest, last = [], 0
    for one in result.redactions:
        assert one.replacement == result.text[one.start : one.end]
        assert one.start >= last
        rest.append(result.text[last : one.start])
        last = one.end
    rest.append(result.text[last:])
    uncovered = sum(not any(f.start <= place < f.end for f in found) for place in range(len(text)))  # type: ignore[operator]
    assert len("".join(rest)) <= uncovered
    position = 0
    for part in rest:
        assert part in text[position:]
        position = text.index(part, position) + len(part)


@given(TEXT, st.integers(0, 39), st.integers(1, 40))
def test_the_edges_of_a_redaction_are_edges_of_tokens(text: str, start: int, length: int) -> None:
    """Whatever a check covers, no letter is left touching the replacement that touched the covered part."""
    end = min(len(text), start + length)
    if start >= end:
        return
    result = redacted(text, [finding(start, end)], WORDS)
    before, after = text[: result.redactions[0].start], result.text[result.redactions[0].end :]
    removed = text[len(before) : len(text) - len(after)]
    touching = STICKY.match(before + removed, len(before) - 1) if before else None
    assert not (touching and STICKY.match(removed, 0))


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=30), st.booleans()), min_size=2, max_size=8))
def test_places_are_right_when_several_words_go(parts: list[tuple[str, bool]]) -> None:
    """Each redaction is longer or shorter than what it stands for, so the later places move."""
    starts = [sum(len(word) + 1 for word, _ in parts[:place]) for place in range(len(parts))]
    found = [
        finding(start, start + len(word)) for start, (word, gone) in zip(starts, parts, strict=True) if gone
    ]
    result = redacted(" ".join(word for word, _ in parts), found, WORDS)
    assert " ".join(WORDS["email"] if gone else word for word, gone in parts) == result.text
    assert [WORDS["email"]] * len(found) == [result.text[one.start : one.end] for one in result.redactions]


def test_without_findings_the_text_is_as_it_was() -> None:
    """No finding, or one without a place, changes nothing."""
    assert "A dog." == redacted("A dog.", [], WORDS).text
    assert () == redacted("A dog.", [CheckFinding(check="alt", rule="A08")], WORDS).redactions


def test_a_caption_of_which_nothing_is_left_says_nothing() -> None:
    """A hole with an article around it is not a caption."""
    function_words = lists().function_words.entries
    text = "The ann@example.com."
    assert not says_something(redacted(text, [finding(4, 19)], WORDS), [], function_words)
    text = "A sign with ann@example.com."
    assert says_something(redacted(text, [finding(12, 27)], WORDS), ["sign"], function_words)
    assert not says_something(redacted(text, [finding(2, 6)], WORDS), ["sign"], function_words)
