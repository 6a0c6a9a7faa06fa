"""All that the models and the pixels say about one image, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy

from captionstream.contracts.evidence import Appearance, ImageEvidence, TextLine
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.values import Box, Payload, PreparedImage
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unprocessable
from services.encoder import views
from services.encoder.appearance import appearance
from services.encoder.detections import objects
from services.encoder.views import Floats, Pixels, Placement
from services.encoder.vision import ReadLine, Vision

Answer = TypeVar("Answer")
TENSORS = "application/vnd.safetensors"


@dataclass(frozen=True, slots=True)
class Looking:
    """How closely an image is looked at."""

    views: int = views.MOST_VIEWS
    reader_side: int = 1280  # pixels


@dataclass(frozen=True, slots=True)
class Inputs:
    """One image as every model wants it."""

    tagger: Pixels
    detector: Pixels
    placed: Placement
    reader: Pixels
    screen: Pixels
    appearance: Appearance


async def look(pixels: Pixels, vision: Vision, payloads: PayloadStore, looking: Looking) -> ImageEvidence:
    """The evidence of one image; the models are asked side by side. Raises Unavailable."""
    inputs = await asyncio.to_thread(prepared, pixels, looking)
    (logits, embedding), (boxes, scores), lines, content_score = await side_by_side(
        vision.classify(inputs.tagger),
        vision.detect(inputs.detector),
        vision.read(inputs.reader),
        vision.screen(inputs.screen),
    )
    return ImageEvidence(
        fingerprint=vision.fingerprint,
        tensors=await tensors(logits, embedding, payloads),
        detections=objects(boxes, scores, inputs.placed),
        lines=text_lines(lines, inputs.reader),
        content_score=min(1.0, max(0.0, content_score)),
        appearance=inputs.appearance,
    )


def prepared(pixels: Pixels, looking: Looking) -> Inputs:
    coarse = views.coarse(pixels)
    detector, placed = views.detector_view(coarse)
    return Inputs(
        tagger=views.tagger_views(coarse, looking.views),
        detector=detector,
        placed=placed,
        reader=views.reader_view(pixels, looking.reader_side),
        screen=views.screen_view(coarse),
        appearance=appearance(coarse),
    )


def pixels_of(image: PreparedImage, data: bytes) -> Pixels:
    """[height, width, 3] over `data`, without a copy."""
    if len(data) != image.height * image.width * 3:
        told = f"{image.width} x {image.height} pixels"
        raise Unprocessable(RefusalReason.INTERNAL, f"{len(data)} bytes are not {told}")
    return np.frombuffer(data, np.uint8).reshape(image.height, image.width, 3)


async def tensors(logits: Floats, embedding: Floats, payloads: PayloadStore) -> Payload:
    """`class_logits` fp16 [views, 1000] and `embedding` fp16 [1280], the mean over the views."""
    mean = embedding.mean(0)
    saved = safetensors.numpy.save(
        {"class_logits": logits.astype(np.float16), "embedding": mean.astype(np.float16)}
    )
    return await payloads.put(saved, TENSORS)


def text_lines(lines: list[ReadLine], seen: Pixels) -> tuple[TextLine, ...]:
    """The lines with upright boxes in shares of the picture that the reader saw."""
    size = np.array(seen.shape[1::-1], np.float32)
    return tuple(
        TextLine(text=line.text, score=round(min(1.0, line.score), 4), box=upright(line.quad / size))
        for line in lines
        if line.text.strip()
    )


def upright(quad: Floats) -> Box:
    """The smallest upright box around four corners, clipped to the image."""
    left, top = np.clip(quad.min(0), 0, 1).round(4).tolist()
    right, bottom = np.clip(quad.max(0), 0, 1).round(4).tolist()
    return Box(left=left, top=top, right=right, bottom=bottom)


async def side_by_side(*questions: Coroutine[Any, Any, Any]) -> list[Any]:
    """All answers. The first failure ends the others and is raised as it is, not as a group."""
    try:
        async with asyncio.TaskGroup() as together:
            asked = [together.create_task(question) for question in questions]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in asked]
