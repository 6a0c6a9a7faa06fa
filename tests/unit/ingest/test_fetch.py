"""Each kind of reference gives its bytes, or says why not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from pydantic import ValidationError

from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.values import ImageReference
from captionstream.runtime.errors import Unavailable, Unprocessable
from services.ingest.fetch import FetchByKind
from services.ingest.fetch_object import ObjectSource
from services.ingest.fetch_url import WebSource
from services.ingest.settings import IngestSettings
from tests.unit.ingest.web_server import WebServer, port_free_on, reply, web_server

IMAGE = b"the bytes of an image"
HOST = "127.0.0.2"

# A self-signed certificate for 127.0.0.2, made for these tests: nobody trusts it.
SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgKJchbgdh4ABcVU9U
KQl9OfQuAbi6W6LCQd1MBTRZALmhRANCAAR77CGd86XtPk5ribK3HGWSYGIU0Shb
B4nSH7AsinfKe9byveYZm1L47Mm9FDOfLIjrOwm9hs7CNQwYVgM1H695
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBrzCCAVWgAwIBAgIUZavolVnwqviQbHR5xYw2sHN2Y2YwCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSY2FwdGlvbnN0cmVhbSB0ZXN0MCAXDTI2MTEyNTAwMTgzN1oY
DzIxMjYxMTAxMDAxODM3WjAdMRswGQYDVQQDDBJjYXB0aW9uc3RyZWFtIHRlc3Qw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR77CGd86XtPk5ribK3HGWSYGIU0Shb
B4nSH7AsinfKe9byveYZm1L47Mm9FDOfLIjrOwm9hs7CNQwYVgM1H695o3EwbzAd
BgNVHQ4EFgQUjNDI/OOBL851KuGxbV6ISRz4R8MwHwYDVR0jBBgwFoAUjNDI/OOB
L851KuGxbV6ISRz4R8MwDwYDVR0TAQH/BAUwAwEB/zAcBgNVHREEFTAThwR/AAAC
ggtwdWJsaWMudGVzdDAKBggqhkjOPQQDAgNIADBFAiBXE4k8RDv3LjbiW6O/1J2G
yfr5FmN5pMYZ3su5Rn/hQAIhAKP+HZUDeuJVoJX7NoXohN/LrPUUoakmHWdwyp+J
bICf
-----END CERTIFICATE-----
"""


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    async with web_server((HOST,)) as made:
        made.answers["/image"] = reply(IMAGE)
        yield made


def settings(port: int = 80, **changes: object) -> IngestSettings:
    plain = {"allow_addresses": (HOST,), "ports": (port,), "max_bytes": 1000, "fetch_seconds": 20.0}
    return IngestSettings.model_validate({**plain, **changes})


async def from_web(told: IngestSettings, url: str) -> bytes:
    async with aclosing(WebSource(told)) as source:
        return await source.get(url)


async def refusal_from_web(told: IngestSettings, url: str) -> tuple[RefusalReason, str]:
    with pytest.raises(Unprocessable) as refused:
        await from_web(told, url)
    return refused.value.reason, refused.value.detail


async def test_each_reference_goes_to_its_source(server: WebServer, tmp_path: Path) -> None:
    """A URL, a store key and inline bytes: the same image, byte by byte."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "boat 1.jpg").write_bytes(IMAGE)
    told = settings(server.port, objects=str(tmp_path))
    async with aclosing(WebSource(told)) as web:
        fetcher = FetchByKind(web, ObjectSource(told), told.max_bytes)
        references = [
            ImageReference(url=server.url("/image")),
            ImageReference(object_key="photos/boat 1.jpg"),
            ImageReference(inline=IMAGE),
        ]
        assert [await fetcher.fetch(reference) for reference in references] == [IMAGE] * 3


async def test_inline_bytes_over_the_limit_are_refused() -> None:
    """The limit on bytes holds for every kind."""
    told = settings(max_bytes=10)
    async with aclosing(WebSource(told)) as web:
        with pytest.raises(Unprocessable) as refused:
            await FetchByKind(web, ObjectSource(told), 10).fetch(ImageReference(inline=IMAGE))
    assert refused.value.reason is RefusalReason.TOO_LARGE


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        ("404 Nothing <b>Here</b>", "404 Not Found"),
        ("403 x", "403 Forbidden"),
        ("410 x", "410 Gone"),
        ("304 x", "304 Not Modified"),
        ("499 x", "status 499"),
    ],
)
async def test_a_clear_answer_is_final(server: WebServer, status: str, detail: str) -> None:
    """What the host will not give is refused at once, in our words, not in the host's."""
    server.answers["/gone"] = reply(b"", status)
    expected = (RefusalReason.UNFETCHABLE, detail)
    assert await refusal_from_web(settings(server.port), server.url("/gone")) == expected
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", ["500 x", "503 x", "429 x"])
async def test_a_host_in_trouble_gets_another_chance(server: WebServer, status: str) -> None:
    """A passing failure is tried again, a lasting one is refused: nobody's host holds up a partition."""
    answers = iter([reply(b"", status), reply(IMAGE)])

    async def recovering(writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers, reply(b"", status)))

    server.answers["/flaky"] = recovering
    assert await from_web(settings(server.port), server.url("/flaky")) == IMAGE
    assert len(server.requests) == 2
    reason, detail = await refusal_from_web(settings(server.port), server.url("/flaky"))
    assert (reason, detail[:3], len(server.requests)) == (RefusalReason.UNFETCHABLE, status[:3], 5)


async def test_a_short_pause_that_the_host_asks_for_is_kept_and_a_long_one_is_not(server: WebServer) -> None:
    """`Retry-After: 0` is tried again; a minute is not waited for."""
    server.answers["/soon"] = reply(b"", "429 x", "Retry-After: 0")
    server.answers["/late"] = reply(b"", "429 x", "Retry-After: 60")
    expected = (RefusalReason.UNFETCHABLE, "429 Too Many Requests")
    assert await refusal_from_web(settings(server.port), server.url("/soon")) == expected
    assert len(server.requests) == 3
    assert await refusal_from_web(settings(server.port), server.url("/late")) == expected
    assert len(server.requests) == 4


async def test_a_broken_off_body_is_not_taken_for_the_whole(server: WebServer) -> None:
    """Fewer bytes than announced are no image, even if they would decode."""
    server.answers["/cut"] = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + IMAGE
    expected = (RefusalReason.UNFETCHABLE, "the host broke off its answer")
    assert await refusal_from_web(settings(server.port), server.url("/cut")) == expected


async def test_a_host_that_is_down_is_refused() -> None:
    """Nobody listens: the refusal comes within the retries, not within the runtime's ten minutes."""
    port = port_free_on((HOST,))
    expected = (RefusalReason.UNFETCHABLE, "the host could not be reached")
    assert await refusal_from_web(settings(port), f"http://{HOST}:{port}/") == expected


@pytest.mark.parametrize(
    "garbage", [b"\0\1\2 no http\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx", b""]
)
async def test_a_host_that_does_not_speak_http_is_refused(server: WebServer, garbage: bytes) -> None:
    """Whatever comes back, it is a refusal with a type."""
    server.answers["/garbage"] = garbage
    reason, _ = await refusal_from_web(settings(server.port), server.url("/garbage"))
    assert reason is RefusalReason.UNFETCHABLE


async def test_certificates_are_verified(tmp_path: Path) -> None:
    """A host that anybody could be gets no request; once its certificate is trusted, it serves."""
    pem = tmp_path / "self-signed.pem"
    pem.write_text(SELF_SIGNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    async with web_server((HOST,), tls=context) as server:
        server.answers["/image"] = reply(IMAGE)
        url = server.url("/image", scheme="https")
        expected = (RefusalReason.UNFETCHABLE, "the certificate of the host is not trusted")
        assert await refusal_from_web(settings(server.port), url) == expected
        assert server.requests == []
        assert await from_web(settings(server.port, ca_file=pem), url) == IMAGE


async def from_store(told: IngestSettings, key: str) -> bytes:
    return await ObjectSource(told).get(key)


async def refusal_from_store(told: IngestSettings, key: str) -> RefusalReason:
    with pytest.raises(Unprocessable) as refused:
        await from_store(told, key)
    assert str(told.objects) not in refused.value.detail, "no paths"
    return refused.value.reason


@pytest.mark.parametrize(
    "key",
    [
        "../secret",
        "a/../../secret",
        "./../secret",
        "/etc/passwd",
        "a//b",
        "a/./b",
        "..",
        ".",
        "",
        "a\\..\\secret",
        "a\0b",
        "a\nb",
    ],
)
async def test_keys_do_not_leave_the_store(tmp_path: Path, key: str) -> None:
    """A key is a name inside the store, never a way out of it."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "store" / "a").mkdir(parents=True)
    told = settings(objects=str(tmp_path / "store"))
    assert await refusal_from_store(told, key) is RefusalReason.FORBIDDEN_ADDRESS


async def test_links_do_not_leave_the_store(tmp_path: Path) -> None:
    """A link that somebody put into the folder leads nowhere else."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "link").symlink_to(tmp_path / "secret")
    assert (
        await refusal_from_store(settings(objects=str(tmp_path / "store")), "link")
        is RefusalReason.FORBIDDEN_ADDRESS
    )


async def test_encoded_dots_are_a_name_like_any_other(tmp_path: Path) -> None:
    """Nothing decodes a key on its way: `%2e%2e` is a file of that name, or none."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "store").mkdir()
    told = settings(objects=str(tmp_path / "store"))
    assert await refusal_from_store(told, "%2e%2e/secret") is RefusalReason.UNFETCHABLE


async def test_absent_and_large_objects_are_refused(tmp_path: Path) -> None:
    """No such object, a folder, more bytes than allowed, no store at all."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(bytes(1001))
    told = settings(objects=str(tmp_path))
    assert await refusal_from_store(told, "absent") is RefusalReason.UNFETCHABLE
    assert await refusal_from_store(told, "folder") is RefusalReason.UNFETCHABLE
    assert await refusal_from_store(told, "large") is RefusalReason.TOO_LARGE
    assert await refusal_from_store(settings(), "absent") is RefusalReason.UNFETCHABLE


async def test_a_store_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """Our own store is down: the event waits, it is not refused."""
    with pytest.raises(Unavailable):
        await from_store(settings(objects=str(tmp_path / "not mounted")), "key")


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebServer]:
    """A server that answers like S3, path style, found by the environment as the cloud's tools find it."""
    async with web_server(("127.0.0.1",)) as server:
        monkeypatch.setenv("AWS_ENDPOINT", server.url("", "127.0.0.1"))
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        headers = ("Last-Modified: Wed, 01 May 2024 10:11:12 GMT", 'ETag: "1"')
        server.answers["/photos/2024/boat.jpg"] = reply(IMAGE, "200 OK", *headers)
        server.answers["/photos/large.jpg"] = reply(bytes(1001), "200 OK", *headers)
        server.answers["/photos/closed.jpg"] = reply(b"", "403 Forbidden")
        yield server


async def test_objects_in_a_named_bucket(bucket: WebServer) -> None:
    """`s3://` reads what exists, within the limit, and refuses the rest."""
    told = settings(buckets=("s3://photos",))
    assert await from_store(told, "s3://photos/2024/boat.jpg") == IMAGE
    assert await refusal_from_store(told, "s3://photos/large.jpg") is RefusalReason.TOO_LARGE
    assert await refusal_from_store(told, "s3://photos/absent.jpg") is RefusalReason.UNFETCHABLE
    assert await refusal_from_store(told, "s3://photos/closed.jpg") is RefusalReason.UNFETCHABLE


async def test_a_root_in_a_bucket(bucket: WebServer) -> None:
    """Plain keys may live under a prefix of a bucket."""
    assert await from_store(settings(objects="s3://photos/2024"), "boat.jpg") == IMAGE


@pytest.mark.parametrize(
    "key",
    [
        "s3://private/2024/boat.jpg",
        "s3://photos",
        "s3://photos/",
        "s3://photos/../private/x",
        "s3://photos@127.0.0.3/x",
        "gs://photos/2024/boat.jpg",
        "http://127.0.0.1/x",
        "https://photos.s3.amazonaws.com/x",
        "file:///etc/passwd",
        "memory:///x",
    ],
)
async def test_a_publisher_may_not_choose_the_store(bucket: WebServer, key: str) -> None:
    """Our credentials open more than the bucket that was named for publishers; nothing else is asked for."""
    assert (
        await refusal_from_store(settings(buckets=("s3://photos",)), key) is RefusalReason.FORBIDDEN_ADDRESS
    )
    assert bucket.connections == 0


@pytest.mark.parametrize(
    "wrong", ["file:///etc", "http://127.0.0.1", "s3://", "photos", "s3://photos/prefix"]
)
def test_only_buckets_of_object_stores_can_be_named(wrong: str) -> None:
    """A setting that would open the file system or the network inside is refused at the start."""
    with pytest.raises(ValidationError):
        settings(buckets=(wrong,))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators set limits and places by environment, lists as JSON; nonsense is refused."""
    monkeypatch.setenv("CAPTIONSTREAM_INGEST_ALLOW_ADDRESSES", '["10.1.0.0/16"]')
    monkeypatch.setenv("CAPTIONSTREAM_INGEST_FETCH_SECONDS", "3")
    monkeypatch.setenv("CAPTIONSTREAM_INGEST_OBJECTS", "s3://bucket/prefix")
    told = IngestSettings()
    assert (
        told.allow_addresses,
        told.fetch_seconds,
        told.objects,
    ) == (("10.1.0.0/16",), 3.0, "s3://bucket/prefix")
    monkeypatch.setenv("CAPTIONSTREAM_INGEST_ALLOW_ADDRESSES", '["everything"]')
    with pytest.raises(ValidationError):
        IngestSettings()
