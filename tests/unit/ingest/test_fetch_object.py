"""What an S3 server says, and what becomes of the event; tests/stack asks a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from captionstream.contracts.messages import RefusalReason
from captionstream.runtime.errors import Unavailable, Unprocessable
from services.ingest.fetch_object import ObjectSource
from services.ingest.settings import IngestSettings
from tests.unit.ingest.web_server import WebServer, reply, web_server

TOLD = IngestSettings(buckets=("s3://photos",), max_bytes=1000, fetch_seconds=5)
HEAD = ("Last-Modified: Wed, 01 May 2024 10:11:12 GMT", 'ETag: "1"')


@pytest.fixture
async def s3(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebServer]:
    async with web_server(("127.0.0.1",)) as server:
        told = {"ENDPOINT_URL": server.url("", "127.0.0.1"), "ALLOW_HTTP": "true", "REGION": "eu-central-1"}
        told |= {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
        for name, value in told.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        server.answers["/photos/boat.jpg"] = reply(b"boat", "200 OK", *HEAD)
        yield server


async def fetched(key: str) -> bytes:
    return await ObjectSource(TOLD).get(f"s3://photos/{key}")


async def test_a_version_is_asked_for_by_its_id(s3: WebServer) -> None:
    """A bucket that keeps versions gives the one that the event names."""
    assert b"boat" == await fetched("boat.jpg?versionId=v.1_-Z")
    assert s3.requests[0].startswith("GET /photos/boat.jpg?versionId=v.1_-Z ")


async def test_a_tag_is_asked_for_as_a_condition(s3: WebServer) -> None:
    """The server compares: 412 means that the object was written again."""
    assert b"boat" == await fetched("boat.jpg?etag=abc-2")
    assert 'if-match: "abc-2"' in s3.requests[0].lower()
    s3.answers["/photos/boat.jpg"] = reply(b"", "412 Precondition Failed")
    with pytest.raises(Unprocessable) as refused:
        await fetched("boat.jpg?etag=abc-2")
    assert (RefusalReason.UNFETCHABLE, True) == (
        refused.value.reason,
        "written again" in refused.value.detail,
    )


async def test_a_question_mark_alone_is_part_of_a_key(s3: WebServer) -> None:
    """Only the two known names at the very end name a writing."""
    s3.answers["/photos/what%3Fnow%3D1"] = reply(b"what", "200 OK", *HEAD)
    assert b"what" == await fetched("what?now=1")


async def test_a_large_object_is_refused_before_its_bytes_come(s3: WebServer) -> None:
    """The head says how large it is; a body that never comes is not waited for."""
    hung = asyncio.Event()

    async def head_only(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(("HTTP/1.1 200 OK", "Content-Length: 1001", *HEAD, "", "")).encode())
        await writer.drain()
        await hung.wait()

    s3.answers["/photos/large.jpg"] = head_only
    with pytest.raises(Unprocessable) as refused:
        await fetched("large.jpg")
    assert RefusalReason.TOO_LARGE == refused.value.reason


@pytest.mark.parametrize(
    ("code", "waits"),
    [("AccessDenied", False), ("InvalidObjectState", False), ("SignatureDoesNotMatch", True),
     ("InvalidAccessKeyId", True), ("ExpiredToken", True), ("RequestTimeTooSkewed", True)],
)  # fmt: skip
async def test_a_closed_object_is_refused_and_a_closed_store_is_waited_for(
    s3: WebServer, code: str, waits: bool
) -> None:
    """Both are a 403: the first is about one object, the second about our credentials."""
    s3.answers["/photos/boat.jpg"] = reply(f"<Error><Code>{code}</Code></Error>".encode(), "403 Forbidden")
    with pytest.raises(Unavailable if waits else Unprocessable) as failed:
        await fetched("boat.jpg")
    assert "boat" not in str(failed.value)


@pytest.mark.parametrize(
    ("status", "code", "waits"),
    [("400 Bad Request", "InvalidArgument", False), ("405 Method Not Allowed", "MethodNotAllowed", False),
     ("400 Bad Request", "KeyTooLongError", False), ("400 Bad Request", "ExpiredToken", True)],
)  # fmt: skip
async def test_a_version_that_cannot_be_is_refused_at_once(
    s3: WebServer, status: str, code: str, waits: bool
) -> None:
    """No publisher makes ingest wait for a store that is there; our own credentials are another matter."""
    s3.answers["/photos/boat.jpg"] = reply(f"<Error><Code>{code}</Code></Error>".encode(), status)
    with pytest.raises(Unavailable if waits else Unprocessable):
        await fetched("boat.jpg?versionId=no-such-thing")


async def test_what_a_key_says_is_not_the_servers_word(s3: WebServer) -> None:
    """A key may look like the answer that our credentials are wrong."""
    closed = reply(b"<Error><Code>AccessDenied</Code></Error>", "403 Forbidden")
    s3.answers["/photos/%3CCode%3EExpiredToken%3C/Code%3E"] = closed
    with pytest.raises(Unprocessable):
        await fetched("<Code>ExpiredToken</Code>")


@pytest.mark.parametrize("key", ["a" * 300, "boat.jpg/mast", "boat.jpg#1", "circle"])
async def test_a_name_that_a_folder_cannot_hold_is_refused_at_once(key: str, tmp_path: Path) -> None:
    """The folder is there: asked again it would say the same."""
    (tmp_path / "boat.jpg").write_bytes(b"boat")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(Unprocessable):
        await ObjectSource(IngestSettings(objects=str(tmp_path))).get(key)
