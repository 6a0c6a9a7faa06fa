"""A bucket's notification as an image event: MinIO, Ceph and others publish theirs straight to a Kafka topic.

    {"Records": [{"eventName": "ObjectCreated:Put",
                  "s3": {"bucket": {"name": "photos"}, "object": {"key": "red+boat.jpg", "eTag": ...}}}]}

A record is one event and has one answer, so a notification names one object, as these servers write it.
The event's id is the object's key and what tells this writing of it from others: a redelivery is the same
event, another picture under the same key is another one. What it names is that writing, not whatever lies
there when it is fetched: `s3://photos/red boat.jpg?etag=...`, or `?versionId=...` where the bucket keeps versions.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import unquote_plus

from pydantic import Field

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.values import Value

PIN = re.compile(r"(?P<place>.+)\?(?P<kind>versionId|etag)=(?P<value>[\w.~-]+)", re.ASCII | re.DOTALL)
ASKED = re.compile(r"x-amz-meta-captionstream-(profile|language|purpose)", re.IGNORECASE)
LONGEST_KEY, LONGEST_WRITING, LONGEST_KIND = 150, 64, 40  # characters; with two signs between, an id's 256


class NotAnImageEvent(Exception):
    """A notification that asks for no caption: of a removal, of several objects, a test."""


class Bucket(Value):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class StoredObject(Value):
    """`key` is URL-encoded as a form is; `sequencer` grows with each writing; metadata is MinIO's addition."""

    key: Annotated[str, Field(min_length=1)]
    eTag: str | None = None
    versionId: str | None = None
    sequencer: str | None = None
    userMetadata: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The key itself. Raises NotAnImageEvent if it is not UTF-8."""
        try:
            return unquote_plus(self.key, errors="strict")
        except UnicodeDecodeError:
            raise NotAnImageEvent("the object's key is not UTF-8") from None

    @property
    def version(self) -> str | None:
        """None where the bucket keeps no versions: S3 calls the only one `null`."""
        return None if self.versionId == "null" else self.versionId


class Stored(Value):
    bucket: Bucket
    object: StoredObject


class Notice(Value):
    """One of the `Records`."""

    eventName: Annotated[str, Field(pattern=r"^[A-Za-z0-9:_-]{1,100}$")]
    s3: Stored

    @property
    def kind(self) -> str:
        return self.eventName.removeprefix("s3:")


def is_notification(body: dict[str, Any]) -> bool:
    told = isinstance(body.get("Records"), list) or body.get("Event") == "s3:TestEvent"
    return told and "image" not in body


def image_event(body: dict[str, Any]) -> dict[str, Any]:
    """The body of the image event. Raises NotAnImageEvent or ValidationError."""
    notice = only_notice(body)
    if not notice.kind.startswith("ObjectCreated:"):
        raise NotAnImageEvent(f"a notification of {notice.kind}: only ObjectCreated asks for a caption")
    place = pinned(f"s3://{notice.s3.bucket.name}/{notice.s3.object.name}", notice.s3.object)
    return {**asked(notice.s3.object.userMetadata or {}), **identity(notice), "image": {"object_key": place}}


def only_notice(body: dict[str, Any]) -> Notice:
    if "Records" not in body:
        raise NotAnImageEvent("the test message of a bucket's notifications: it names no object")
    if len(body["Records"]) != 1:
        raise NotAnImageEvent(f"a notification of {len(body['Records'])} objects: a record is one event")
    return Notice.model_validate(body["Records"][0])


def identity_of(body: dict[str, Any]) -> dict[str, str]:
    """As much of the event's identity as a notification tells that is no image event; it may be nothing."""
    try:
        return identity(only_notice(body))
    except (NotAnImageEvent, ValueError):
        return {}


def identity(notice: Notice) -> dict[str, str]:
    """`key@writing`; what is done to an object after it was written is an event of its own."""
    stored = notice.s3.object
    writing = short(stored.version or stored.sequencer or stored.eTag or "", LONGEST_WRITING)
    after = "" if notice.kind.startswith("ObjectCreated:") else f"#{notice.kind[:LONGEST_KIND]}"
    return {
        "id": f"{short(stored.name, LONGEST_KEY)}@{writing}{after}",
        "source": f"s3://{notice.s3.bucket.name}",
    }


def short(text: str, limit: int) -> str:
    return text if len(text) <= limit else sha256_hex(text.encode())


def asked(metadata: dict[str, Any]) -> dict[str, Any]:
    """What the uploader asked for: `x-amz-meta-captionstream-profile: product`, and language and purpose."""
    found = ((ASKED.fullmatch(name), value) for name, value in metadata.items())
    return {match[1].lower(): value for match, value in found if match}


def pinned(place: str, stored: StoredObject) -> str:
    """The place of this writing of the object, as far as the notification tells it apart from others."""
    for kind, value in (("versionId", stored.version), ("etag", stored.eTag)):
        if value and PIN.fullmatch(f"{place}?{kind}={value}"):
            return f"{place}?{kind}={value}"
    return place


def unpinned(place: str) -> tuple[str, Literal["versionId", "etag"] | None, str]:
    """The place alone, and by what the object there is told apart from others of its name."""
    match = PIN.fullmatch(place)
    if match is None:
        return place, None, ""
    kind: Literal["versionId", "etag"] = "versionId" if match["kind"] == "versionId" else "etag"
    return match["place"], kind, match["value"]
