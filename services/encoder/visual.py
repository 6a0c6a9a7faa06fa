"""The visual tokens of an image for the language half of a split model, looked at once for each model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from captionstream.contracts.evidence import VisualPrefix
from captionstream.contracts.messages import Event
from captionstream.contracts.values import ImageFacts
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.once import Once
from captionstream.telemetry import metrics
from services.encoder.seer import Seer
from services.encoder.views import Pixels
from triton_models.registry import SplitModel
from triton_models.vision_language.split import DoesNotFit
from triton_models.vision_language.visual_tokens import (
    MEDIA_TYPE,
    NotVisualTokens,
    Precision,
    VisualTokens,
    encode,
)

Fetch = Callable[[], Awaitable[Pixels]]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Visual:
    """What a seer says, as messages carry it. Tokens are kept by picture and model, whatever is asked about it."""

    seer: Seer
    payloads: PayloadStore
    once: Once[VisualPrefix | None]
    precision: Precision = "float16"

    async def of(self, event: Event, image: ImageFacts, picture: str, fetch: Fetch) -> VisualPrefix | None:
        """None when no model is named, or when the picture is of a shape that the model does not take.

        `picture` names the pixels that `fetch` gets. Raises what a seer raises otherwise.
        """
        given = self.seer.choose(event)
        if given is None:
            return None
        model = given.model
        metrics.SPLIT_EVENTS.labels(model.triton_name, given.alias).inc()
        seen = await self.once.get(f"{picture}:{model.digest}", lambda: self._seen(model, image, fetch))
        return seen.value

    async def _seen(self, model: SplitModel, image: ImageFacts, fetch: Fetch) -> VisualPrefix | None:
        try:
            tokens = await self.seer.see(model, await fetch())
        except DoesNotFit as strange:
            size = f"{image.width} x {image.height}"
            log.warning(
                "no visual tokens of this picture", model=model.triton_name, size=size, reason=str(strange)
            )
            return None
        data = await asyncio.to_thread(encoded, tokens, self.precision)
        payload = await self.payloads.put(data, MEDIA_TYPE)
        count, width = tokens.values.shape
        return VisualPrefix(model=model.reference, tokens=payload, count=count, width=width)


def encoded(tokens: VisualTokens, precision: Precision) -> bytes:
    """In that precision; in fp32 if a value is too large for fp16, which is rare and no fault of the picture."""
    try:
        return encode(tokens, precision)
    except NotVisualTokens:
        return encode(tokens, "float32")


def prefix_bytes(prefix: VisualPrefix | None) -> int:
    """What keeping it costs in memory; what went by claim check lies elsewhere."""
    return 0 if prefix is None else len(prefix.tokens.inline or b"")
