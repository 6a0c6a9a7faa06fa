"""Ingest, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable, Unprocessable
from captionstream.runtime.once import Once
from captionstream.runtime.service import Service
from services.ingest.decode import Decoder, DecoderPool
from services.ingest.decode_pipe import ChildLimits
from services.ingest.fetch import FetchByKind
from services.ingest.fetch_object import ObjectSource
from services.ingest.fetch_url import WebSource
from services.ingest.settings import IngestSettings
from services.ingest.stage import IngestStage, Prepared

ONE_PIXEL = bytes.fromhex(  # the smallest PNG: grey, 1 x 1
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)


@asynccontextmanager
async def open_ingest(
    payloads: PayloadStore, settings: IngestSettings | None = None
) -> AsyncIterator[Service]:
    """The ingest service, ready: its first decoder has decoded something."""
    told = settings or IngestSettings()
    async with aclosing(WebSource(told)) as web, aclosing(decoder_pool(told)) as pool:
        fetcher = FetchByKind(web, ObjectSource(told), told.max_bytes)
        await probe(pool)
        stage = IngestStage(fetcher, pool, payloads, once(told))
        yield Service(stage=stage, probe=partial(probe, pool))


def once(told: IngestSettings) -> Once[Prepared]:
    return Once(
        "decoding",
        lambda kept: kept.published_bytes,
        max_bytes=told.reuse_bytes,
        max_age_s=told.reuse_seconds,
    )


def decoder_pool(told: IngestSettings) -> DecoderPool:
    limits = ChildLimits(told.max_pixels, told.long_side, told.decoder_memory, told.decode_seconds)
    return DecoderPool(limits, children=told.decoders, images=told.decoder_images)


async def probe(decoder: Decoder) -> None:
    """Decode one pixel. Raises Unavailable if that does not work."""
    try:
        await decoder.decode(ONE_PIXEL)
    except Unprocessable as broken:
        raise Unavailable("image decoder", broken.detail) from None
