"""The engine in this process, with the models of the repository, on real photographs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from captionstream.payloads.store import PayloadStore
from services.encoder.settings import EncoderSettings, Engine
from services.encoder.vision import Vision
from services.encoder.wiring import open_encoder, open_onnx
from tests.unit.encoder import photographs
from tests.unit.encoder.builders import DELIVERY, prepared
from tests.unit.encoder.vision_behaviour import VisionBehaviour

TOLD = EncoderSettings(engine=Engine.ONNX)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vision() -> AsyncIterator[Vision]:
    async with open_onnx(TOLD) as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
class TestOnnxVision(VisionBehaviour):
    pass


async def test_the_first_image_need_not_wait_for_a_probe() -> None:
    """A service that was just opened answers while its models load, and closes."""
    payloads = PayloadStore.open("memory")
    async with open_encoder(payloads, TOLD) as service:
        message = await prepared(photographs.chelsea(), payloads)
        (answer,) = [produced async for produced in service.stage.advance(message, DELIVERY)]
    assert "cat" in answer.model_dump_json()
