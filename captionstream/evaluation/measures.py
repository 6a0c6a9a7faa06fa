"""From judgements to figures: shares, calibration, latency, and the difference between two runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captionstream.contracts.values import StageName
from captionstream.evaluation.judgement import Judgement, Outcome

BINS = 10
RESAMPLES = 4000
Numbers = NDArray[np.float64]
Test = Callable[[Judgement], bool]

SHARES: Mapping[str, Test] = {
    "named": lambda j: j.category in ("exact", "within_two"),
    "vague": lambda j: j.category == "vague",
    "wrong": lambda j: j.category == "wrong",
    "hedged_wrong": lambda j: j.category == "hedged_wrong",
    "abstained": lambda j: j.category == "abstained",
}
"""They make up the whole."""

PARTS: Mapping[str, Test] = {
    "exact": lambda j: j.category == "exact",
    "within_two": lambda j: j.category == "within_two",
    "named_surely": lambda j: j.category in ("exact", "within_two") and not j.hedged,
}
OF_TEXTS: Mapping[str, Test] = {
    "unsupported": lambda j: bool(j.unsupported),
    "lint": lambda j: not j.lint,
    "language": lambda j: j.language == j.asked_language.split("-")[0].lower(),
}
"""Shares of the captions that have a text, as far as each can be measured (`measurable`)."""


def share(judgements: Sequence[Judgement], test: Test) -> float | None:
    """None of none."""
    return round(sum(map(test, judgements)) / len(judgements), 4) if judgements else None


def measurable(name: str, judgements: Sequence[Judgement]) -> list[Judgement]:
    return [j for j in judgements if _measured(name, j)]


def _measured(name: str, judgement: Judgement) -> bool:
    """Whether a share counts this one: texts that were read, texts that tell a language, labelled pictures."""
    match name:
        case "unsupported":
            return bool(judgement.text) and judgement.checked
        case "language":
            return judgement.language is not None
        case "lint":
            return bool(judgement.text)
        case _:
            return judgement.category is not None


def figures(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """All figures of one set; None where nothing could be measured."""
    judged = [j for j in judgements if j.category is not None]
    outcomes = Counter(j.outcome for j in judgements)
    return {
        "n": len(judgements),
        **{name: share(judged, test) for name, test in SHARES.items()},
        "calibration_error": calibration_error(judged),
        **{name: share(measurable(name, judgements), test) for name, test in OF_TEXTS.items()},
        **{name: share(judged, test) for name, test in PARTS.items()},
        "mean_confidence": mean_confidence(judged),
        **{str(outcome): outcomes[outcome] for outcome in Outcome},
        "lint_failures": dict(Counter(rule for j in judgements for rule in j.lint).most_common()),
        "latency_ms": latency(judgements),
    }


# ---------------------------------------------------------------- calibration


@dataclass(frozen=True)
class Bin:
    """Captions whose confidence lies in one tenth, with how often they were right."""

    n: int
    confidence: float
    right: float


def bins(judgements: Sequence[Judgement]) -> list[Bin]:
    """Ten bins of equal width over the captions that name something. Empty ones are left out.

    A hedged caption counts with its confidence like any other: "what may be a dog" at 0.6 should be a dog in
    six cases of ten. Right is what is true: also a name that is true and vague.
    """
    stated = [(j.confidence, j.right) for j in judgements if j.names_something and j.confidence is not None]
    filled: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in stated:
        filled.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, right))
    return [
        Bin(len(found), float(np.mean([c for c, _ in found])), float(np.mean([r for _, r in found])))
        for _, found in sorted(filled.items())
    ]


def calibration_error(judgements: Sequence[Judgement]) -> float | None:
    """Expected calibration error: the distance of confidence from truth, weighted by how many are in a bin."""
    found = bins(judgements)
    total = sum(each.n for each in found)
    return (
        round(sum(each.n * abs(each.confidence - each.right) for each in found) / total, 4) if total else None
    )


def mean_confidence(judgements: Sequence[Judgement]) -> float | None:
    told = [j.confidence for j in judgements if j.names_something and j.confidence is not None]
    return round(float(np.mean(told)), 4) if told else None


# ---------------------------------------------------------------- latency


def latency(judgements: Sequence[Judgement]) -> dict[str, dict[str, float]]:
    """Median and 95th percentile in ms of each stage, waited and worked, and of the whole way."""
    found: dict[str, dict[str, float]] = {}
    for stage in StageName:
        timings = [t for j in judgements for t in j.timings if t.stage is stage]
        if timings:
            found[stage.value] = {
                **quantiles("waited", [t.waited_ms for t in timings]),
                **quantiles("worked", [t.worked_ms for t in timings]),
            }
    totals = [j.total_ms for j in judgements if j.timings]
    return {**found, "total": quantiles("whole", totals)} if totals else found


def quantiles(name: str, values: Sequence[float]) -> dict[str, float]:
    middle, high = np.percentile(values, (50, 95))
    return {f"{name}_p50": round(float(middle), 1), f"{name}_p95": round(float(high), 1)}


# ---------------------------------------------------------------- one run against another


@dataclass(frozen=True)
class Difference:
    """Of a share, after less before, with the 95 % interval of a paired bootstrap. None: not measurable."""

    name: str
    before: float | None
    after: float | None
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float | None:
        return None if self.before is None or self.after is None else round(self.after - self.before, 4)

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired(
    before: Sequence[Judgement], after: Sequence[Judgement]
) -> tuple[list[Judgement], list[Judgement]]:
    """The judgements of the pictures that are in both runs, in one order."""
    known = {j.file: j for j in before}
    both = [j for j in after if j.file in known]
    return [known[j.file] for j in both], both


def differences(before: Sequence[Judgement], after: Sequence[Judgement], seed: int = 0) -> list[Difference]:
    """Of every share, over pictures that are in both runs."""
    one, other = paired(before, after)
    shares = [_of_share(name, test, one, other, seed) for name, test in {**SHARES, **OF_TEXTS}.items()]
    return [*shares, _of_calibration(one, other, seed)]


def _of_share(
    name: str, test: Test, before: Sequence[Judgement], after: Sequence[Judgement], seed: int
) -> Difference:
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if _measured(name, a) and _measured(name, b)]
    if not pairs:
        return Difference(name, None, None)
    old, new = (np.array([float(test(pair[side])) for pair in pairs]) for side in (0, 1))
    low, high = interval(old, new, seed)
    return Difference(name, round(float(old.mean()), 4), round(float(new.mean()), 4), low, high)


def interval(before: Numbers, after: Numbers, seed: int) -> tuple[float, float]:
    """95 % interval of the mean difference, resampling pictures and never their sides."""
    from scipy.stats import bootstrap  # type: ignore[import-untyped]

    if len(before) < 2 or np.ptp(after - before) == 0:  # every resample is the same
        same = round(float((after - before).mean()), 4)
        return same, same

    def difference(old: Numbers, new: Numbers, axis: int = -1) -> Numbers:
        return np.asarray((new - old).mean(axis=axis))

    found = bootstrap(
        (before, after), difference, paired=True, method="percentile", n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed), vectorized=True,
    ).confidence_interval  # fmt: skip
    return round(float(found.low), 4), round(float(found.high), 4)


def _of_calibration(before: Sequence[Judgement], after: Sequence[Judgement], seed: int) -> Difference:
    """The error is no mean over pictures, so the pictures themselves are resampled and binned anew."""
    from scipy.stats import bootstrap

    old, new = calibration_error(before), calibration_error(after)
    if old is None or new is None or len(before) < 2:
        return Difference("calibration_error", old, new)

    def difference(places: NDArray[np.intp]) -> float:
        one = calibration_error([before[place] for place in places]) or 0.0
        return (calibration_error([after[place] for place in places]) or 0.0) - one

    found = bootstrap(
        (np.arange(len(before)),), difference, method="percentile", n_resamples=RESAMPLES // 8,
        rng=np.random.default_rng(seed), vectorized=False,
    ).confidence_interval  # fmt: skip
    return Difference("calibration_error", old, new, round(float(found.low), 4), round(float(found.high), 4))
