"""Counts: rows add up to windows, and stay small whatever comes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionstream.contracts import messages as m
from captionstream.contracts.values import Profile
from services.monitor.rates import (
    MINUTE,
    MOST_NAMES,
    MOST_SAMPLES,
    WAIT_BOUNDS,
    between,
    counted,
    empty,
    merged,
    minute_of,
    named,
    quantile,
    refused,
)  # fmt: skip
from tests.builders import NOON
from tests.unit.monitor import builders as b

ALT = Profile.ALT


def row_of(*answers: m.Answer) -> m.CaptionRates:
    row = empty(minute_of(answers[0].answered_at), answers[0].event.profile)
    for answer in answers:
        row = counted(row, answer, repeated=False)
    return row


def test_a_row_says_what_became_of_the_events() -> None:
    """Published, held and refused with its reason; hedged and abstained among the published."""
    row = row_of(
        b.published("a", hedged=True), b.published("b", abstained=True), b.held("c"), b.refused("d"), b.refused("e")
    )  # fmt: skip
    assert (5, 2, 1, 2) == (row.answers, row.published, row.held, refused(row))
    assert {"undecodable": 2} == row.refused
    assert (1, 1, 1) == (row.hedged, row.abstained, row.described)
    assert {"plain": 2} == row.writers


def test_a_row_holds_ids_and_no_text() -> None:
    """Operators read these rows: what was said of a picture is not for them."""
    answer = b.published("a", text="A secret of somebody.")
    row = row_of(answer)
    assert "secret" not in row.model_dump_json()
    assert (answer.caption_id,) == row.samples["published"]


def test_a_row_stays_small() -> None:
    """A thousand tenants are twenty names and `other`; samples are the latest five."""
    answers = [b.refused(f"event-{place}", tenant=f"tenant-{place}") for place in range(1000)]
    row = row_of(*answers)
    assert MOST_NAMES + 1 == len(row.tenants)
    assert 1000 - MOST_NAMES == row.tenants["other"]
    assert tuple(answer.caption_id for answer in answers[-MOST_SAMPLES:]) == row.samples["refused"]


@given(st.lists(st.text(max_size=2), max_size=60))
def test_no_name_is_lost_in_the_sum(names: list[str]) -> None:
    """However many names there are, every answer is under one of them."""
    counts: dict[str, int] = {}
    for name in names:
        counts = named(counts, name)
    assert len(names) == sum(counts.values())
    assert len(counts) <= MOST_NAMES + 1


@given(
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from(["published", "held", "refused"])), max_size=40)
)
def test_rows_add_up_to_what_one_row_would_have_held(given_answers: list[tuple[int, str]]) -> None:
    """A window is the sum of its minutes: nothing is counted twice or lost at an edge."""
    rows: dict[bytes, m.CaptionRates] = {}
    whole = empty(NOON, ALT)
    for place, (seconds, kind) in enumerate(given_answers):
        answer: m.Answer = getattr(b, kind)(f"event-{place}", NOON + timedelta(seconds=seconds))
        new = empty(minute_of(answer.answered_at), ALT)
        rows[new.key] = counted(rows.get(new.key, new), answer, repeated=False)
        whole = counted(whole, answer, repeated=False)
    total = merged(rows.values())
    counts = set(m.CaptionRates.model_fields) - {"minute", "samples", "read_to"}
    if total is None:
        assert [] == given_answers
    else:
        assert whole.model_dump(include=counts) == total.model_dump(include=counts)


def test_a_window_ends_with_its_minute_and_begins_after_the_one_before() -> None:
    """Windows that follow each other share no minute."""
    rows = [empty(NOON + place * MINUTE, ALT) for place in range(4)]
    first, second = (
        between(rows, ALT, NOON + start * MINUTE, NOON + (start + 2) * MINUTE) for start in (-1, 1)
    )
    assert (rows[:2], rows[2:]) == (first, second)
    assert [] == between(rows, Profile.PRODUCT, NOON - MINUTE, NOON + 9 * MINUTE)


@settings(max_examples=80)
@given(st.lists(st.floats(0, 700), min_size=1, max_size=20), st.sampled_from([0.5, 0.95]))
def test_a_quantile_lies_in_the_class_of_the_true_one(waits: list[float], share: float) -> None:
    """Classes make it coarse, never wrong by more than one class."""
    row = row_of(*(b.published(f"event-{place}", waited_s=waited) for place, waited in enumerate(waits)))
    true = sorted(waits)[max(0, -(-int(share * 100) * len(waits) // 100) - 1)]
    estimate = quantile(row.waits, share)
    assert estimate is not None
    lower = max((bound for bound in (0.0, *WAIT_BOUNDS) if bound < true), default=0.0)
    upper = min((bound for bound in WAIT_BOUNDS if bound >= true), default=WAIT_BOUNDS[-1])
    assert lower - 1e-6 <= estimate <= upper + 1e-6


def test_no_answers_have_no_quantile() -> None:
    """Nothing is said where nothing is known."""
    assert quantile(empty(NOON, ALT).waits, 0.5) is None


@pytest.mark.parametrize("confidence", [0.0, 0.999, 1.0])
def test_every_confidence_has_a_class(confidence: float) -> None:
    """Certainty itself belongs to the last tenth."""
    assert 1 == sum(row_of(b.published("a", confidence=confidence)).confidences)
