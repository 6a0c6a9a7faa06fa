"""What is not as it should be: a window of the last minutes, held against a threshold and the hour before.

An anomaly is raised once, when its measure reaches the threshold, and cleared once, when the measure has fallen
clearly below what the threshold was then. Too few answers say nothing: how things stand then stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from captionstream.contracts import messages as m
from services.monitor.rates import quantile, refused
from services.monitor.settings import MonitorSettings

WINDOW_S = 300
REFERENCE_S = 3600
CLEARED_BELOW = 0.75
"""Share of the threshold that the measure must fall under, so that a value at the border raises once."""
LEAST_REFERENCE = 100
"""Fewer answers in the hour before tell nothing about what is usual."""
CHANCE_CHI2 = 33.720
"""Quantile 0.9999 of chi-squared with nine degrees of freedom: ten classes of confidence."""

Window = m.CaptionRates
Measure = Callable[[Window, Window | None], float | None]


@dataclass(frozen=True)
class Rule:
    """How one kind of anomaly is seen. `value` and `threshold` are given the window and its reference; None is
    "cannot be said". `size` is how many answers the value rests on, `least` how many it must; `shown_by` names
    the samples that show it."""

    kind: m.AnomalyKind
    least: int
    size: Callable[[Window], int]
    value: Measure
    threshold: Measure
    shown_by: str


def refusal_share(window: Window, reference: Window | None) -> float | None:
    return refused(window) / window.answers if window.answers else None


def repetition_share(window: Window, reference: Window | None) -> float | None:
    return window.repeated / window.described if window.described else None


def slowness(window: Window, reference: Window | None) -> float | None:
    return quantile(window.waits, 0.95)


def drift(window: Window, reference: Window | None) -> float | None:
    if reference is None or reference.published < LEAST_REFERENCE:
        return None
    return stability_index(window.confidences, reference.confidences)


def stability_index(now: Sequence[int], before: Sequence[int]) -> float:
    """Population stability index of two sets of counts in the same classes: the sum of (p - q) ln(p / q).

    Half an answer is added to every class, so that an empty one does not make it infinite.
    """
    n, k = sum(now) + len(now) / 2, sum(before) + len(before) / 2
    shares = [((one + 0.5) / n, (other + 0.5) / k) for one, other in zip(now, before, strict=True)]
    return sum((p - q) * math.log(p / q) for p, q in shares)


def beyond_chance(least: float) -> Measure:
    """`least`, or what two samples of one population may differ by: chi-squared times (1/n + 1/k).

    Source: Yurdakul, Statistical Properties of Population Stability Index, 2018.
    """

    def threshold(window: Window, reference: Window | None) -> float | None:
        if reference is None or not window.published or not reference.published:
            return None
        return max(least, CHANCE_CHI2 * (1 / window.published + 1 / reference.published))

    return threshold


def at_least(least: float, measure: Measure, usual: Callable[[float], float]) -> Measure:
    """A threshold of `least`, or above it what `usual` makes of the hour before."""

    def threshold(window: Window, reference: Window | None) -> float | None:
        before = baseline(measure, reference)
        return least if before is None else max(least, usual(before))

    return threshold


def baseline(measure: Measure, reference: Window | None) -> float | None:
    """The measure over the hour before; None when that hour holds too little."""
    if reference is None or reference.answers < LEAST_REFERENCE:
        return None
    return measure(reference, None)


def rules(told: MonitorSettings) -> tuple[Rule, ...]:
    """The four kinds. A share may be 0.2 above what is usual, a wait three times as long."""
    kinds = m.AnomalyKind
    return (
        Rule(
            kinds.REFUSALS, told.least_answers, lambda window: window.answers, refusal_share,
            at_least(told.refusals, refusal_share, lambda before: before + 0.2), "refused",
        ),
        Rule(
            kinds.REPETITION, told.least_answers, lambda window: window.described, repetition_share,
            at_least(told.repetition, repetition_share, lambda before: before + 0.2), "repeated",
        ),
        Rule(
            kinds.DRIFT, told.least_answers, lambda window: window.published, drift,
            beyond_chance(told.drift), "published",
        ),
        Rule(
            kinds.LATENCY, told.least_answers, lambda window: window.answers, slowness,
            at_least(told.latency_s, slowness, lambda before: 3 * before), "slow",
        ),
    )  # fmt: skip


def judged(
    rule: Rule, window: Window, reference: Window | None, standing: m.Anomaly | None, at: datetime
) -> m.Anomaly | None:
    """An anomaly that begins or ends; None while things stay as they are. `standing` is the last word on it."""
    value = measured(rule, window, reference)
    if value is None:
        return None
    if isinstance(standing, m.AnomalyRaised):
        if value >= CLEARED_BELOW * standing.threshold:
            return None
        return told(rule, m.AnomalyCleared, window, reference, value, standing.threshold, standing.since, at)
    threshold = rule.threshold(window, reference)
    if threshold is None or value < threshold:
        return None
    return told(rule, m.AnomalyRaised, window, reference, value, threshold, at, at)


def measured(rule: Rule, window: Window, reference: Window | None) -> float | None:
    """The value that counts: None when the window is too small for one."""
    return rule.value(window, reference) if rule.size(window) >= rule.least else None


def told(
    rule: Rule, kind: type[m.Anomaly], window: Window, reference: Window | None,
    value: float, threshold: float, since: datetime, at: datetime,
) -> m.Anomaly:  # fmt: skip
    return kind(
        kind=rule.kind, profile=window.profile, window_s=WINDOW_S, since=since, at=at,
        value=round(value, 4), threshold=round(threshold, 4), baseline=baseline(rule.value, reference),
        answers=rule.size(window), captions=window.samples.get(rule.shown_by, ()),
    )  # fmt: skip
