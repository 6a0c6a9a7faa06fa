"""ImagePrepared in, ImageEncoded out."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import safetensors.numpy

from captionstream.contracts import messages as m
from captionstream.contracts.messages import ImageEncoded, RefusalReason
from captionstream.contracts.values import StageName, SuppliedMetadata
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable, Unprocessable
from captionstream.runtime.once import Once
from services.encoder.evidence import Looking
from services.encoder.scripted import ScriptedVision, plate
from services.encoder.settings import EncoderSettings, Engine
from services.encoder.stage import EncoderStage
from services.encoder.vision import Vision
from services.encoder.wiring import open_encoder, published_bytes
from tests.unit.encoder.builders import DELIVERY, AwayThenBack, prepared, solid


def stage_with(vision: Vision, payloads: PayloadStore, looking: Looking = Looking()) -> EncoderStage:  # noqa: B008
    return EncoderStage(vision, payloads, Once("test", published_bytes), looking)


async def encoded(stage: EncoderStage, message: m.ImagePrepared) -> ImageEncoded:
    (produced,) = [produced async for produced in stage.advance(message, DELIVERY)]
    assert isinstance(produced, ImageEncoded)
    return produced


async def test_everything_of_the_request_is_carried_forward() -> None:
    """Event, image and supplied metadata are those that came in."""
    payloads = PayloadStore.open("memory")
    message = await prepared(plate(7), payloads)
    message = message.model_copy(update={"supplied": SuppliedMetadata(title="A plate")})
    answer = await encoded(stage_with(ScriptedVision(), payloads), message)
    assert (message.event, message.image, message.supplied) == (answer.event, answer.image, answer.supplied)
    assert (message.event_digest, message.accepted_at) == (answer.event_digest, answer.accepted_at)


async def test_the_evidence_is_of_the_pixels_that_were_named() -> None:
    """Twenty images at once, each with its own number, in shares of the image."""
    payloads = PayloadStore.open("memory")
    stage = stage_with(ScriptedVision(), payloads)
    sent = [await prepared(plate(number, (320, 240)), payloads, f"e-{number}") for number in range(20)]
    answers = await asyncio.gather(*(encoded(stage, message) for message in sent))
    read = [(answer.event.id, answer.evidence.lines[0].text) for answer in answers]
    assert [(f"e-{number}", f"ID {number:06d}") for number in range(20)] == read
    box = answers[0].evidence.lines[0].box
    assert (0.0, 0.0, 1.0, 1.0) == (box.left, box.top, box.right, box.bottom)


async def test_the_tensors_are_half_precision_and_small_enough_to_travel_inline() -> None:
    """Logits of every view, the embedding averaged over them."""
    payloads = PayloadStore.open("memory")
    message = await prepared(plate(7), payloads)
    stage = stage_with(ScriptedVision(), payloads, Looking(views=2))
    payload = (await encoded(stage, message)).evidence.tensors
    assert payload.inline is not None
    tensors = safetensors.numpy.load(payload.inline)
    assert {"class_logits": (2, 1000), "embedding": (1280,)} == {n: t.shape for n, t in tensors.items()}
    assert {np.dtype(np.float16)} == {tensor.dtype for tensor in tensors.values()}


async def test_a_hundred_copies_of_one_image_are_looked_at_once() -> None:
    """One answer says that it was seen, ninety-nine that it was known."""
    payloads, vision = PayloadStore.open("memory"), ScriptedVision(work_ms=5)
    stage = stage_with(vision, payloads)
    message = await prepared(plate(7), payloads)
    answers = await asyncio.gather(*(encoded(stage, message) for _ in range(100)))
    assert 1 == vision.images
    assert 99 == sum(answer.evidence.cached for answer in answers)


async def test_pictures_of_one_colour_and_different_shape_are_different_images() -> None:
    """Their bytes are equal."""
    payloads, vision = PayloadStore.open("memory"), ScriptedVision()
    stage = stage_with(vision, payloads)
    for size in ((40, 10), (10, 40)):
        await encoded(stage, await prepared(solid((9, 9, 9), *size), payloads))
    assert 2 == vision.images


async def test_an_engine_that_is_away_is_waited_for_and_not_remembered() -> None:
    """Unavailable as it is, not inside a group; the next attempt succeeds."""
    payloads = PayloadStore.open("memory")
    stage = stage_with(AwayThenBack(failures=1), payloads)
    message = await prepared(plate(7), payloads)
    with pytest.raises(Unavailable) as away:
        await encoded(stage, message)
    assert "triton" == away.value.engine
    assert "ID 000007" == (await encoded(stage, message)).evidence.lines[0].text


async def test_pixels_that_are_gone_are_a_refusal() -> None:
    """The payload outlived its retention."""
    elsewhere = PayloadStore.open("memory")
    message = await prepared(plate(7, (800, 600)), elsewhere)
    with pytest.raises(Unprocessable) as refused:
        await encoded(stage_with(ScriptedVision(), PayloadStore.open("memory")), message)
    assert RefusalReason.INTERNAL == refused.value.reason


async def test_pixels_of_another_size_are_a_refusal() -> None:
    """A header that does not fit its bytes is never looked at."""
    payloads = PayloadStore.open("memory")
    message = await prepared(plate(7), payloads)
    wrong = message.model_copy(update={"image": message.image.model_copy(update={"height": 191})})
    with pytest.raises(Unprocessable, match="256 x 191"):
        await encoded(stage_with(ScriptedVision(), payloads), wrong)


async def test_a_refusal_passes_unchanged() -> None:
    """The encoder has nothing to add."""
    payloads = PayloadStore.open("memory")
    message = await prepared(plate(7), payloads)
    refused = m.Refused(
        event=message.event, event_digest=message.event_digest, accepted_at=message.accepted_at,
        stage=StageName.INGEST, reason=RefusalReason.UNDECODABLE,
    )  # fmt: skip
    assert (refused,) == stage_with(ScriptedVision(), payloads).refuse(refused)


async def test_the_service_is_wired_from_settings() -> None:
    """The scripted engine answers the probe and encodes."""
    payloads = PayloadStore.open("memory")
    async with open_encoder(payloads, EncoderSettings(engine=Engine.SCRIPTED)) as service:
        await service.probe()
        assert StageName.ENCODER == service.stage.name
        (answer,) = [a async for a in service.stage.advance(await prepared(plate(3), payloads), DELIVERY)]
    assert isinstance(answer, ImageEncoded)
    assert "ID 000003" == answer.evidence.lines[0].text


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address of Triton has a short name that other parts use too."""
    monkeypatch.setenv("CAPTIONSTREAM_ENCODER_ENGINE", "onnx")
    monkeypatch.setenv("CAPTIONSTREAM_ENCODER_VIEWS", "1")
    monkeypatch.setenv("CAPTIONSTREAM_TRITON", "127.0.0.9:9")
    told = EncoderSettings()
    assert (Engine.ONNX, 1, "127.0.0.9:9") == (told.engine, told.looking.views, told.triton)
