"""Flat is flat, and a leak is none."""

from __future__ import annotations

import random

import pytest

from tests.verify.bounds import COUNTS, MEMORY
from tests.verify.flatness import trend

MINUTES = 30
TIMES = [5.0 * number for number in range(MINUTES * 12)]


def memory(*, leak_per_hour: float = 0.0, noise: float = 1.0, base: float = 120.0) -> list[float]:
    """MB every five seconds: a level, a leak, and noise that is not even bell-shaped."""
    draw = random.Random(7)
    return [base + leak_per_hour * time / 3600 + noise * draw.expovariate(1) for time in TIMES]


def test_noise_on_a_level_is_flat() -> None:
    """Collectors and allocators breathe."""
    assert MEMORY.holds(trend(TIMES, memory()))


@pytest.mark.parametrize("leak", [60, 120, 600])
def test_a_planted_leak_is_found_under_the_same_noise(leak: float) -> None:
    """A megabyte a minute and more, on the same level with the same noise."""
    found = trend(TIMES, memory(leak_per_hour=leak))
    assert not MEMORY.holds(found)
    assert pytest.approx(leak, rel=0.2) == found.per_hour


def test_one_descriptor_a_minute_is_found() -> None:
    """What counts whole things is held to less."""
    assert not COUNTS.holds(trend(TIMES, [40 + int(time / 60) for time in TIMES]))
    assert COUNTS.holds(trend(TIMES, [40.0 + number % 2 for number in range(len(TIMES))]))


def test_growth_of_the_warm_up_is_not_counted() -> None:
    """Caches fill at first."""
    assert MEMORY.holds(trend(TIMES, [min(time, 500.0) for time in TIMES]))


def test_a_step_that_stays_is_no_flatness() -> None:
    """A median slope of nearly 0 would hide it: where it ends counts too."""
    stepped = [value + (20 if time > 1450 else 0) for time, value in zip(TIMES, memory(), strict=True)]
    assert not MEMORY.holds(trend(TIMES, stepped))


def test_some_wild_values_move_nothing() -> None:
    """A tenth of the samples meets a large picture in work."""
    wild = [value + (300 if number % 10 == 0 else 0) for number, value in enumerate(memory())]
    assert MEMORY.holds(trend(TIMES, wild))


def test_what_shrinks_is_no_leak() -> None:
    """A process may give memory back."""
    assert MEMORY.holds(trend(TIMES, memory(leak_per_hour=-200)))


def test_a_handful_of_values_tells_nothing() -> None:
    """Rather no verdict than one by chance."""
    with pytest.raises(ValueError, match="tell nothing"):
        trend(TIMES[:9], memory()[:9])
