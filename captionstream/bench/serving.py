"""The bench's model as two services on the platform's own runtime: `python -m captionstream.bench.serving encoder`.

Ingest and safety are the platform's; the eye and the words are the bench's model, so that both sides of a comparison
with another program have the same weights. Everything else (log, payloads, order, probes) is what serves.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from captionstream.bench import model
from captionstream.bench.making import LANGUAGE_WIDTH
from captionstream.bench.naive import WRITTEN
from captionstream.contracts.evidence import Appearance, EncoderFingerprint, ImageEvidence, VisualPrefix
from captionstream.contracts.messages import (
    CaptionDrafted,
    Draft,
    DraftDelta,
    ImageEncoded,
    ImagePrepared,
    Message,
    Provenance,
    Refused,
)
from captionstream.contracts.scene import Scene
from captionstream.contracts.values import ModelReference, StageName
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.service import Service
from captionstream.runtime.stage import Delivery, carry
from captionstream.serve import OpenService, serve
from services.encoder.evidence import pixels_of
from services.generator.pacing import Pace
from services.generator.prefix.engine import Decoding, PrefixEngine
from triton_models.vision_language import visual_tokens
from triton_models.vision_language.visual_tokens import VisualTokens

DIGEST = "0" * 64
REFERENCE = ModelReference(name="bench", version="1", digest=DIGEST)
FINGERPRINT = EncoderFingerprint(digest=DIGEST, models=(REFERENCE,))
FOLDER, RECIPE, WORK, EIGHT_BITS = (
    f"CAPTIONSTREAM_BENCH_{name}" for name in ("MODEL", "RECIPE", "WORK", "EIGHT_BITS")
)


@dataclass(frozen=True)
class Looking:
    """ImagePrepared → ImageEncoded with visual tokens, each picture in one thread of a pool of one."""

    eye: model.Eye
    payloads: PayloadStore
    pool: ThreadPoolExecutor
    name: StageName = StageName.ENCODER

    async def advance(self, message: Message, delivery: Delivery) -> AsyncIterator[Message]:
        assert isinstance(message, ImagePrepared)
        image = message.image
        pixels = pixels_of(image, await self.payloads.get(image.pixels))
        seen = await asyncio.get_running_loop().run_in_executor(self.pool, self.eye.look, pixels)
        tokens = await self.payloads.put(
            visual_tokens.encode(VisualTokens(seen)), visual_tokens.MEDIA_TYPE, inline_limit=256 * 1024
        )
        yield ImageEncoded(
            **carry(message, delivery), image=image, supplied=message.supplied,
            evidence=await nothing_seen(self.payloads),
            visual=VisualPrefix(model=REFERENCE, tokens=tokens, count=seen.shape[0], width=seen.shape[1]),
        )  # fmt: skip

    def refuse(self, refused: Refused) -> tuple[Message, ...]:
        return (refused,)


async def nothing_seen(payloads: PayloadStore) -> ImageEvidence:
    empty = safetensors.numpy.save({"class_logits": np.zeros((1, 1), np.float16)})
    return ImageEvidence(
        fingerprint=FINGERPRINT, tensors=await payloads.put(empty, "application/vnd.safetensors"),
        content_score=0.0, appearance=Appearance(),
    )  # fmt: skip


@dataclass(frozen=True)
class Writing:
    """ImageEncoded → its text so far at the generator's pace, and CaptionDrafted."""

    engine: PrefixEngine
    payloads: PayloadStore
    name: StageName = StageName.GENERATOR

    async def advance(self, message: Message, delivery: Delivery) -> AsyncIterator[Message]:
        assert isinstance(message, ImageEncoded) and message.visual is not None
        seen = visual_tokens.decode(await self.payloads.get(message.visual.tokens), LANGUAGE_WIDTH)
        pace, text, sequence = Pace(), "", 0
        async for token in self.engine.write(
            model.asked(self.engine, np.asarray(seen.values, np.float32)), Decoding(WRITTEN)
        ):
            text += token.text
            if words := pace.due(text.lstrip()):
                yield DraftDelta(
                    **carry(message, delivery), attempt=delivery.attempt, sequence=sequence, text=words
                )
                sequence += 1
        yield CaptionDrafted(
            **carry(message, delivery), image=message.image, supplied=message.supplied, scene=Scene(),
            candidates=(Draft(text=text.strip() or "An image.", writer="bench", confidence=0.9),),
            attempt=delivery.attempt, provenance=Provenance(pipeline_version="bench"),
        )  # fmt: skip

    def refuse(self, refused: Refused) -> tuple[Message, ...]:
        return (refused,)


@asynccontextmanager
async def open_looking(payloads: PayloadStore) -> AsyncIterator[Service]:
    eye = model.Eye(Path(os.environ[FOLDER]), os.environ.get(EIGHT_BITS) == "1")
    with ThreadPoolExecutor(1) as pool:
        yield Service(Looking(eye, payloads, pool), nothing_to_probe, at_once=2)


@asynccontextmanager
async def open_writing(payloads: PayloadStore) -> AsyncIterator[Service]:
    engine = await model.open_words(
        Path(os.environ[FOLDER]), os.environ[RECIPE], Path(os.environ[WORK], str(os.getpid()))
    )
    try:
        yield Service(Writing(engine, payloads), nothing_to_probe, at_once=model.SLOTS)
    finally:
        await engine.close()


async def nothing_to_probe() -> None:
    """It was loaded; a failure of it ends the process."""


OPEN: dict[str, OpenService] = {"encoder": open_looking, "generator": open_writing}


def main() -> None:
    name = sys.argv[1]
    serve(name, OPEN[name])


if __name__ == "__main__":
    main()
