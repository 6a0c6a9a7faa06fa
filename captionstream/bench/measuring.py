"""Rounds that take turns, their spread, and the processor time of a process and of those below it."""

from __future__ import annotations

import cProfile
import io
import pstats
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one figure over all rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values), len(values))

    @property
    def range(self) -> tuple[float, float]:
        return (round(self.low, 4), round(self.high, 4))


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of processor time and of the clock on the wall."""

    cpu_s: float
    wall_s: float


def timed(work: Callable[[], object]) -> Cost:
    """One call, in this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def in_turn(works: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Each of `works` once in every round, so that what else the machine does hits all of them. One list for each."""
    figures: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        order = range(len(works)) if number % 2 == 0 else reversed(range(len(works)))
        for place in order:
            figures[place].append(works[place]())
    return figures


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Of the figures of the same rounds."""
    return Spread.of([over / under for over, under in zip(above, below, strict=True)])


def cpu_of(pid: int) -> float:
    """Processor seconds of a process, its living children and those of its children that it waited for."""
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        own = process.cpu_times()
        total += own.user + own.system + own.children_user + own.children_system
        for child in process.children(recursive=True):
            with suppress(psutil.Error):
                times = child.cpu_times()
                total += times.user + times.system
    return total


def profiled(work: Callable[[], Any], rows: int = 12) -> str:
    """Where the time of `work` goes: the functions with most time of their own."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return as_rows(profile, rows)


def as_rows(profile: cProfile.Profile, rows: int = 12) -> str:
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(rows)
    return "\n".join(line for line in text.getvalue().splitlines() if line.strip())[:4000]


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]
