"""Text in the making: the first words at once, then about a line at a time, whole words only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.generator.pacing import EVERY_S, OPENING_CHARACTERS, STEP_CHARACTERS, Pace

TEXT = "A brown dog with a red ball is lying on the grass beside a white wall with two small windows."


@dataclass
class Watch:
    """Stands still unless it is put forward."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def sent(texts: Iterable[str], step_s: float, watch: Watch | None = None) -> list[str]:
    """What is due of these texts, which come one after the other, `step_s` apart."""
    watch = watch or Watch()
    pace = Pace(watch)
    told = []
    for text in texts:
        if (due := pace.due(text)) is not None:
            told.append(due)
        watch.now += step_s
    return told


def growing(text: str = TEXT, by: int = 3) -> list[str]:
    return [text[:end] for end in range(by, len(text) + by, by)]


def test_the_first_two_words_are_due_at_once() -> None:
    """No time has passed, and the words stand with the space that ends them."""
    assert ["A brown "] == sent(["A", "A br", "A brown", "A brown d"], 0.0)


def test_each_of_the_next_words_is_due_until_the_text_has_begun() -> None:
    """Safety may wait for one more word before it shows the first ones."""
    assert ["On a ", "On a big ", "On a big red "] == sent(growing("On a big red bus there is a dog", 1), 0.0)
    assert OPENING_CHARACTERS <= len("On a big red ")


def test_later_words_come_a_line_at_a_time() -> None:
    """However slowly they are written: here a second lies between two letters."""
    assert [
        "A brown ",
        "A brown dog ",
        "A brown dog with a red ball is lying on the ",
        "A brown dog with a red ball is lying on the grass beside a white wall with two ",
    ] == sent(growing(by=1), 1.0)


def test_later_words_come_no_faster_than_they_are_read() -> None:
    """All is written within the time of one step: what follows the first words comes with the caption."""
    assert ["A brown ", "A brown dog "] == sent(growing(by=1), EVERY_S / (2 * len(TEXT)))


def test_a_step_is_due_when_its_time_has_come_and_not_before() -> None:
    """Exactly then, with all words that have come by then."""
    watch = Watch(0.0)
    pace = Pace(watch)
    assert "A brown dog " == pace.due("A brown dog ")
    watch.now = EVERY_S - 0.01
    assert pace.due(TEXT[:50]) is None
    watch.now = EVERY_S
    assert "A brown dog with a red ball is lying on the grass " == pace.due(TEXT[:54])


def test_another_beginning_shows_nothing() -> None:
    """A second try may not take back what was shown; one that goes on as the first did may go on."""
    assert ["A brown ", "A brown dog "] == sent(["A brown dog", "A blue bird ", "A brown dog ", ""], 1.0)


def test_the_last_words_are_left_to_the_caption() -> None:
    """They end with no space, and the caption follows."""
    assert ["A brown "] == sent(["A brown dog."], 1.0)


@given(
    st.lists(st.text("ab .,", max_size=9), max_size=40),
    st.lists(st.floats(0, 1), min_size=40, max_size=40),
)
def test_whatever_comes_each_text_begins_the_next_one(pieces: list[str], waits: list[float]) -> None:
    """Whole words of what was written, longer each time, in few steps."""
    text, told, watch = "", list[str](), Watch()
    pace = Pace(watch)
    for piece, wait in zip(pieces, waits, strict=False):
        text, watch.now = text + piece, watch.now + wait
        told += filter(None, [pace.due(text)])
    assert all(text.startswith(shown) and shown.endswith(" ") for shown in told)
    assert all(later.startswith(shown) and len(later) > len(shown) for shown, later in pairwise(told))
    assert len(told) <= OPENING_CHARACTERS + len(text) / STEP_CHARACTERS
