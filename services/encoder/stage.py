"""ImagePrepared → ImageEncoded: the evidence of an image, looked at once however often it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from captionstream.contracts.evidence import EncoderFingerprint, ImageEvidence
from captionstream.contracts.messages import ImageEncoded, ImagePrepared, Message, Refused
from captionstream.contracts.values import PreparedImage, StageName
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.once import Once
from captionstream.runtime.stage import Delivery, carry
from services.encoder.evidence import Looking, look, pixels_of
from services.encoder.vision import Vision


class EncoderStage:
    name = StageName.ENCODER

    def __init__(
        self,
        vision: Vision,
        payloads: PayloadStore,
        once: Once[ImageEvidence],
        looking: Looking = Looking(),  # noqa: B008 -- frozen
    ) -> None:
        self._vision = vision
        self._payloads = payloads
        self._once = once
        self._looking = looking

    async def advance(self, message: Message, delivery: Delivery) -> AsyncIterator[Message]:
        if not isinstance(message, ImagePrepared):
            raise TypeError(f"the encoder does not take {type(message).__name__}")
        image = message.image
        seen = await self._once.get(key(image, self._vision.fingerprint), partial(self._encode, image))
        evidence = seen.value.model_copy(update={"cached": seen.shared})
        yield ImageEncoded(
            **carry(message, delivery), image=image, supplied=message.supplied, evidence=evidence
        )

    def refuse(self, refused: Refused) -> tuple[Message, ...]:
        return (refused,)

    async def _encode(self, image: PreparedImage) -> ImageEvidence:
        pixels = pixels_of(image, await self._payloads.get(image.pixels))
        return await look(pixels, self._vision, self._payloads, self._looking)


def key(image: PreparedImage, fingerprint: EncoderFingerprint) -> str:
    """What evidence belongs to: prepared pixels and models. Files that differ in metadata alone share it."""
    return f"{image.pixels.sha256}:{image.width}x{image.height}:{fingerprint.digest}"
