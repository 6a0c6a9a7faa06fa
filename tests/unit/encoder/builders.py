"""Prepared images and a vision engine that tells what was asked of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import numpy as np

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Event, ImagePrepared
from captionstream.contracts.values import PreparedImage
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from captionstream.runtime.stage import Delivery
from services.encoder.scripted import ScriptedVision
from services.encoder.views import Floats, Pixels

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DELIVERY = Delivery(NOW, "0" * 64)


async def prepared(pixels: Pixels, payloads: PayloadStore, name: str = "e-1") -> ImagePrepared:
    """The message that ingest would send for these pixels."""
    height, width = pixels.shape[:2]
    data = pixels.tobytes()
    image = PreparedImage(
        digest=sha256_hex(b"original" + data), media_type="image/png", original_width=width,
        original_height=height, width=width, height=height,
        pixels=await payloads.put(data, "application/octet-stream"),
    )  # fmt: skip
    return ImagePrepared(event=Event(id=name), event_digest="0" * 64, accepted_at=NOW, image=image)


class AwayThenBack(ScriptedVision):
    """Fails the first `failures` times."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self._failures = failures

    async def classify(self, views: Pixels) -> tuple[Floats, Floats]:
        await asyncio.sleep(0)
        self._failures -= 1
        if self._failures >= 0:
            raise Unavailable("triton", "not there")
        return await super().classify(views)


def solid(colour: tuple[int, int, int], width: int = 120, height: int = 90) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)
