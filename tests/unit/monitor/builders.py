"""Answers as safety would give them, at any moment, and the records that a log would make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.identity import caption_id, sha256_hex
from captionstream.contracts.record import Record
from captionstream.contracts.scene import Scene
from captionstream.contracts.values import StageName
from tests.builders import NOON, record

GOVERNANCE = m.Governance(
    decision=m.Decision.PUBLISH, policy=m.PolicyReference(id="default", version="1", digest="0" * 64)
)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def common(name: str, at: datetime, waited_s: float = 1.0, **of_event: Any) -> dict[str, Any]:
    event = m.Event(**{"id": name, **of_event})
    return {
        "event": event, "event_digest": sha256_hex(name.encode()), "caption_id": caption_id(event),
        "governance": GOVERNANCE, "accepted_at": at - timedelta(seconds=waited_s), "answered_at": at,
        "image_digest": digest(f"picture of {name}"),
    }  # fmt: skip


def published(
    name: str, at: datetime = NOON, *, text: str | None = None, confidence: float = 0.8,
    abstained: bool = False, hedged: bool = False, waited_s: float = 1.0, **of_event: Any,
) -> m.CaptionPublished:  # fmt: skip
    """A caption of its own, unless a text is given."""
    fields = common(name, at, waited_s, **of_event)
    return m.CaptionPublished(
        **fields, text=f"A picture called {name}." if text is None else text, confidence=confidence,
        abstained=abstained, hedged=hedged, writer="plain", scene=Scene(),
        language=fields["event"].language, profile=fields["event"].profile,
    )  # fmt: skip


def refused(name: str, at: datetime = NOON, **of_event: Any) -> m.CaptionRefused:
    return m.CaptionRefused(
        **common(name, at, **of_event), reason=m.RefusalReason.UNDECODABLE, stage=StageName.INGEST
    )


def held(name: str, at: datetime = NOON, **of_event: Any) -> m.CaptionHeld:
    fields = common(name, at, **of_event)
    return m.CaptionHeld(
        **fields, reason="content", language=fields["event"].language, profile=fields["event"].profile
    )


def on_log(answers: Iterable[m.Answer], first: int = 0) -> list[Record]:
    """The answers as records of partition 0, in this order."""
    return [
        record(codec.encode(answer, StageName.SAFETY), offset=first + place, appended_at=answer.answered_at)
        for place, answer in enumerate(answers)
    ]
