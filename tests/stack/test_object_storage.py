"""Pictures, notifications and payloads on a real S3 server that checks every signature."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import obstore
import pytest
from obstore.store import S3Store

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.record import Outgoing
from captionstream.contracts.topics import CAPTIONS, DEAD_LETTERS, IMAGE_EVENTS
from captionstream.contracts.values import ImageReference
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.asking import ask
from captionstream.runtime.errors import Unavailable, Unprocessable
from captionstream.runtime.memory_log import MemoryLog
from services.encoder.settings import EncoderSettings, Engine
from services.generator.settings import GeneratorSettings, WriterKind
from services.ingest.fetch_object import ObjectSource
from services.ingest.settings import IngestSettings
from services.pipeline import embedded
from tests.conftest import free_port
from tests.faults.harness import plate_event
from tests.stack.s3_server import S3Server, s3_server
from tests.unit.contracts.test_notification import minio

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

TOLD = IngestSettings(buckets=("s3://photos",), max_bytes=200_000, fetch_seconds=5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as started:
        for bucket in ("photos", "private", "payloads"):
            (started.folder / bucket).mkdir()
        yield started


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, and the environment that leads there."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


def picture(number: int) -> bytes:
    """A plate whose number the scripted encoder reads from the pixels."""
    return plate_event(number, "s3").image.inline or b""


async def upload(bucket: str, key: str, data: bytes) -> str:
    """Put with a signature, as an uploader does; its tag."""
    return str((await obstore.put_async(S3Store(bucket), key, data))["e_tag"]).strip('"')


async def fetched(place: str, told: IngestSettings = TOLD) -> bytes:
    return await ObjectSource(told).get(place)


async def refusal(place: str, told: IngestSettings = TOLD) -> tuple[RefusalReason, str]:
    with pytest.raises(Unprocessable) as refused:
        await fetched(place, told)
    return refused.value.reason, refused.value.detail


@asynccontextmanager
async def pipeline() -> AsyncIterator[MemoryLog]:
    encoder = EncoderSettings(engine=Engine.SCRIPTED)
    generator = GeneratorSettings(writer=WriterKind.SCRIPTED)
    async with embedded(ingest=TOLD, encoder=encoder, generator=generator) as log:
        yield log


@pytest.mark.parametrize(
    "key",
    ["boat.jpg", "2026/11/red boat.jpg", "a+b & c=d?.png", "Füße/日本.png", "100%25.jpg", "a#b.jpg", "~x|y"],
)
async def test_an_object_is_read_by_its_very_key(s3: S3Server, key: str) -> None:
    """The server finds the file of that name: nothing is decoded, and nothing encoded twice."""
    s3.lay("photos", key, key.encode())
    assert key.encode() == await fetched(f"s3://photos/{key}")


async def test_what_may_not_be_read_is_refused(s3: S3Server) -> None:
    """Absent, and in a bucket that opens to our credentials but not to publishers."""
    s3.lay("private", "boat.jpg", b"private")
    assert (RefusalReason.UNFETCHABLE, "no such object") == await refusal("s3://photos/absent.jpg")
    reason, detail = await refusal("s3://private/boat.jpg")
    assert (RefusalReason.FORBIDDEN_ADDRESS, False) == (reason, "private" in detail)


async def test_a_large_object_is_refused(s3: S3Server) -> None:
    """The limit itself is read, one byte more is not."""
    s3.lay("photos", "limit", bytes(200_000))
    s3.lay("photos", "large", bytes(200_001))
    assert 200_000 == len(await fetched("s3://photos/limit"))
    assert RefusalReason.TOO_LARGE == (await refusal("s3://photos/large"))[0]


@pytest.mark.parametrize("wrong", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
async def test_wrong_credentials_empty_no_topic(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """The server refuses the signature; that is our fault, so the event waits instead of being refused."""
    s3.lay("photos", "boat.jpg", b"boat")
    monkeypatch.setenv(wrong, "another")
    with pytest.raises(Unavailable):
        await fetched("s3://photos/boat.jpg")


async def test_a_server_that_is_away_is_waited_for(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there: for a picture as for a payload, the runtime waits and asks again."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable):
        await fetched("s3://photos/boat.jpg")
    with pytest.raises(Unavailable):
        await PayloadStore.open("s3://payloads/here").put(b"x" * 100, "text/plain", inline_limit=0)


async def test_another_picture_under_the_name_is_not_taken_for_the_first(s3: S3Server) -> None:
    """An event that names a writing of an object gets that one or none; the later one has its own event."""
    place = f"s3://photos/door.jpg?etag={await upload('photos', 'door.jpg', b'first')}"
    assert b"first" == await fetched(place)
    await upload("photos", "door.jpg", b"second")
    reason, detail = await refusal(place)
    assert (RefusalReason.UNFETCHABLE, True) == (reason, "written again" in detail)
    assert b"second" == await fetched("s3://photos/door.jpg")


async def test_an_event_by_key_gets_its_caption(s3: S3Server) -> None:
    """Uploaded with a signature, asked for by key, captioned; what is not there is refused and why is said."""
    await upload("photos", "up/plate.jpg", picture(41))
    events = [
        m.ImageSubmitted(id=name, image=ImageReference(object_key=f"s3://photos/up/{name}"))
        for name in ("plate.jpg", "none.jpg")
    ]
    async with pipeline() as log:
        answers = {answer.event.id: answer async for answer in ask(log, events, 30)}
    published, refused = answers["plate.jpg"], answers["none.jpg"]
    assert isinstance(published, m.CaptionPublished) and "000041" in published.text
    assert isinstance(refused, m.CaptionRefused)
    assert (RefusalReason.UNFETCHABLE, "no such object") == (refused.reason, refused.detail)


async def test_notifications_are_image_events(s3: S3Server) -> None:
    """Written by the server into the topic, twice as it happens: one caption. A removal is refused, its bytes kept."""
    data = picture(42)
    written = minio("in/red plate+1.jpg", eTag=await upload("photos", "in/red plate+1.jpg", data))
    removed = minio("in/old.jpg", "s3:ObjectRemoved:Delete")
    async with pipeline() as log:
        await log.publish([notice(body) for body in (written, removed, written)])
        answers = await first_of(log, 2)
        [letter] = [codec.decode(record) async for record in log.read(DEAD_LETTERS.name, follow=False)]
    published, refused = sorted(answers, key=lambda answer: type(answer).__name__)
    assert isinstance(published, m.CaptionPublished) and "000042" in published.text
    assert ("s3://photos", "in/red plate+1.jpg@14E11E32397D42C4") == (
        published.event.source,
        published.event.id,
    )
    assert hashlib.sha256(data).hexdigest() == published.image_digest
    assert isinstance(refused, m.CaptionRefused) and "ObjectRemoved" in refused.detail
    assert isinstance(letter, m.DeadLetter) and removed == json.loads(letter.value)


def notice(body: dict[str, object]) -> Outgoing:
    """As a server writes it: keyed by bucket and key, without headers."""
    return Outgoing(IMAGE_EVENTS.name, str(body["Key"]).encode(), json.dumps(body).encode())


async def first_of(log: MemoryLog, count: int) -> list[m.Message]:
    """The answers so far, once there are so many and a moment has passed in which another could have come."""
    async with asyncio.timeout(30):
        while len([record async for record in log.read(CAPTIONS.name, follow=False)]) < count:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    return [codec.decode(record) async for record in log.read(CAPTIONS.name, follow=False)]


async def test_payloads_travel_by_claim_check(s3: S3Server) -> None:
    """Put by one service, read by another; equal bytes are stored once; changed and lost ones are told apart."""
    store, reader = PayloadStore.open("s3://payloads/live"), PayloadStore.open("s3://payloads/live")
    data = bytes(range(256)) * 4096
    one, same = [await store.put(data, "image/jpeg") for _ in range(2)]
    assert (None, one.key) == (one.inline, same.key)
    assert data == await reader.get(one)
    other = await store.put(b"other", "text/plain", inline_limit=0)
    await upload("payloads", f"live/{other.key}", b"changed")
    with pytest.raises(Unprocessable, match="digest"):
        await reader.get(other)
    await obstore.delete_async(S3Store("payloads", prefix="live"), one.key or "")
    with pytest.raises(Unprocessable, match="gone"):
        await reader.get(one)


async def test_old_payloads_are_collected_and_nothing_else(s3: S3Server) -> None:
    """A payload goes when it is old enough; what is no payload stays, should the bucket serve for more."""
    store = PayloadStore.open("s3://payloads/old")
    kept = await store.put(b"payload", "text/plain", inline_limit=0)
    await upload("payloads", "old/holiday.jpg", b"not ours")
    assert 0 == await store.collect(timedelta(days=1))
    assert b"payload" == await store.get(kept)
    assert 1 == await store.collect(timedelta(seconds=-5))
    with pytest.raises(Unprocessable, match="gone"):
        await store.get(kept)
    assert (s3.folder / "payloads/old/holiday.jpg").exists()
