"""A watch that stands still without an error is noticed, and one that has nothing to do is left alone."""

from __future__ import annotations

import pytest

from services.monitor.stall import Look, Stall, stalled


@pytest.mark.parametrize(
    ("expected", "ends", "taken"),
    [
        (True, (5, 9, 9), (5, 5, 5)),  # records came half a minute ago and lie there
        (False, (5, 5, 5), (5, 5, 5)),  # nothing came
        (False, (5, 9, 9), (5, 5, 9)),  # they were taken late
        (False, (5, 9, 9), (5, 9, 9)),  # they were taken at once
        (False, (5, 5, 9), (5, 5, 5)),  # they came just now
    ],
)
def test_records_that_lie_untaken_are_a_stall(
    expected: bool, ends: tuple[int, int, int], taken: tuple[int, int, int]
) -> None:
    """Three looks at the log, half a minute apart."""
    looks = [Look({0: end}, count) for end, count in zip(ends, taken, strict=True)]
    assert expected is stalled(*looks)


async def test_a_log_that_is_away_says_nothing_about_the_watch() -> None:
    """A broker's absence is no stall; after it the looks begin anew."""
    ends = iter([1, 5, None, 9, 9, 9])

    async def look() -> dict[int, int]:
        end = next(ends)
        if end is None:
            raise ConnectionError
        return {0: end}

    stall = Stall(look, lambda: 0)
    seen = []
    for _ in range(6):
        await stall.look()
        seen.append(stall.standing_still)
    assert [False] * 6 == seen


async def test_a_record_that_is_taken_during_a_look_does_not_lie_there() -> None:
    """It comes when the ends are known already, and nothing comes after it."""
    taken, ends = 5, iter([5, 6, 6])

    async def look() -> dict[int, int]:
        nonlocal taken
        end = next(ends)
        taken = 6
        return {0: end}

    stall = Stall(look, lambda: taken)
    for _ in range(3):
        await stall.look()
    assert not stall.standing_still
