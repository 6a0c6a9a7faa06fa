"""Messages to records and back: JSON values, CloudEvents 1.0 headers in Kafka's binary mode."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from captionstream.contracts import messages as m
from captionstream.contracts import notification
from captionstream.contracts.identity import caption_id, sha256_hex
from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import BY_NAME, IMAGE_EVENTS, Party, Topic, topic_for

JSON = b"application/json"
STRUCTURED = "application/cloudevents+json"


class Malformed(Exception):
    """The bytes of a record are not the message that they say they are."""


def encode(message: m.Message, writer: Party, *, extra: tuple[tuple[str, bytes], ...] = ()) -> Outgoing:
    """A record for the one topic on which `writer` may write this type. Raises NoSuchRoute."""
    topic = topic_for(writer, type(message))
    return Outgoing(
        topic=topic.name,
        key=record_key(message),
        value=message.model_dump_json(exclude_none=True).encode(),
        headers=(*cloud_event_headers(message, writer), *extra),
        partial=message.partial,
    )


def marker(caption: str, event_digest: str, writer: Party) -> Outgoing:
    """The marker that says that this event has its answer."""
    topic = topic_for(writer, m.CaptionMarker)
    value = m.CaptionMarker(event_digest=event_digest).model_dump_json().encode()
    return Outgoing(topic.name, caption.encode(), value)


def decode(record: Record) -> m.Message:
    """The message of a record, by its `ce_type` header. Raises Malformed."""
    topic = BY_NAME.get(record.topic)
    if topic is None:
        raise Malformed(f"unknown topic {record.topic}")
    try:
        if topic is not IMAGE_EVENTS and not is_structured(record):
            return message_type(topic, record.header("ce_type")).model_validate_json(record.value)
        body, kind = unwrap(record)
        if topic is not IMAGE_EVENTS:
            return message_type(topic, kind).model_validate_json(json.dumps(body))
        event = notification.image_event(body) if notification.is_notification(body) else body
        return m.ImageSubmitted.model_validate_json(json.dumps(with_identity(event, record)))
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        raise Malformed(f"{'.'.join(map(str, first['loc'])) or 'event'}: {first['msg']}") from None
    except notification.NotAnImageEvent as other:
        raise Malformed(str(other)) from None
    except (ValueError, RecursionError) as broken:
        raise Malformed(f"not JSON: {type(broken).__name__}") from None


def record_key(message: m.Message) -> bytes:
    event = getattr(message, "event", None)
    if not isinstance(event, m.Event):
        raise TypeError(f"{type(message).__name__} has no event to be keyed by")
    return event.key


def cloud_event_headers(message: m.Message, writer: Party) -> tuple[tuple[str, bytes], ...]:
    """CloudEvents binary mode. An image event keeps its publisher's id and source."""
    event: m.Event = message.event  # type: ignore[attr-defined]
    first = isinstance(message, m.ImageSubmitted)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event.id if first else f"{caption_id(event)}{suffix(message)}",
        "ce_source": event.source if first else f"captionstream/{writer}",
        "ce_type": message.ce_type,
        "ce_time": datetime.now(UTC).isoformat(),
        "ce_subject": event.id,
        "ce_tenant": event.tenant,
    }
    return (("content-type", JSON), *((name, value.encode()) for name, value in headers.items()))


def suffix(message: m.Message) -> str:
    sequence = getattr(message, "sequence", None)
    return "" if sequence is None else f"-{getattr(message, 'attempt', 1)}-{sequence}"


def unwrap(record: Record) -> tuple[dict[str, Any], str | None]:
    """Body and type. A structured CloudEvent is opened: its `data` is the body, its `id` and `source` fill gaps."""
    body = json.loads(record.value)
    if not isinstance(body, dict):
        raise ValueError("a message is a JSON object")
    if not is_structured(record):
        return body, record.header("ce_type")
    data = body.get("data")
    if not isinstance(data, dict):
        raise ValueError("a structured CloudEvent needs a JSON object in `data`")
    identity = {name: body[name] for name in ("id", "source") if name in body}
    return {**identity, **data}, body.get("type")


def is_structured(record: Record) -> bool:
    return (record.header("content-type") or "").startswith(STRUCTURED)


def with_identity(body: dict[str, Any], record: Record) -> dict[str, Any]:
    """Fields win over CloudEvents headers, so a publisher may use either."""
    headers = {"id": "ce_id", "source": "ce_source", "tenant": "ce_tenant"}
    found = {field: record.header(header) for field, header in headers.items()}
    return {**{field: value for field, value in found.items() if value}, **body}


def message_type(topic: Topic, kind: str | None) -> type[m.Message]:
    known = {message.ce_type: message for message in topic.messages}
    if kind is None and len(known) == 1:
        return topic.messages[0]
    if kind not in known:
        raise Malformed(f"{topic.name} does not carry {kind}")
    return known[kind]


def event_of(record: Record) -> m.Event:
    """The event of a record that could not be worked, as far as it can be told: nothing goes unanswered."""
    identity = identity_of(record)
    usable: dict[str, Any] = {"id": f"{record.topic}-{record.partition}-{record.offset}"}
    for name in ("id", "source", "tenant", "revision", "stream_key"):
        if name in identity and fits(name, identity[name]):
            usable[name] = identity[name]
    return m.Event.model_validate(usable)


def identity_of(record: Record) -> dict[str, Any]:
    """The fields that may tell the event. Behind ingest they stand in the `event` that a message carries; the headers
    there are the message's own."""
    try:
        body, _ = unwrap(record)
    except (ValueError, RecursionError):
        body = {}
    if record.topic != IMAGE_EVENTS.name:
        carried = body.get("event")
        return carried if isinstance(carried, dict) else {}
    if notification.is_notification(body):
        body = {**body, **notification.identity_of(body)}
    return with_identity(body, record)


def fits(name: str, value: object) -> bool:
    """Whether an event may have this value in that field; strictly, so that True is not taken for 1."""
    try:
        m.Event.model_validate({"id": "any", name: value}, strict=True)
    except ValidationError:
        return False
    return True


def event_digest(record: Record) -> str:
    return sha256_hex(record.value)


def event_digest_of_marker(value: bytes) -> str:
    return m.CaptionMarker.model_validate_json(value).event_digest
