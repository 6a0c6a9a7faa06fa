"""Time, as an argument."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def milliseconds(start: datetime, end: datetime) -> float:
    """Elapsed time, never negative: two machines' clocks may disagree a little."""
    return max(0.0, round((end - start).total_seconds() * 1000, 3))
