"""Whether a figure stays where it is: a slope that a few wild values do not move, and where it began and ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from scipy.stats import theilslopes

WARM_UP = 0.4  # of the time: caches fill, pools of threads and heaps find their size


@dataclass(frozen=True)
class Trend:
    """After warm-up: growth an hour (the median of the slopes of all pairs, Theil-Sen) with its 95 % interval,
    and the medians of the first and of the last quarter."""

    per_hour: float
    low: float
    high: float
    begin: float
    end: float

    @property
    def growth(self) -> float:
        """End over begin, less 1; 0 where it began with nothing and ended so."""
        return (self.end - self.begin) / self.begin if self.begin else float(self.end > 0)


@dataclass(frozen=True)
class Flat:
    """What is called flat: it grows by at most `per_hour`, and it ends within `share` or within `step` of where
    it began. Growth alone counts: what shrinks is no leak."""

    per_hour: float
    share: float
    step: float

    def holds(self, trend: Trend) -> bool:
        within = trend.end - trend.begin <= max(self.step, self.share * trend.begin)
        return trend.per_hour <= self.per_hour and within


def trend(seconds: Sequence[float], values: Sequence[float], warm_up: float = WARM_UP) -> Trend:
    """Of values measured at `seconds` (ascending). Raises ValueError for fewer than 8 after the warm-up."""
    begin = seconds[0] + warm_up * (seconds[-1] - seconds[0]) if seconds else 0.0
    kept = [(second, value) for second, value in zip(seconds, values, strict=True) if second >= begin]
    if len(kept) < 8:
        raise ValueError(f"{len(kept)} values after the warm-up tell nothing")
    times, after = zip(*kept, strict=True)
    slope, _, low, high = theilslopes(after, times)
    quarter = len(after) // 4
    per_hour, lowest, highest = (round(float(each) * 3600, 3) for each in (slope, low, high))
    return Trend(per_hour, lowest, highest, float(median(after[:quarter])), float(median(after[-quarter:])))
