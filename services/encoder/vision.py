"""The seam to the vision models. Behind it: Triton, ONNX Runtime in this process, or a script."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import cv2
import numpy as np

from captionstream.contracts.evidence import EncoderFingerprint
from captionstream.runtime.errors import Unavailable
from services.encoder.views import DETECTOR_SIDE, SCREEN_SIDE, TAGGER_SIDE, Floats, Pixels

CLASSES = 1000
FEATURES = 1280
OBJECT_CLASSES = 80
PROBE_TEXT = "READY 42"


class RejectedByModel(Exception):
    """A model works and will not answer this request, however often it is asked."""


class ReadLine(NamedTuple):
    """One line of text. `quad` is [4, 2]: corners clockwise from the top left, in pixels of the picture."""

    text: str
    score: float
    quad: Floats


class Vision(Protocol):
    """Four models, asked about one image. A call raises Unavailable when its model gives no proper answer."""

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """Which models these are."""
        ...

    async def classify(self, views: Pixels) -> tuple[Floats, Floats]:
        """[N, 260, 260, 3] → unscaled ImageNet-1k logits [N, 1000] and pooled features [N, 1280]."""
        ...

    async def detect(self, image: Pixels) -> tuple[Floats, Floats]:
        """[416, 416, 3] → of A anchors, boxes [A, 4] in shares of the picture, scores [A, 80] as in COCO."""
        ...

    async def read(self, image: Pixels) -> list[ReadLine]:
        """[H, W, 3] → the lines of text in it, in reading order."""
        ...

    async def screen(self, image: Pixels) -> float:
        """[224, 224, 3] → 0 harmless to 1 sexually explicit."""
        ...

    async def probe(self) -> None:
        """One real inference of every model."""
        ...


def sound(engine: str, name: str, tensor: object, *shape: int | None) -> Floats:
    """`tensor`, if it is what `name` must be: that shape (None is any length but 0), float, all finite.

    A server with the wrong numpy turns ready and answers with empty tensors: that must not pass for
    "nothing seen".
    """
    if not isinstance(tensor, np.ndarray) or not fits(tensor.shape, shape):
        raise Unavailable(engine, f"{name} has shape {getattr(tensor, 'shape', None)}, expected {shape}")
    if not np.issubdtype(tensor.dtype, np.floating) or not np.isfinite(tensor).all():
        raise Unavailable(engine, f"{name} holds no finite numbers")
    return tensor.astype(np.float32, copy=False)


def fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        got == wanted if wanted is not None else got > 0 for got, wanted in zip(shape, expected, strict=True)
    )


async def ask_all(vision: Vision) -> None:
    """One real inference of every model; the reader gets a picture with text. Raises Unavailable."""
    await vision.classify(np.zeros((1, TAGGER_SIDE, TAGGER_SIDE, 3), np.uint8))
    await vision.detect(np.zeros((DETECTOR_SIDE, DETECTOR_SIDE, 3), np.uint8))
    await vision.screen(np.zeros((SCREEN_SIDE, SCREEN_SIDE, 3), np.uint8))
    if not await vision.read(written(PROBE_TEXT)):
        raise Unavailable("text_reader", "plain print was not read")


def written(text: str) -> Pixels:
    """[96, 320, 3] `text` in black on white."""
    picture = np.full((96, 320, 3), 255, np.uint8)
    cv2.putText(picture, text, (20, 62), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0, 0, 0), 3, cv2.LINE_AA)
    return picture
