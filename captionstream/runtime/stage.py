"""A stage: an async function that yields messages, the last one terminal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypedDict

from captionstream.contracts.messages import Carried, Event, ImageSubmitted, Message, Refused
from captionstream.contracts.values import StageName, StageTiming


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a message came to the stage."""

    appended_at: datetime
    event_digest: str  # of the record's bytes; the identity of an image event
    attempt: int = 1


class Stage(Protocol):
    """One step of the way. Implementations decide; engines touch the world.

    `advance` yields any number of partial messages, then one terminal message, then companions of it
    (a held draft). It raises Unprocessable or Unavailable; see runtime.errors.
    `refuse` says how a refusal leaves this stage: unchanged, except in safety, which answers it.
    """

    @property
    def name(self) -> StageName: ...

    def advance(self, message: Message, delivery: Delivery) -> AsyncIterator[Message]: ...

    def refuse(self, refused: Refused) -> Sequence[Message]: ...


class CarriedFields(TypedDict):
    event: Event
    event_digest: str
    accepted_at: datetime
    timings: tuple[StageTiming, ...]


def carry(message: Message, delivery: Delivery) -> CarriedFields:
    """What the next message carries forward of this one: `ImagePrepared(**carry(message, delivery), image=...)`."""
    if isinstance(message, Carried):
        return CarriedFields(
            event=message.event,
            event_digest=message.event_digest,
            accepted_at=message.accepted_at,
            timings=message.timings,
        )
    if isinstance(message, ImageSubmitted):
        return CarriedFields(
            event=message.event,
            event_digest=delivery.event_digest,
            accepted_at=delivery.appended_at,
            timings=(),
        )
    raise TypeError(f"{type(message).__name__} is not on an image's way")
