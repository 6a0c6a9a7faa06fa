"""Who an event is: the one place that derives ids and digests."""

from __future__ import annotations

import hashlib
import json

from captionstream.contracts.messages import Event


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def caption_id(event: Event) -> str:
    """The dedupe key of an event: pipeline version and image play no part, so a redelivery stays one answer."""
    identity = [event.tenant, event.source, event.id, event.revision]
    return sha256_hex(json.dumps(identity, ensure_ascii=False, separators=(",", ":")).encode())
