"""What a bucket says of its objects becomes image events; what it says of other things is refused by name."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.identity import caption_id
from captionstream.contracts.notification import unpinned
from captionstream.contracts.record import Record
from captionstream.contracts.topics import IMAGE_EVENTS
from tests.builders import NOON

ETAG, LATER_ETAG = "f22d66a7d0dbbc4a7cf1122eeeb1a106", "b1946ac92492d2347c6235b4d2611184"


def minio(name: str = "boat.jpg", event: str = "s3:ObjectCreated:Put", **stored: Any) -> dict[str, Any]:
    """As MinIO writes it to Kafka: bucket and key once more outside, slashes of the key encoded, metadata told."""
    return {
        "EventName": event,
        "Key": f"photos/{name}",
        "Records": [
            {
                "eventVersion": "2.0",
                "eventSource": "minio:s3",
                "awsRegion": "",
                "eventTime": "2026-11-24T12:00:00.123Z",
                "eventName": event,
                "userIdentity": {"principalId": "minio"},
                "requestParameters": {"principalId": "minio", "region": "", "sourceIPAddress": "172.18.0.1"},
                "responseElements": {"x-amz-request-id": "159FB6B233B08AF0"},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "Config",
                    "bucket": {"name": "photos", "arn": "arn:aws:s3:::photos", "ownerIdentity": {}},
                    "object": {
                        "key": quote_plus(name),
                        "size": 488,
                        "eTag": ETAG,
                        "contentType": "image/jpeg",
                        "userMetadata": {"content-type": "image/jpeg"},
                        "sequencer": "14E11E32397D42C4",
                        **stored,
                    },
                },
                "source": {"host": "172.18.0.1", "port": "", "userAgent": "MinIO"},
            }
        ],
    }


def aws(name: str = "boat.jpg", event: str = "ObjectCreated:Put", **stored: Any) -> dict[str, Any]:
    """As S3 and Ceph write it: slashes of the key as they are, no metadata; `size` may be a text."""
    body = minio(name, event, **{"key": quote(name, safe="/").replace("%20", "+"), "size": "488", **stored})
    body["Records"][0]["s3"]["object"].pop("userMetadata")
    return {"Records": body["Records"]}


def noticed(body: dict[str, Any], *headers: tuple[str, bytes], offset: int = 17) -> Record:
    return Record(IMAGE_EVENTS.name, 3, offset, b"photos/x", json.dumps(body).encode(), headers, NOON)


def event_from(body: dict[str, Any], *headers: tuple[str, bytes]) -> m.ImageSubmitted:
    event = codec.decode(noticed(body, *headers))
    assert isinstance(event, m.ImageSubmitted)
    return event


@pytest.mark.parametrize("shape", [minio, aws])
@pytest.mark.parametrize(
    "key",
    [
        "boat.jpg",
        "2026/11/red boat.jpg",
        "a+b & c=d?.png",
        "Füße/日本.png",
        "100%25.jpg",
        "a?etag=b",
        "x" * 900,
    ],
)
def test_a_written_object_is_an_image_event(shape: Any, key: str) -> None:
    """The key arrives as it was given, with what tells this writing from the next; nothing else is asked for."""
    event = event_from(shape(key))
    assert (f"s3://photos/{key}", "etag", ETAG) == unpinned(event.image.object_key or "")
    assert ("s3://photos", None, "default", "alt") == (
        event.source,
        event.stream_key,
        event.tenant,
        event.profile,
    )


@given(key=st.text(min_size=1, max_size=60).filter(lambda text: "\ud800" > max(text) or max(text) > "\udfff"))
def test_any_key_arrives_as_it_was_given(key: str) -> None:
    """Whatever stands in a key, the event names this object and no other."""
    for shape in (minio, aws):
        assert f"s3://photos/{key}" == unpinned(event_from(shape(key)).image.object_key or "")[0]


def test_the_id_is_the_key_and_this_writing_of_it() -> None:
    """Whoever reads an answer sees which object it is about: source and the id up to its last @."""
    event = event_from(minio("2026/red boat.jpg", versionId="v.1_-Z"))
    assert ("s3://photos", "2026/red boat.jpg@v.1_-Z") == (event.source, event.id)
    assert "s3://photos/2026/red boat.jpg?versionId=v.1_-Z" == event.image.object_key


@pytest.mark.parametrize(
    ("stored", "writing", "place"),
    [
        ({"versionId": "v1"}, "v1", "?versionId=v1"),
        ({"versionId": "null"}, "14E11E32397D42C4", f"?etag={ETAG}"),
        ({"versionId": None, "sequencer": None}, ETAG, f"?etag={ETAG}"),
        ({"eTag": "7-part-9", "sequencer": ""}, "7-part-9", "?etag=7-part-9"),
        ({"eTag": None}, "14E11E32397D42C4", ""),
        ({"eTag": "not a tag/"}, "14E11E32397D42C4", ""),
    ],
)
def test_version_sequencer_and_tag_tell_writings_apart(
    stored: dict[str, Any], writing: str, place: str
) -> None:
    """A version is the best name; a sequencer is new with each writing, a tag only with other bytes."""
    event = event_from(minio(**stored))
    assert (f"boat.jpg@{writing}", f"s3://photos/boat.jpg{place}") == (event.id, event.image.object_key)


def test_a_redelivery_is_the_same_event_and_another_writing_is_not() -> None:
    """Notifications come at least once. The same picture written again after another one is a new event, too."""
    first = minio()
    again = minio()
    again["Records"][0]["eventTime"] = "2026-11-24T12:05:00.000Z"
    later = minio(sequencer="14E11E32397D42C5")
    elsewhere = minio("other.jpg")
    ids = [caption_id(event_from(body).event) for body in (first, again, later, elsewhere)]
    assert ids[0] == ids[1]
    assert 3 == len(set(ids))


def test_a_long_key_still_has_an_id() -> None:
    """An id has 256 characters, a key up to 1,024 bytes: two long keys are two events."""
    one, other = (event_from(minio("y" * 800 + end)) for end in "ab")
    assert one.id != other.id
    assert len(one.id) <= 256


def test_the_uploader_may_say_what_the_caption_is_for() -> None:
    """MinIO tells an object's metadata; what it holds of other things is left alone."""
    metadata = {
        "X-Amz-Meta-Captionstream-Profile": "product",
        "x-amz-meta-captionstream-language": "es",
        "X-Amz-Meta-Captionstream-Tenant": "somebody else",
        "content-type": "image/png",
    }
    event = event_from(minio(userMetadata=metadata))
    assert ("product", "es", "default") == (event.profile, event.language, event.tenant)
    with pytest.raises(codec.Malformed, match="profile"):
        codec.decode(noticed(minio(userMetadata={"x-amz-meta-captionstream-profile": "poem"})))


def test_headers_and_envelopes_may_stand_around_a_notification() -> None:
    """A bridge may add a tenant, or wrap it as a CloudEvent; the event stays that of the object."""
    bare = event_from(minio())
    assert "shop" == event_from(minio(), ("ce_tenant", b"shop"), ("ce_id", b"of-the-bridge")).tenant
    assert bare.id == event_from(minio(), ("ce_id", b"of-the-bridge")).id
    wrapped = {"specversion": "1.0", "id": "of-the-bridge", "source": "bridge", "type": "t", "data": minio()}
    assert bare == event_from(wrapped, ("content-type", b"application/cloudevents+json"))


def test_an_image_event_stays_one_whatever_else_it_carries() -> None:
    """A publisher may have a field of that name."""
    body = {**minio(), "id": "a", "image": {"url": "https://shop/a.jpg"}}
    assert ("a", "https://shop/a.jpg") == (event_from(body).id, event_from(body).image.url)


TEST_EVENT = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-11-24T12:00:00Z",
    "Bucket": "photos",
}
TWO = {"Records": minio()["Records"] * 2}


@pytest.mark.parametrize(
    ("body", "why", "event_id"),
    [
        (minio(event="s3:ObjectRemoved:Delete"), "ObjectRemoved:Delete: only ObjectCreated",
         "boat.jpg@14E11E32397D42C4#ObjectRemoved:Delete"),
        (aws(event="ObjectTagging:Put"), "ObjectTagging:Put", "boat.jpg@14E11E32397D42C4#ObjectTagging:Put"),
        (TEST_EVENT, "test message", "image-events-3-17"),
        (TWO, "of 2 objects", "image-events-3-17"),
        ({"Records": []}, "of 0 objects", "image-events-3-17"),
        ({"Records": ["boat.jpg"]}, "valid", "image-events-3-17"),
        ({"Records": [{"eventName": "ObjectCreated:Put", "s3": {}}]}, r"s3\.bucket", "image-events-3-17"),
        (minio(key="%FF%FE"), "not UTF-8", "image-events-3-17"),
        (minio(key=""), "key", "image-events-3-17"),
        (minio(event="<script>\n"), "eventName", "image-events-3-17"),
    ],
)  # fmt: skip
def test_what_asks_for_no_caption_is_refused_by_name(body: dict[str, Any], why: str, event_id: str) -> None:
    """Nothing goes unanswered: the refusal says what it was, under the identity that can be told."""
    with pytest.raises(codec.Malformed, match=why):
        codec.decode(noticed(body))
    assert event_id == codec.event_of(noticed(body)).id


def test_a_bucket_is_a_name_and_no_path() -> None:
    """What the list of buckets allows is compared with a whole name."""
    body = minio()
    body["Records"][0]["s3"]["bucket"]["name"] = "photos/../private"
    with pytest.raises(codec.Malformed, match="bucket"):
        codec.decode(noticed(body))


nonsense = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["Records", "s3", "bucket", "object", "name", "key", "eventName", "eTag", "userMetadata", "Event"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(body=st.fixed_dictionaries({"Records": st.lists(nonsense, max_size=2)}))
def test_no_notification_breaks_the_codec(body: dict[str, Any]) -> None:
    """Whatever a record holds, it is an event or malformed, and it has an identity."""
    try:
        assert isinstance(codec.decode(noticed(body)), m.ImageSubmitted)
    except codec.Malformed:
        assert "image-events-3-17" == codec.event_of(noticed(body)).id
