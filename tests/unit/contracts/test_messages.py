"""What a publisher may write, what an event is, and how both are told apart from nonsense."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.identity import caption_id
from captionstream.contracts.record import Record
from captionstream.contracts.topics import (
    BY_NAME,
    CAPTIONS,
    IMAGE_EVENTS,
    PARTITIONS,
    TOPICS,
    NoSuchRoute,
    Outsider,
    input_of,
    topic_for,
)  # fmt: skip
from captionstream.contracts.values import INLINE_IMAGE_LIMIT, StageName
from tests.builders import NOON, event_record, record, submitted

EXAMPLES = Path(m.__file__).parent / "examples"


def raw(value: bytes, headers: dict[str, str] | None = None) -> Record:
    pairs = tuple((name, text.encode()) for name, text in (headers or {}).items())
    return Record(IMAGE_EVENTS.name, 3, 17, b"key", value, pairs, NOON)


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.rglob("*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_example_decodes_to_the_message_it_names(path: Path) -> None:
    """The examples that outsiders copy are real messages, and survive another encoding."""
    example = json.loads(path.read_text())
    headers = tuple((name, text.encode()) for name, text in example["headers"].items())
    value = json.dumps(example["value"]).encode()
    message = codec.decode(Record(path.parent.name, 0, 0, example["key"].encode(), value, headers, NOON))
    assert path.stem.split("-")[0] == type(message).__name__
    assert message == type(message).model_validate_json(message.model_dump_json(exclude_none=True))


def test_every_message_of_the_table_has_an_example() -> None:
    """A type without an example would be a contract that nobody can read."""
    shown = {(path.parent.name, path.stem.split("-")[0]) for path in EXAMPLES.rglob("*.json")}
    assert {(topic.name, message.__name__) for topic in TOPICS for message in topic.messages} == shown


def test_an_event_travels_unchanged() -> None:
    """Encode and decode give the same event, in CloudEvents' binary mode."""
    event = submitted(profile="product", deadline_s=5, stream_key="camera", sequence=4)
    outgoing = codec.encode(event, Outsider.PUBLISHERS)
    assert event == codec.decode(record(outgoing))
    assert ("1.0", "event-1", m.ImageSubmitted.ce_type) == tuple(
        record(outgoing).header(name) for name in ("ce_specversion", "ce_id", "ce_type")
    )
    assert b"camera" == outgoing.key


def test_identity_may_stand_in_the_headers() -> None:
    """A publisher that uses CloudEvents headers need not repeat its id in the body."""
    inline = base64.b64encode(b"picture").decode()
    message = codec.decode(
        raw(json.dumps({"image": {"inline": inline}}).encode(), {"ce_id": "a", "ce_source": "shop"})
    )
    assert isinstance(message, m.ImageSubmitted)
    assert ("a", "shop") == (message.id, message.source)


def test_a_structured_cloud_event_is_opened() -> None:
    """Structured mode carries the same event in `data`."""
    body = {
        "specversion": "1.0",
        "id": "a",
        "source": "shop",
        "type": "x",
        "data": {"image": {"url": "https://shop/a.jpg"}},
    }
    message = codec.decode(
        raw(json.dumps(body).encode(), {"content-type": "application/cloudevents+json; charset=utf-8"})
    )
    assert isinstance(message, m.ImageSubmitted)
    assert ("a", "shop", "https://shop/a.jpg") == (message.id, message.source, message.image.url)


def test_unknown_fields_do_no_harm() -> None:
    """A newer producer may say more than we know."""
    event = json.loads(codec.encode(submitted(), Outsider.PUBLISHERS).value)
    assert submitted() == codec.decode(raw(json.dumps({**event, "brand_new": 1}).encode()))


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"id":"a"}', b'{"id":"a","image":{}}', b"[" * 100_000,
        b'{"id":"a","image":{"url":"https://a","object_key":"b"}}', b'{"id":"","image":{"url":"https://a"}}',
        b'{"id":"a","image":{"url":"https://a"},"profile":"poem"}', b'{"id":"a","image":{"url":"https://a"},"deadline_s":0}',
        b'{"id":"a","image":{"url":"https://a"},"captured_at":"2026-01-01T00:00:00"}',
        b'{"id":"a","image":{"url":"https://a"},"language":"../etc"}', b'{"id":"\\ud800","image":{"url":"https://a"}}',
        b'{"id":"a","tenant":"\\udfff","stream_key":7,"revision":true}', b'{"id":"a","deadline_s":1e12}',
    ],
)  # fmt: skip
def test_what_is_not_an_event_is_malformed_and_still_has_an_identity(value: bytes) -> None:
    """Nothing goes unanswered: without a usable id, the place on the log is the id."""
    with pytest.raises(codec.Malformed):
        codec.decode(raw(value))
    assert codec.event_of(raw(value)).id in ("a", "image-events-3-17")


def test_a_malformed_revision_is_not_taken_for_the_first() -> None:
    """What can be told of its identity counts, the revision too."""
    assert 1 == codec.event_of(raw(b'{"id":"a","revision":1,"image":{}}')).revision
    assert 0 == codec.event_of(raw(b'{"id":"a","revision":-1,"image":{}}')).revision


def test_an_image_over_the_inline_limit_is_malformed() -> None:
    """One byte over the limit is refused at the border, the limit itself is not."""
    for size, fits in ((INLINE_IMAGE_LIMIT, True), (INLINE_IMAGE_LIMIT + 1, False)):
        body = json.dumps({"id": "a", "image": {"inline": base64.b64encode(bytes(size)).decode()}}).encode()
        if fits:
            codec.decode(raw(body))
        else:
            with pytest.raises(codec.Malformed, match="inline"):
                codec.decode(raw(body))


def test_the_caption_id_is_the_event_and_nothing_else() -> None:
    """Profile, image and time may differ: it is one event, with one answer. Tenant, source, id and revision may not."""
    one = submitted().event
    assert caption_id(one) == caption_id(submitted(profile="product", deadline_s=3).event)
    others = [submitted(**{name: value}).event for name, value in
              (("tenant", "b"), ("source", "b"), ("revision", 1), ("id", "b"))]  # fmt: skip
    assert 5 == len({caption_id(one), *map(caption_id, others)})


def test_a_type_that_the_topic_does_not_carry_is_malformed() -> None:
    """The table decides what a topic carries."""
    wrong = Record(
        CAPTIONS.name, 0, 0, b"k", b"{}", (("ce_type", b"io.captionstream.image.prepared.v1"),), NOON
    )
    with pytest.raises(codec.Malformed):
        codec.decode(wrong)


def test_a_party_writes_only_what_the_table_lets_it() -> None:
    """No stage but safety has a route to consumers."""
    assert CAPTIONS is topic_for(StageName.SAFETY, m.CaptionPublished)
    for stage in (StageName.INGEST, StageName.ENCODER, StageName.GENERATOR):
        for message in CAPTIONS.messages:
            with pytest.raises(NoSuchRoute):
                topic_for(stage, message)


def test_the_table_is_a_chain_of_stages() -> None:
    """Every stage reads one topic, and its terminal messages lead to the next."""
    assert ["image-events", "images-prepared", "images-encoded", "captions-drafted"] == [
        input_of(stage).name for stage in StageName
    ]
    assert len(TOPICS) == len(BY_NAME)
    assert all(topic.why and topic.readers and topic.writers for topic in TOPICS)
    assert 8 == PARTITIONS


def test_what_stands_on_a_record_tells_a_repeat_from_a_conflict() -> None:
    """Two records of one body have one digest; another body has another."""
    assert codec.event_digest(event_record()) == codec.event_digest(event_record())
    assert codec.event_digest(event_record()) != codec.event_digest(event_record(profile="product"))


def test_a_copy_under_another_id_is_another_event() -> None:
    """Whether or not the first one was asked who it is."""
    first = submitted(id="one")
    assert "one" == first.event.id
    assert "two" == first.model_copy(update={"id": "two"}).event.id
