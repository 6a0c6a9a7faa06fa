"""A small JPEG of an image, for engines that are shown pixels."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import cv2

from captionstream.contracts.values import Payload
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.once import Once
from services.encoder.views import Pixels, resized
from services.encoder.visual import Fetch

QUALITY = 90
MEDIA_TYPE = "image/jpeg"


@dataclass(frozen=True, slots=True)
class SmallPicture:
    """`side` is the longest that a side may be, in pixels."""

    side: int
    payloads: PayloadStore
    once: Once[Payload]

    async def of(self, picture: str, fetch: Fetch) -> Payload:
        """`picture` names the pixels that `fetch` gets. Raises Unavailable."""
        return (await self.once.get(picture, lambda: self._made(fetch))).value

    async def _made(self, fetch: Fetch) -> Payload:
        data = await asyncio.to_thread(jpeg, await fetch(), self.side)
        return await self.payloads.put(data, MEDIA_TYPE)


def jpeg(pixels: Pixels, side: int) -> bytes:
    """The longer side at most `side`; a picture that is smaller keeps its size."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        pixels = resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    blue_first = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()


def payload_bytes(payload: Payload) -> int:
    """What keeping it costs in memory."""
    return len(payload.inline or b"")
