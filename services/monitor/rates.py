"""Answers to counts: one row for each minute and profile, and rows to windows. Plain functions over values."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any

from captionstream.contracts import messages as m
from captionstream.contracts.values import Profile

MINUTE = timedelta(minutes=1)
WAIT_BOUNDS = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds, in seconds, of the classes of `CaptionRates.waits`; the last class has none."""
SLOW_S = 10.0
"""From here on an answer is a sample of slow ones."""
TENTHS = 10
MOST_NAMES = 20
OTHER = "other"
MOST_SAMPLES = 5


def minute_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def empty(minute: datetime, profile: Profile) -> m.CaptionRates:
    return m.CaptionRates(
        minute=minute, profile=profile, waits=(0,) * (len(WAIT_BOUNDS) + 1), confidences=(0,) * TENTHS
    )


def counted(row: m.CaptionRates, answer: m.Answer, repeated: bool) -> m.CaptionRates:
    """The row with one answer more. `repeated`: another picture elsewhere had the same text before."""
    waited = (answer.answered_at - answer.accepted_at).total_seconds()
    changes: dict[str, object] = {
        "answers": row.answers + 1,
        "waits": one_more(row.waits, bisect_left(WAIT_BOUNDS, waited)),
        "tenants": named(row.tenants, answer.event.tenant),
        "languages": named(row.languages, answer.event.language),
    }
    if answer.event.stream_key is not None:
        changes["streams"] = named(row.streams, answer.event.stream_key)
    if answer.provenance is not None and answer.provenance.encoder_fingerprint is not None:
        changes["encoders"] = named(row.encoders, answer.provenance.encoder_fingerprint)
    shown = ["slow"] if waited > SLOW_S else []
    match answer:
        case m.CaptionPublished():
            changes |= published(row, answer, repeated)
            shown += ["published", *(["repeated"] if repeated else [])]
        case m.CaptionHeld():
            changes["held"] = row.held + 1
        case m.CaptionRefused():
            changes["refused"] = named(row.refused, answer.reason)
            shown.append("refused")
    changes["samples"] = sampled(row.samples, shown, answer.caption_id)
    return row.model_copy(update=changes)


def published(row: m.CaptionRates, answer: m.CaptionPublished, repeated: bool) -> dict[str, object]:
    return {
        "published": row.published + 1,
        "hedged": row.hedged + answer.hedged,
        "abstained": row.abstained + answer.abstained,
        "described": row.described + describes(answer),
        "repeated": row.repeated + repeated,
        "confidences": one_more(row.confidences, min(int(answer.confidence * TENTHS), TENTHS - 1)),
        "writers": named(row.writers, answer.writer),
    }


def describes(answer: m.Answer) -> bool:
    """Whether its text is one that no other picture is expected to have: it is there, and it names something."""
    return isinstance(answer, m.CaptionPublished) and bool(answer.text) and not answer.abstained


def one_more(counts: Sequence[int], place: int) -> tuple[int, ...]:
    return (*counts[:place], counts[place] + 1, *counts[place + 1 :])


def named(counts: Mapping[str, int], name: str) -> dict[str, int]:
    """One more of that name; of names beyond the first twenty, one more `other`: a row stays small."""
    known = name if name in counts or len(counts) < MOST_NAMES else OTHER
    return {**counts, known: counts.get(known, 0) + 1}


def sampled(
    samples: Mapping[str, tuple[str, ...]], shown: Iterable[str], caption: str
) -> dict[str, tuple[str, ...]]:
    """`caption` as the latest example of everything in `shown`."""
    latest = {what: (*samples.get(what, ()), caption)[-MOST_SAMPLES:] for what in shown}
    return {**samples, **latest}


def merged(rows: Iterable[m.CaptionRates]) -> m.CaptionRates | None:
    """One row that holds the counts of all, oldest first; None when there are none. Places on the log are left out."""
    ordered = sorted(rows, key=lambda row: row.minute)
    if not ordered:
        return None
    sums = {name: added([getattr(row, name) for row in ordered]) for name in ADDED}
    return ordered[0].model_copy(update={**sums, "samples": latest(ordered), "read_to": {}})


def added(counts: Sequence[Any]) -> object:
    """The sum of numbers, of counts by name, or of counts by class."""
    match counts[0]:
        case int():
            return sum(counts)
        case dict():
            return dict(sum(map(Counter, counts), Counter()))
        case _:
            return tuple(map(sum, zip_longest(*counts, fillvalue=0)))


ADDED = (
    "answers", "published", "held", "refused", "hedged", "abstained", "described", "repeated", "waits",
    "confidences", "writers", "encoders", "languages", "tenants", "streams",
)  # fmt: skip


def latest(rows: Sequence[m.CaptionRates]) -> dict[str, tuple[str, ...]]:
    """The latest samples of everything that any row has samples of."""
    kinds = dict.fromkeys(kind for row in rows for kind in row.samples)
    return {
        kind: tuple(caption for row in rows for caption in row.samples.get(kind, ()))[-MOST_SAMPLES:]
        for kind in kinds
    }


def between(
    rows: Iterable[m.CaptionRates], profile: Profile, after: datetime, until: datetime
) -> list[m.CaptionRates]:
    """The rows of a profile whose minute begins later than `after` and not later than `until`."""
    return [row for row in rows if row.profile is profile and after < row.minute <= until]


def refused(row: m.CaptionRates) -> int:
    return sum(row.refused.values())


def quantile(waits: Sequence[int], share: float) -> float | None:
    """Seconds within which that share of answers came, straight lines within a class; None when there are none.

    The last class has no upper bound: its lower bound is given, which is then too little.
    """
    wanted, below = share * sum(waits), 0
    if not sum(waits):
        return None
    for place, count in enumerate(waits):
        if count and below + count >= wanted:
            lower = WAIT_BOUNDS[place - 1] if place else 0.0
            upper = WAIT_BOUNDS[place] if place < len(WAIT_BOUNDS) else lower
            return lower + (upper - lower) * (wanted - below) / count
        below += count
    return WAIT_BOUNDS[-1]
