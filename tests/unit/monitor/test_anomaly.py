"""What stands out: raised once, cleared once, and never by a handful or by chance."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2  # type: ignore[import-untyped]

from captionstream.contracts import messages as m
from captionstream.contracts.values import Profile
from services.monitor.anomaly import CHANCE_CHI2, CLEARED_BELOW, Rule, judged, rules, stability_index
from services.monitor.rates import TENTHS, empty
from services.monitor.settings import MonitorSettings
from tests.builders import NOON

RULES = {rule.kind: rule for rule in rules(MonitorSettings())}
REFUSALS = RULES[m.AnomalyKind.REFUSALS]
DRIFT = RULES[m.AnomalyKind.DRIFT]

COUNTS = st.lists(st.integers(0, 1000), min_size=TENTHS, max_size=TENTHS)


def window(answers: int, refused: int = 0, **fields: object) -> m.CaptionRates:
    base = empty(NOON, Profile.ALT)
    return base.model_copy(
        update={
            "answers": answers,
            "published": answers - refused,
            "refused": {"internal": refused},
            **fields,
        }
    )


def scores(counts: Sequence[int]) -> m.CaptionRates:
    return window(sum(counts), confidences=tuple(counts))


def decided(
    rule: Rule, now: m.CaptionRates, before: m.CaptionRates | None = None, standing: m.Anomaly | None = None
) -> m.Anomaly | None:
    return judged(rule, now, before, standing, NOON)


def test_a_wave_of_refusals_is_raised_with_what_shows_it() -> None:
    """Kind, value, threshold, what is usual, and the captions to look at."""
    now = window(100, 50, samples={"refused": ("f" * 64,)})
    raised = decided(REFUSALS, now, window(200, 4))
    assert isinstance(raised, m.AnomalyRaised)
    assert (0.5, 0.3, 0.02, 100) == (raised.value, raised.threshold, raised.baseline, raised.answers)
    assert ("f" * 64,) == raised.captions
    assert NOON == raised.since == raised.at


def test_one_of_two_refused_is_no_wave() -> None:
    """A handful is no evidence: neither for an onset nor for an end."""
    assert decided(REFUSALS, window(2, 1)) is None
    assert decided(REFUSALS, window(29, 29)) is None
    raised = decided(REFUSALS, window(30, 30))
    assert isinstance(raised, m.AnomalyRaised)
    assert decided(REFUSALS, window(2, 0), standing=raised) is None


def test_what_is_usual_is_no_anomaly() -> None:
    """A feed of which 60 % was always refused needs more than that."""
    assert decided(REFUSALS, window(100, 60), window(1000, 600)) is None
    assert isinstance(decided(REFUSALS, window(100, 85), window(1000, 600)), m.AnomalyRaised)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=60))
def test_onsets_and_ends_take_turns(shares: list[int]) -> None:
    """Whatever the values do: no second alarm before an end, and none at a value that hovers at the border."""
    standing: m.Anomaly | None = None
    told: list[m.Anomaly] = []
    for share in shares:
        anomaly = decided(REFUSALS, window(100, share), standing=standing)
        if anomaly is not None:
            told.append(anomaly)
            standing = anomaly
    kinds = [type(anomaly) for anomaly in told]
    assert ([m.AnomalyRaised, m.AnomalyCleared] * len(kinds))[: len(kinds)] == kinds
    assert all(
        anomaly.value >= anomaly.threshold
        if isinstance(anomaly, m.AnomalyRaised)
        else anomaly.value < CLEARED_BELOW * anomaly.threshold
        for anomaly in told
    )


def test_a_value_at_the_border_is_raised_once() -> None:
    """29, 31, 29, 31 of a hundred with the border at 30: one alarm, not two."""
    standing: m.Anomaly | None = None
    told = 0
    for share in (29, 31, 29, 31, 29):
        anomaly = decided(REFUSALS, window(100, share), standing=standing)
        told += anomaly is not None
        standing = anomaly or standing
    assert 1 == told


def test_the_threshold_stays_as_it_was_when_raised() -> None:
    """A wave that lasts becomes what is usual; it is not over for that."""
    raised = decided(REFUSALS, window(100, 50), window(1000, 0))
    assert decided(REFUSALS, window(100, 50), window(1000, 500), raised) is None
    cleared = decided(REFUSALS, window(100, 10), window(1000, 500), raised)
    assert isinstance(cleared, m.AnomalyCleared)
    assert raised is not None and raised.since == cleared.since


def test_one_text_for_many_pictures_is_repetition() -> None:
    """Half of the captions that name something; those that abstain are not among them."""
    rule = RULES[m.AnomalyKind.REPETITION]
    assert isinstance(decided(rule, window(100, described=60, repeated=40)), m.AnomalyRaised)
    assert decided(rule, window(100, described=60, repeated=20)) is None
    assert decided(rule, window(100, described=20, repeated=20)) is None


def test_slow_answers_are_raised_from_half_a_minute_or_three_times_the_usual() -> None:
    """Seconds at the 95th percentile, against the hour before."""
    rule = RULES[m.AnomalyKind.LATENCY]
    in_class = {place: (*(0,) * place, 100, *(0,) * (16 - place)) for place in range(17)}
    assert isinstance(decided(rule, window(100, waits=in_class[12])), m.AnomalyRaised)  # 30 to 60 s
    assert decided(rule, window(100, waits=in_class[11])) is None
    assert decided(rule, window(100, waits=in_class[12]), window(1000, waits=in_class[11])) is None


def test_a_shift_of_scores_is_drift() -> None:
    """From sure to unsure; and back, when it is over."""
    sure, unsure = scores([0] * 7 + [100, 100, 100]), scores([10, 20, 30, 30] + [0] * 6)
    raised = decided(DRIFT, unsure, sure)
    assert isinstance(raised, m.AnomalyRaised)
    assert isinstance(decided(DRIFT, sure, sure, raised), m.AnomalyCleared)


def test_drift_needs_something_to_compare_with() -> None:
    """No hour before, or one of a few answers: nothing is said."""
    assert decided(DRIFT, scores([100] + [0] * 9)) is None
    assert decided(DRIFT, scores([100] + [0] * 9), scores([0] * 9 + [99])) is None


@pytest.mark.parametrize("size", [30, 60, 300])
def test_chance_is_no_drift(size: int) -> None:
    """Three hundred windows of one population, small and large: no alarm."""
    dice = random.Random(size)
    alarms = 0
    for _ in range(300):
        now, before = (
            scores([drawn.count(tenth) for tenth in range(TENTHS)])
            for drawn in (
                [min(9, int(dice.betavariate(4, 2) * TENTHS)) for _ in range(n)] for n in (size, 300)
            )
        )
        alarms += decided(DRIFT, now, before) is not None
    assert alarms <= 1


def test_the_quantile_of_chance_is_that_of_the_library() -> None:
    """The constant stands for nine degrees of freedom: ten classes."""
    assert CHANCE_CHI2 == pytest.approx(chi2.ppf(0.9999, TENTHS - 1), abs=0.001)


@given(COUNTS, COUNTS)
def test_the_stability_index_is_a_distance(now: list[int], before: list[int]) -> None:
    """Nought for the same, never below, finite for empty classes, and the same both ways."""
    assert 0 == stability_index(now, now)
    assert stability_index(now, before) >= 0
    assert stability_index(now, before) == pytest.approx(stability_index(before, now))
