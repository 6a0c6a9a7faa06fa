"""What is wanted, and what came out: each goal has a bar that must be reached and one that is excellent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Met = Literal["excellent", "must", "missed", "not measured"]


@dataclass(frozen=True, slots=True)
class Goal:
    """`smaller` is the better one when it is set. `unit` stands behind a value in the table."""

    name: str
    what: str
    must: float
    excellent: float
    unit: str = ""
    smaller: bool = False

    def met_by(self, value: float | None) -> Met:
        if value is None:
            return "not measured"
        if self._reached(value, self.excellent):
            return "excellent"
        return "must" if self._reached(value, self.must) else "missed"

    def _reached(self, value: float, bar: float) -> bool:
        return value <= bar if self.smaller else value >= bar


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured for one goal.

    `value` None: not measured, and `why` says why. `spread` is (lowest, highest) of the rounds. `details` stand
    beside it, accuracy among them. `profile` says where the time goes, and is made when a goal is missed.
    """

    goal: str
    value: float | None
    spread: tuple[float, float] | None = None
    rounds: int = 1
    details: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    profile: str = ""

    @classmethod
    def nothing(cls, goal: str, why: str) -> Found:
        return cls(goal, None, why=why)


GOALS: tuple[Goal, ...] = (
    Goal("G1", "pipeline captions/s over cores / processor seconds of the stages", 0.85, 0.92),
    Goal("G2 KL 0.1", "captions/s over the naive script, whole machine, KL ≤ 0.1", 6.0, 8.5, "×"),
    Goal("G2 KL 0.01", "captions/s over the naive script, whole machine, KL ≤ 0.01", 4.0, 6.0, "×"),
    Goal("G3 p50", "added by the plumbing, one request in flight, median", 40.0, 20.0, "ms", smaller=True),
    Goal("G3 p99", "added by the plumbing, one request in flight, 99th percentile", 120.0, 60.0, "ms", smaller=True),
    Goal("G4", "processor time of a stage's framework over a bare aiokafka relay", 5.0, 2.0, "×", smaller=True),
    Goal("G5", "processor time of an exact duplicate over that of a caption", 2.0, 1.0, "%", smaller=True),
    Goal("G5 copies", "encodings and writings for 100 copies at once (1 and 1 wanted)", 2.0, 2.0, "", smaller=True),
    Goal("G6", "encoder calls for the same image in another profile and language", 0.0, 0.0, "", smaller=True),
    Goal("G7", "two workers over twice one worker", 0.90, 0.95),
    Goal("G8", "language model: captions at batch 8 over batch 1", 1.8, 2.3, "×"),
    Goal("G9", "first released text over the whole answer, 24 tokens, 64 visual tokens", 0.5, 0.35, "", smaller=True),
    Goal("G12", "12 MP JPEG → 384 px over Pillow's full decode, PSNR ≥ 35 dB", 4.0, 4.7, "×"),
    Goal("G13", "Kafka bytes for an image, all topics", 120.0, 80.0, "KiB", smaller=True),
    Goal("G14 encoder", "resident memory of the encoder", 200.0, 200.0, "MB", smaller=True),
    Goal("G14 generator", "resident memory of the generator", 450.0, 450.0, "MB", smaller=True),
    Goal("G14 ingest", "resident memory of ingest and its decoders", 150.0, 150.0, "MB", smaller=True),
    Goal("G14 ready", "a service started beside a running stack is ready after", 5.0, 3.0, "s", smaller=True),
    Goal("G15 goodput", "answers/s under three times the peak rate, over the peak", 0.95, 0.98),
    Goal("G15 memory", "resident memory after overload over before", 1.10, 1.05, "×", smaller=True),
    Goal("G15 recovery", "from the end of the overload to normal answers", 10.0, 10.0, "s", smaller=True),
    Goal("G16", "the gate refuses the broken 8-bit graph and takes a good one (1: yes)", 1.0, 1.0),
    Goal("G18", "processor time of tracing and metrics over that of a caption", 1.0, 0.5, "%", smaller=True),
)  # fmt: skip
BY_NAME = {goal.name: goal for goal in GOALS}
TRIED: Mapping[str, str] = {
    "G1": "Fewer records of partial text (20 to 4 a caption), none in a transaction of its own, ends of partitions"
    " asked for at once: 41 to 28 requests to the broker a caption. Probes by a lighter client, ends of processes told"
    " by the kernel: 18 to 10 ms a caption in the supervisor. What is left beside the stages is the broker (60 to"
    " 75 ms; its second compiler changed nothing) and the two ends of a run of few pictures.",
    "G4": "Retries asked only after a failure, no spans that nobody records, one reading of a body: 1,220 to 610 us."
    " What is left is the message (150 us to check and write), a task a record for the order of keys, headers, and"
    " small batches; the bare relay checks nothing and hands over a hundred records at a time.",
    "G9": "The first words are sent at once. Half of an answer is reading the picture and the prompt, before any word;"
    " the prompt's static beginning is kept. Two threads a worker read in half the time when nobody else works, and"
    " write a fifth (waiting idle) to two fifths (spinning) fewer captions with a worker on each core. Fewer visual"
    " tokens would shorten it, at the cost of what is seen.",
    "G14 encoder": "One malloc arena and thresholds of 8 MiB, as in ingest: 181 to 135 MB after 20 pictures.",
    "G14 ready": "Imports are 0.8 to 1.3 s of processor time a service, the rest is the first answer of its engine and"
    " joining the group.",
    "G15 goodput": "A peak that is an engine's (with one that was the processor's: 0.43 to 0.8): on few cores what"
    " overload gives ingest to do is taken from the stages behind it. An engine with four images at once and not one,"
    " which waits between two of them: 0.90 to 0.98. Ingest standing back (nice 5) changed nothing.",
}
"""By goal: what was tried to reach it and what that gave. Shown when it is missed."""
NO_BAR = ("G7", "G18")
"""Near the noise of a shared machine: their figures are for reading, not for judging a change by."""


@dataclass(frozen=True, slots=True)
class Row:
    """A goal beside what was found."""

    goal: Goal
    found: Found

    @property
    def met(self) -> Met:
        return self.goal.met_by(self.found.value)

    @property
    def tried(self) -> str:
        return TRIED.get(self.goal.name, "") if self.met == "missed" else ""

    def as_json(self) -> dict[str, Any]:
        goal, found = self.goal, self.found
        told: dict[str, Any] = {
            "goal": goal.name, "value": found.value, "must": goal.must, "excellent": goal.excellent,
            "met": self.met, "what": goal.what, "unit": goal.unit, "smaller_is_better": goal.smaller,
            "spread": found.spread, "rounds": found.rounds, "details": dict(found.details),
        }  # fmt: skip
        more = {"reason": found.why, "profile": found.profile, "tried": self.tried}
        return told | {name: text for name, text in more.items() if text}


def groups_of(names: str) -> frozenset[str]:
    """`G3,G5` → the groups of goals to measure. Raises ValueError for one that there is not."""
    known = {group(goal.name) for goal in GOALS}
    wanted = frozenset(name.strip().upper() for name in names.split(",") if name.strip()) or frozenset(known)
    if unknown := wanted - known:
        raise ValueError(f"{', '.join(sorted(unknown))}: there are {', '.join(sorted(known, key=by_number))}")
    return wanted


def group(name: str) -> str:
    """`G14 ready` is of G14."""
    return name.split()[0]


def by_number(name: str) -> int:
    return int(group(name)[1:])


def rows_of(
    found: Mapping[str, Found], wanted: frozenset[str], missing: str = "its measurement gave nothing"
) -> list[Row]:
    """Every goal of the wanted groups in the order of the table; what nobody measured says so."""
    return [
        Row(goal, found.get(goal.name) or Found.nothing(goal.name, missing))
        for goal in GOALS
        if group(goal.name) in wanted
    ]
