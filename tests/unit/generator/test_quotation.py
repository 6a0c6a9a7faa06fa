"""Text in the image: read in order, harmless, whole words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.quotation import harmless, quoted_text, shortened
from tests.unit.generator.builders import HOSTILE, box, calm, line


def test_lines_are_quoted_in_reading_order() -> None:
    """Rows from the top, each from the left, however the reader found them."""
    found = quoted_text(
        [
            line("world", where=box(0.5, 0.1, 0.9, 0.2)),
            line("again", 0.85, where=box(0.1, 0.5, 0.9, 0.6)),
            line("Hello", where=box(0.1, 0.11, 0.4, 0.21)),
        ]
    )
    assert found is not None
    assert (found.text, found.lines, found.score) == ("Hello world again", 3, 0.85)
    assert found.box == box(0.1, 0.1, 0.9, 0.6)


@pytest.mark.parametrize("illegible", [line("Hello", 0.79), line("I"), line("…·,"), line("\u202e\u200b")])
def test_what_cannot_be_read_is_not_quoted(illegible: object) -> None:
    """Below 0.8, or less than two letters: the reader sees text in textures."""
    assert quoted_text([illegible]) is None  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ('He said "run"', "He said 'run'"),
        ("“hide”", "'hide'"),
        ("one\ntwo\r\n three", "one two three"),
        ("abc\u202egnp.exe", "abcgnp.exe"),
        ("cafe\u0301", "café"),
        ("<b>SALE</b>", "‹b›SALE‹/b›"),
        ("3 < 5 > 2", "3 < 5 > 2"),
        ("STOP 🛑 ❤️ now", "STOP now"),
        ("50 % off", "50 % off"),
        ("a\\b", "a\\b"),
    ],
)
def test_text_is_told_as_it_is_seen_and_can_do_nothing(found: str, told: str) -> None:
    """Letters stay; what is unseen, breaks a line, closes a quotation or makes markup does not."""
    assert told == harmless(found)


@calm
@given(st.text() | st.sampled_from(HOSTILE))
def test_no_text_leaves_its_quotation(found: str) -> None:
    """Whatever stands in an image: one line, no double quote, nothing unseen, stable."""
    told = harmless(found)
    assert '"' not in told
    assert told == " ".join(told.split())
    assert not {unicodedata.category(character)[0] for character in told} & {"C"}
    assert told == harmless(told)


@calm
@given(st.text(alphabet="ab ", max_size=60), st.integers(1, 40))
def test_a_cut_text_ends_with_a_whole_word(text: str, limit: int) -> None:
    """Never in the middle of a word, unless the first word alone is too long."""
    told = " ".join(text.split())
    short = shortened(told, limit)
    assert len(short) <= limit
    assert told.startswith(short)
    first_word = told.split(" ")[0]
    if short != told and len(first_word) <= limit:
        assert told[len(short)] == " "
