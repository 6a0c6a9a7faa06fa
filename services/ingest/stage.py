"""ingest: from a reference to one prepared image. The same bytes are decoded once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import ImagePrepared, ImageSubmitted, Message, Refused
from captionstream.contracts.values import Payload, PreparedImage, StageName, SuppliedMetadata
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unprocessable
from captionstream.runtime.once import Once
from captionstream.runtime.stage import Delivery, carry
from services.ingest.decode import Decoded, Decoder
from services.ingest.fetch import Fetcher

RAW_RGB = "application/x-raw-rgb"


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that comes of an original's bytes."""

    image: PreparedImage
    supplied: SuppliedMetadata

    @property
    def published_bytes(self) -> int:
        return len(self.image.model_dump_json()) + len(self.supplied.model_dump_json())


class IngestStage:
    """Fetch, digest, decode, store. The digest is of the original bytes, before anything touches them."""

    name = StageName.INGEST

    def __init__(
        self, fetcher: Fetcher, decoder: Decoder, payloads: PayloadStore, once: Once[Prepared]
    ) -> None:
        self._fetcher = fetcher
        self._decoder = decoder
        self._payloads = payloads
        self._once = once

    async def advance(self, message: Message, delivery: Delivery) -> AsyncIterator[Message]:
        """One ImagePrepared. Raises Unprocessable and Unavailable, as the fetcher, decoder and store do."""
        if not isinstance(message, ImageSubmitted):
            raise TypeError(f"ingest does not read {type(message).__name__}")
        original = await self._fetcher.fetch(message.image)
        digest = sha256_hex(original)
        found = (await self._once.get(digest, partial(self._prepared, original, digest))).value
        yield ImagePrepared(**carry(message, delivery), image=found.image, supplied=found.supplied)

    async def _prepared(self, original: bytes, digest: str) -> Prepared:
        decoded = await self._decoded(original, digest)
        pixels = await self._payloads.put(decoded.pixels, RAW_RGB)
        return Prepared(prepared(digest, decoded, pixels), decoded.supplied)

    async def _decoded(self, original: bytes, digest: str) -> Decoded:
        try:
            return await self._decoder.decode(original)
        except Unprocessable as refused:
            refused.image_digest = digest
            raise

    def refuse(self, refused: Refused) -> tuple[Message, ...]:
        return (refused,)


def prepared(digest: str, decoded: Decoded, pixels: Payload) -> PreparedImage:
    return PreparedImage(
        digest=digest,
        media_type=decoded.media_type,
        original_width=decoded.original_width,
        original_height=decoded.original_height,
        width=decoded.width,
        height=decoded.height,
        pixels=pixels,
        notes=decoded.notes,
    )
