"""The stage as a whole: an event in, one prepared image out, or a refusal."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from PIL import Image

from captionstream.contracts import codec
from captionstream.contracts.messages import (
    DeadLetter,
    ImageEncoded,
    ImagePrepared,
    ImageSubmitted,
    Message,
    RefusalReason,
    Refused,
)
from captionstream.contracts.record import Record
from captionstream.contracts.values import ImageReference, StageName, SuppliedMetadata
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.advance import Advance
from captionstream.runtime.errors import Unavailable, Unprocessable
from captionstream.runtime.service import Service
from captionstream.runtime.stage import Delivery
from captionstream.telemetry import metrics
from services.ingest.decode import Decoded
from services.ingest.settings import IngestSettings
from services.ingest.wiring import open_ingest, probe
from tests.unit.ingest.images import RED, encoded, png, quarters
from tests.unit.ingest.test_metadata import FULL, with_xmp, xmp
from tests.unit.ingest.web_server import reply, web_server

APPENDED = datetime(2026, 5, 1, 10, 11, 12, tzinfo=UTC)
DELIVERY = Delivery(APPENDED, "e" * 64)


@pytest.fixture
def payloads() -> PayloadStore:
    return PayloadStore.open("memory")


@pytest.fixture
async def service(payloads: PayloadStore) -> AsyncIterator[Service]:
    async with open_ingest(payloads, IngestSettings(decoders=1, long_side=1024)) as opened:
        yield opened


def event(data: bytes, **fields: object) -> ImageSubmitted:
    return ImageSubmitted.model_validate({"id": "photo-1", "image": ImageReference(inline=data), **fields})


async def prepared(service: Service, message: ImageSubmitted) -> ImagePrepared:
    (only,) = [produced async for produced in service.stage.advance(message, DELIVERY)]
    assert isinstance(only, ImagePrepared)
    return only


async def test_an_event_becomes_one_prepared_image(service: Service, payloads: PayloadStore) -> None:
    """Its digest is that of the original bytes; its pixels are in the store; its request rides along."""
    data = encoded(quarters(size=(600, 400)))
    message = event(data, stream_key="camera-1", deadline_s=5.0)
    made = await prepared(service, message)
    assert hashlib.sha256(data).hexdigest() == made.image.digest
    assert (made.image.width, made.image.height, made.image.media_type) == (600, 400, "image/png")
    assert made.image.pixels.media_type == "application/x-raw-rgb"
    assert await payloads.get(made.image.pixels) == quarters(size=(600, 400)).tobytes()
    assert made.image.pixels.inline is None, "large payloads travel by claim check"
    assert (message.event, "e" * 64, APPENDED) == (made.event, made.event_digest, made.accepted_at)


async def test_a_repeat_is_equal(service: Service) -> None:
    """The same event twice gives the same message, so a redelivery changes nothing."""
    message = event(encoded(quarters(), "JPEG"))
    assert await prepared(service, message) == await prepared(service, message)


async def test_the_same_bytes_are_decoded_once(service: Service) -> None:
    """A hundred copies at once and one later cost one decoding; their events stay apart."""
    data = encoded(quarters(size=(37, 23)))

    def decodings() -> float:
        return float(metrics.REUSE.labels("decoding", "miss")._value.get())

    before = decodings()
    messages = [event(data).model_copy(update={"id": f"photo-{number}"}) for number in range(100)]
    made = await asyncio.gather(*(prepared(service, message) for message in messages))
    late = await prepared(service, messages[0])
    assert 1 == decodings() - before
    assert 1 == len({one.image.pixels.sha256 for one in (*made, late)})
    assert [message.id for message in messages] == [one.event.id for one in made]


async def test_what_people_wrote_is_kept_apart(service: Service) -> None:
    """Supplied words are in `supplied` only: the picture is the same with and without them."""
    plain, tagged = encoded(Image.new("RGB", (16, 16), RED), "JPEG"), with_xmp(xmp(FULL))
    without, made = await prepared(service, event(plain)), await prepared(service, event(tagged))
    assert made.supplied.people == ("Ada Example", "Bo Example")
    assert made.supplied.alt_text == "A red boat"
    assert without.supplied == SuppliedMetadata()
    assert made.image.pixels == without.image.pixels
    assert made.image.digest != without.image.digest


async def test_an_image_from_the_web(payloads: PayloadStore) -> None:
    """From a URL on an allowed address to a prepared image."""
    data = encoded(quarters(), "WEBP", lossless=True)
    async with web_server(("127.0.0.2",)) as server:
        server.answers["/boat.webp"] = reply(data)
        told = IngestSettings(decoders=1, allow_addresses=("127.0.0.2/32",), ports=(server.port,))
        async with open_ingest(payloads, told) as service:
            message = ImageSubmitted(id="1", image=ImageReference(url=server.url("/boat.webp")))
            assert (await prepared(service, message)).image.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", RefusalReason.UNDECODABLE),
        (b"<html>not found</html>", RefusalReason.UNDECODABLE),
        (encoded(quarters(), "JPEG")[:200], RefusalReason.UNDECODABLE),
        (png(40_000, 40_000, 8, 2, b""), RefusalReason.TOO_LARGE),
    ],
)
async def test_what_is_no_image_is_refused_with_a_reason(
    service: Service, data: bytes, reason: RefusalReason
) -> None:
    """Through the runtime: a typed refusal and a dead letter, and the next event goes on."""
    advance = Advance(service.stage)
    refused, letter = [decoded(out) async for out in advance(record(event(data)))]
    assert isinstance(refused, Refused) and isinstance(letter, DeadLetter)
    assert (StageName.INGEST, reason, reason) == (refused.stage, refused.reason, letter.reason)
    assert hashlib.sha256(data).hexdigest() == refused.image_digest
    assert letter.traceback is None, "a bad image is no defect of ours"
    (good,) = [decoded(out) async for out in advance(record(event(encoded(quarters()))))]
    assert isinstance(good, ImagePrepared)


def record(message: ImageSubmitted) -> Record:
    value = message.model_dump_json(exclude_none=True).encode()
    return Record("image-events", 0, 0, message.key, value, (), APPENDED)


def decoded(out: object) -> Message:
    topic, value, headers, key = (getattr(out, name) for name in ("topic", "value", "headers", "key"))
    return codec.decode(Record(topic, 0, 0, key, value, headers, APPENDED))


async def test_a_refusal_rides_along_untouched(service: Service) -> None:
    """Ingest adds nothing to a refusal."""
    refused = Refused(
        event=event(b"x").event, event_digest="e" * 64, accepted_at=APPENDED, stage=StageName.INGEST,
        reason=RefusalReason.UNDECODABLE,
    )  # fmt: skip
    assert (refused,) == service.stage.refuse(refused)


async def test_only_image_events_are_read(service: Service) -> None:
    """A message of a later stage here is a defect, and says so."""
    later = ImageEncoded.model_construct()
    with pytest.raises(TypeError, match="ImageEncoded"):
        [produced async for produced in service.stage.advance(later, DELIVERY)]


async def test_the_probe_decodes_something(service: Service) -> None:
    """Readiness is one real piece of work."""
    await service.probe()


async def test_the_probe_fails_when_nothing_can_be_decoded() -> None:
    """A decoder that refuses the simplest image is not ready."""

    class Broken:
        async def decode(self, data: bytes) -> Decoded:
            raise Unprocessable(RefusalReason.UNDECODABLE, "everything is broken")

    with pytest.raises(Unavailable, match="everything is broken"):
        await probe(Broken())


async def test_a_service_whose_decoder_does_not_answer_is_not_opened(payloads: PayloadStore) -> None:
    """Too little time even for one pixel: known at the start, not at the first event."""
    with pytest.raises(Unavailable, match="image decoder"):
        async with open_ingest(payloads, IngestSettings(decoders=1, decode_seconds=1e-6)):
            pass
