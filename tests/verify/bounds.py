"""Every bound and its reason, in one place; and what was measured, held against them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, le
from typing import Any

from tests.verify.flatness import Flat, Trend

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One line of the report's table."""

    step: str
    what: str
    bound: str
    measured: str
    met: bool
    why: str


@dataclass(frozen=True)
class Bound:
    """`measured` takes a figure out of a step's result; it must be at most (or at least) `limit`."""

    what: str
    measured: Callable[[Result], float]
    limit: float
    why: str
    at_least: bool = False
    unit: str = ""

    def judge(self, step: str, result: Result) -> Verdict:
        value = self.measured(result)
        met = (ge if self.at_least else le)(value, self.limit)
        bound = f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"
        return Verdict(step, self.what, bound, f"{value:g}{self.unit}", met, self.why)


def count(*path: str) -> Callable[[Result], float]:
    """How many entries the list at `path` has."""
    return lambda result: len(at(result, path))


def figure(*path: str) -> Callable[[Result], float]:
    """What was not measured is no number, and no bound is met by it."""

    def measured(result: Result) -> float:
        found = at(result, path)
        return math.nan if found is None else float(found)

    return measured


def at(result: Any, path: Sequence[str]) -> Any:
    for name in path:
        result = result[name]
    return result


def whole_memory(result: Result) -> float:
    return float(round(sum(part["pss_mb"] for part in result["memory"].values())))


ONCE = "each event gets exactly one answer, for a reader of committed records"
NO_RESTART = "a service that dies on a picture is a defect, also when it is back in seconds"
WRONG = (
    Bound("events without an answer", count("wrong", "lost"), 0, ONCE),
    Bound("events answered twice", count("wrong", "doubled"), 0, ONCE),
    Bound(
        "captions of another picture", count("wrong", "mixed_up"), 0, "the code in the pixels must come back"
    ),
    Bound("streams out of order", count("wrong", "out_of_order"), 0, "order holds for each stream key"),
)
PICTURES = (
    Bound("pictures", figure("pictures"), 500, "what the proof was asked for", at_least=True),
    *WRONG,
    Bound("restarts", figure("restarts"), 0, NO_RESTART),
    Bound(
        "one picture alone, p95", figure("alone", "seconds", "p95"), 5.0,
        "a caption takes a few seconds at most, on two cores too", unit=" s",
    ),
    Bound("memory of all parts at once", whole_memory, 2500, "must fit beside other work into 4 GiB", unit=" MB"),
)  # fmt: skip
HOSTILE = (
    Bound("images", figure("images"), 2115, "as many as were collected when the bound was set", at_least=True),
    Bound("restarts", figure("restarts"), 0, "no image may end a service"),
    Bound("parts with another process than at the start", count("changed_processes"), 0, "no image may end one"),
    Bound("images without an answer", count("lost"), 0, ONCE),
    Bound("images answered twice", count("doubled"), 0, ONCE),
    Bound("refusals without reason and detail", count("without_reason"), 0, "a publisher must learn what is wrong"),
    Bound("refused for a fault of ours", count("own_faults"), 0, "an image is no defect of the service"),
    Bound("refusals that tell a path", count("telling_paths"), 0, "details go to publishers"),
    Bound("decoders at once over the setting", lambda r: r["decoders"]["at_once"] - r["decoders"]["allowed"], 0,
          "their number bounds their memory"),
    Bound("largest decoder", figure("decoders", "peak_mb"), 1074, "the address space that each is given", unit=" MB"),
    Bound("slowest decoding", lambda r: r["decode_ms"]["worst"] / 1000, 22, "two attempts of 10 s each", unit=" s"),
    Bound("memory of all parts at once", whole_memory, 3500, "the stack and two decoders at work", unit=" MB"),
)  # fmt: skip
SOAK = (
    Bound("minutes that were sampled", figure("sampled_minutes"), 29.5, "half an hour, and no less", at_least=True),
    *WRONG,
    Bound("answers of another kind than expected", count("unexpected"), 0, "refusals are refused, pictures are not"),
    Bound("restarts", figure("restarts"), 0, NO_RESTART),
    Bound("answers within, p95", figure("seconds", "p95"), 15, "at two thirds of its speed a queue stays short",
          unit=" s"),
)  # fmt: skip
LABELLED = {"tuxpaint": 263, "gcompris": 210}
EVALUATION = {
    "tuxpaint": (("named", 0.45, True), ("wrong", 0.07, False)),
    "gcompris": (("named", 0.60, True), ("wrong", 0.04, False)),
}
EVERY_SET = (("calibration_error", 0.08, False), ("unsupported", 0.02, False), ("lint", 0.98, True))

MEMORY = Flat(per_hour=24, share=0.04, step=4)
"""MB. Allocators and garbage collectors breathe by some MB; a leak of 24 MB an hour fills 4 GiB in a week."""
COUNTS = Flat(per_hour=6, share=0.04, step=2)
"""Descriptors, threads, files: connections come and go by one or two; a leak grows with every event."""


def verdicts(results: Mapping[str, Result]) -> list[Verdict]:
    """Of the steps that have a result."""
    judges = {"pictures": PICTURES, "hostile": HOSTILE, "soak": SOAK}
    found = []
    for step, result in results.items():
        found += [bound.judge(step, result) for bound in judges.get(step, ())]
        found += evaluated(result) if step == "evaluation" else flat(result) if step == "soak" else ()
    return found


def evaluated(result: Result) -> Iterator[Verdict]:
    """The whole sets; halves are reported beside, for honesty, without a bound of their own."""
    for name, figures in result["all"].items():
        whole = Bound(f"{name}: pictures", figure("n"), LABELLED[name], "the whole set", at_least=True)
        yield whole.judge("evaluation", figures)
        for what, limit, at_least in (*EVALUATION[name], *EVERY_SET):
            bound = Bound(
                f"{name}: {what}", figure(what), limit, "what a reader of captions may expect", at_least
            )
            yield bound.judge("evaluation", figures)


def flat(result: Result) -> Iterator[Verdict]:
    for name, found in result["trends"].items():
        trend = Trend(**found)
        memory = name.startswith("memory") or name == "shared memory"
        rule, unit = (MEMORY, " MB") if memory else (COUNTS, "")
        yield Verdict(
            "soak",
            f"{name} is flat",
            f"≤ {rule.per_hour:g}{unit}/h and + {rule.share:.0%} or {rule.step:g}{unit}",
            f"{trend.begin:g} → {trend.end:g}{unit}, {trend.per_hour:+.1f}{unit}/h",
            rule.holds(trend),
            "what grows without end ends a service",
        )
