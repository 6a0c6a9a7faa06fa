"""ImagePrepared → ImageEncoded: what is seen of an image, looked at once however often it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from captionstream.contracts.evidence import EncoderFingerprint, ImageEvidence, VisualPrefix
from captionstream.contracts.messages import ImageEncoded, ImagePrepared, Message, Refused
from captionstream.contracts.values import Payload, PreparedImage, StageName
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.once import Got, Once
from captionstream.runtime.stage import Delivery, carry
from services.encoder.evidence import Looking, look, pixels_of, side_by_side
from services.encoder.small_picture import SmallPicture
from services.encoder.views import Pixels
from services.encoder.vision import Vision
from services.encoder.visual import Visual


class EncoderStage:
    """Evidence of every image; `visual` and `small` add what engines with eyes want to be shown."""

    name = StageName.ENCODER

    def __init__(
        self,
        vision: Vision,
        payloads: PayloadStore,
        once: Once[ImageEvidence],
        looking: Looking = Looking(),  # noqa: B008 -- frozen
        visual: Visual | None = None,
        small: SmallPicture | None = None,
    ) -> None:
        self._vision = vision
        self._payloads = payloads
        self._once = once
        self._looking = looking
        self._visual = visual
        self._small = small
        self._fetching: Once[Pixels] = Once("pixels", lambda pixels: pixels.nbytes, max_bytes=0)

    async def advance(self, message: Message, delivery: Delivery) -> AsyncIterator[Message]:
        if not isinstance(message, ImagePrepared):
            raise TypeError(f"the encoder does not take {type(message).__name__}")
        seen, visual, picture = await side_by_side(
            self._evidence(message.image), self._prefix(message), self._picture(message.image)
        )
        evidence = seen.value.model_copy(update={"cached": seen.shared})
        yield ImageEncoded(
            **carry(message, delivery), image=message.image, supplied=message.supplied,
            evidence=evidence, visual=visual, picture=picture,
        )  # fmt: skip

    def refuse(self, refused: Refused) -> tuple[Message, ...]:
        return (refused,)

    async def _evidence(self, image: PreparedImage) -> Got[ImageEvidence]:
        return await self._once.get(key(image, self._vision.fingerprint), partial(self._encode, image))

    async def _prefix(self, message: ImagePrepared) -> VisualPrefix | None:
        if self._visual is None:
            return None
        image = message.image
        return await self._visual.of(message.event, image, picture_key(image), partial(self._pixels, image))

    async def _picture(self, image: PreparedImage) -> Payload | None:
        if self._small is None:
            return None
        return await self._small.of(picture_key(image), partial(self._pixels, image))

    async def _encode(self, image: PreparedImage) -> ImageEvidence:
        return await look(await self._pixels(image), self._vision, self._payloads, self._looking)

    async def _pixels(self, image: PreparedImage) -> Pixels:
        """Fetched together by all who need them now, and kept by nobody: pixels are large."""
        return (await self._fetching.get(picture_key(image), partial(self._fetched, image))).value

    async def _fetched(self, image: PreparedImage) -> Pixels:
        return pixels_of(image, await self._payloads.get(image.pixels))


def picture_key(image: PreparedImage) -> str:
    """Files that differ in metadata alone share it; so do pictures of one colour, but not those of another shape."""
    return f"{image.pixels.sha256}:{image.width}x{image.height}"


def key(image: PreparedImage, fingerprint: EncoderFingerprint) -> str:
    """What evidence belongs to: prepared pixels and models."""
    return f"{picture_key(image)}:{fingerprint.digest}"
