"""Small values that many tests need, made in one line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import Outsider
from captionstream.contracts.values import ImageReference

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def submitted(event_id: str = "event-1", **fields: object) -> m.ImageSubmitted:
    """An image event with inline bytes."""
    return m.ImageSubmitted.model_validate(
        {"id": event_id, "image": ImageReference(inline=b"picture"), **fields}
    )


def record(outgoing: Outgoing, *, offset: int = 0, appended_at: datetime = NOON) -> Record:
    """The record that a log would make of `outgoing`."""
    return Record(outgoing.topic, 0, offset, outgoing.key, outgoing.value, outgoing.headers, appended_at)


def event_record(event_id: str = "event-1", **fields: object) -> Record:
    """An image event as it lies on the log."""
    return record(codec.encode(submitted(event_id, **fields), Outsider.PUBLISHERS))


def clock_at(seconds_after_noon: float) -> datetime:
    return NOON + timedelta(seconds=seconds_after_noon)
