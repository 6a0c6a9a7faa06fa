"""Our records are CloudEvents to the CloudEvents SDK, and its records are messages to us."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import kafka
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.record import Headers, Record
from captionstream.contracts.topics import IMAGE_EVENTS, TOPICS, Outsider, Party, Topic
from tests.builders import NOON, submitted
from tests.unit.contracts.records import body_of, files, name_of, record_of

WITH_HEADERS = [path for path in files() if body_of(path)["headers"]]
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20)


def topic_of(path: Path) -> Topic:
    return next(topic for topic in TOPICS if topic.name == path.parent.name)


def seen_by_the_sdk(headers: Headers, key: bytes | None, value: bytes) -> BaseCloudEvent:
    return kafka.from_binary_event(kafka.KafkaMessage(dict(headers), key, value))


def record_from_the_sdk(topic: str, message: kafka.KafkaMessage) -> Record:
    key = message.key.encode() if isinstance(message.key, str) else message.key
    return Record(topic, 0, 0, key, message.value, tuple(message.headers.items()), NOON)


def event_of_the_sdk(path: Path) -> CloudEvent:
    """The example as a publisher who uses the SDK would make it."""
    body = body_of(path)
    attributes = {name.removeprefix("ce_"): text for name, text in body["headers"].items() if "ce_" in name}
    attributes |= {"time": datetime(2026, 11, 24, tzinfo=UTC), "datacontenttype": "application/json"}
    return CloudEvent({**attributes, "partitionkey": body["key"]}, body["value"])


@pytest.mark.parametrize("path", WITH_HEADERS, ids=name_of)
def test_the_sdk_reads_what_was_recorded(path: Path) -> None:
    """Every record that a real run wrote is a valid CloudEvent, and its data is our message."""
    record, recorded = record_of(path), body_of(path)["headers"]
    event = seen_by_the_sdk(record.headers, record.key, record.value)
    message = codec.decode(record)
    assert message == type(message).model_validate_json(json.dumps(event.get_data()))
    assert (message.ce_type, "1.0", "application/json") == (
        event.get_type(), event.get_specversion(), event.get_datacontenttype(),
    )  # fmt: skip
    attributes = event.get_attributes()
    assert recorded["ce_id"] == event.get_id()
    assert recorded.keys() <= {"content-type", "traceparent"} | {f"ce_{name}" for name in attributes}
    assert body_of(path)["key"] == event.get_extension("partitionkey")


@pytest.mark.parametrize(
    "path", [path for path in WITH_HEADERS if "event" in body_of(path)["value"]], ids=name_of
)
def test_the_sdk_reads_what_we_write_now(path: Path) -> None:
    """Encoded anew, a message has the identity and the time of a CloudEvent again."""
    writer: Party = topic_of(path).writers[0]
    message = codec.decode(record_of(path))
    outgoing = codec.encode(message, writer)
    event = seen_by_the_sdk(outgoing.headers, outgoing.key, outgoing.value)
    recorded = body_of(path)["headers"]
    for name in ("ce_id", "ce_subject", "ce_tenant", "ce_type"):
        assert recorded[name] == event.get_attributes()[name.removeprefix("ce_")]
    assert f"captionstream/{writer}" == event.get_source()
    assert event.get_time() is not None
    assert message == type(message).model_validate_json(json.dumps(event.get_data()))


@pytest.mark.parametrize("path", WITH_HEADERS, ids=name_of)
def test_we_read_what_the_sdk_writes_in_binary_mode(path: Path) -> None:
    """Every type, with the SDK's headers in the SDK's order."""
    record = record_from_the_sdk(path.parent.name, kafka.to_binary_event(event_of_the_sdk(path)))
    assert codec.decode(record_of(path)) == codec.decode(record)


@pytest.mark.parametrize("path", WITH_HEADERS, ids=name_of)
def test_we_read_what_the_sdk_writes_in_structured_mode(path: Path) -> None:
    """Every type, as one JSON value: what publishers may send, and what a bridge makes of the others."""
    record = record_from_the_sdk(path.parent.name, kafka.to_structured_event(event_of_the_sdk(path)))
    assert codec.decode(record_of(path)) == codec.decode(record)
    assert codec.decode(record) == codec.decode(
        Record(**{**fields(record), "headers": codec_headers(record)})
    )


def fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Record.__slots__}


def codec_headers(record: Record) -> Headers:
    """The same content type with a parameter, as HTTP bridges write it."""
    return tuple((name, value + b"; charset=utf-8") for name, value in record.headers)


@pytest.mark.parametrize("structured", [False, True], ids=["binary", "structured"])
def test_the_identity_of_a_cloud_event_is_enough(structured: bool) -> None:
    """A publisher who gives `id` and `source` to the SDK need not repeat them in the data."""
    event = CloudEvent(
        {"id": "a", "source": "https://shop.example", "type": m.ImageSubmitted.ce_type,
         "datacontenttype": "application/json"},
        {"image": {"url": "https://shop.example/a.jpg"}},
    )  # fmt: skip
    made = kafka.to_structured_event(event) if structured else kafka.to_binary_event(event)
    message = codec.decode(record_from_the_sdk(IMAGE_EVENTS.name, made))
    assert isinstance(message, m.ImageSubmitted)
    assert ("a", "https://shop.example") == (message.id, message.source)


@given(TEXT, TEXT, TEXT)
def test_any_names_survive_the_way_through_the_sdk(id: str, source: str, tenant: str) -> None:
    """Identity in headers is text in any script; neither side changes it."""
    message = submitted(id, source=source, tenant=tenant)
    outgoing = codec.encode(message, Outsider.PUBLISHERS)
    event = seen_by_the_sdk(outgoing.headers, outgoing.key, outgoing.value)
    assert (id, source, tenant) == (event.get_id(), event.get_source(), event.get_extension("tenant"))
    again = CloudEvent(event.get_attributes(), event.get_data())
    for made in (kafka.to_binary_event(again), kafka.to_structured_event(again)):
        assert message == codec.decode(record_from_the_sdk(outgoing.topic, made))


def test_a_record_that_is_no_cloud_event_is_refused_by_the_oracle() -> None:
    """The control: the SDK does not take everything."""
    outgoing = codec.encode(submitted(), Outsider.PUBLISHERS)
    untyped = tuple((name, value) for name, value in outgoing.headers if name != "ce_type")
    with pytest.raises(CloudEventValidationError):
        seen_by_the_sdk(untyped, outgoing.key, outgoing.value)
