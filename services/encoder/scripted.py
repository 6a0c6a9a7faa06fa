"""A vision engine without models, for runs that test the way and not the seeing.

It reads a number plate out of the pixels that it is given, so that an answer that belongs to another image is
noticed. A plate shows the 32 bits of a number as 8 x 4 black or white cells in a mid-grey margin one cell
wide.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import cv2
import numpy as np

from captionstream.contracts.evidence import EncoderFingerprint
from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Event
from captionstream.contracts.values import ModelReference
from services.encoder.seer import Given, chosen, named
from services.encoder.views import Floats, Pixels
from services.encoder.vision import CLASSES, FEATURES, OBJECT_CLASSES, ReadLine
from triton_models.registry import Registry, SplitModel
from triton_models.vision_language.visual_tokens import VisualTokens

COLUMNS, ROWS = 8, 4
BITS = COLUMNS * ROWS
GREY = 128
TOLERANCE = 40  # levels by which JPEG and resizing may move a cell
LOW_LOGIT = 0.1
NAME, VERSION = "scripted-vision", "1"


def plate(number: int, size: tuple[int, int] = (256, 192)) -> Pixels:
    """[height, width, 3] for `size` (width, height): `number` (0 to 2**32 - 1), its highest bit top left."""
    if not 0 <= number < 1 << BITS:
        raise ValueError(f"a plate holds 32 bits, not {number}")
    bits = np.array([number >> place & 1 for place in reversed(range(BITS))], np.uint8)
    cells = np.full((ROWS + 2, COLUMNS + 2), GREY, np.uint8)
    cells[1:-1, 1:-1] = bits.reshape(ROWS, COLUMNS) * 255
    drawn = cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)
    return np.repeat(np.asarray(drawn, np.uint8)[..., None], 3, axis=2)


def plate_image(number: int) -> bytes:
    """The plate as a PNG file, for an event to carry."""
    _, data = cv2.imencode(".png", plate(number))
    return data.tobytes()


def read_plate(pixels: Pixels) -> int | None:
    """The number on a plate that fills the picture, or None when it shows anything else."""
    cells = cell_means(pixels)
    margin = np.ones(cells.shape, bool)
    margin[1:-1, 1:-1] = False
    inside = cells[1:-1, 1:-1]
    doubtful = np.minimum(inside, 255 - inside) > TOLERANCE
    if (np.abs(cells[margin] - GREY) > TOLERANCE).any() or doubtful.any():
        return None
    return sum(int(bit) << place for place, bit in enumerate(reversed((inside > GREY).ravel().tolist())))


def cell_means(pixels: Pixels) -> Floats:
    """[ROWS + 2, COLUMNS + 2] mean grey of the middle half of every cell: its edges may be blurred."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    quarters = cv2.resize(grey, (4 * (COLUMNS + 2), 4 * (ROWS + 2)), interpolation=cv2.INTER_AREA)
    parts = np.asarray(quarters, np.float32).reshape(ROWS + 2, 4, COLUMNS + 2, 4)
    return np.asarray(parts[:, 1:3, :, 1:3].mean((1, 3)), np.float32)


class ScriptedVision:
    """Recognises nothing, reads plates, takes `work_ms` for each image."""

    def __init__(self, work_ms: float = 0.0) -> None:
        self._work_s = work_ms / 1000
        self.images = 0
        """How many images it was asked to read."""

    @property
    def fingerprint(self) -> EncoderFingerprint:
        digest = sha256_hex(f"{NAME} {VERSION}".encode())
        return EncoderFingerprint(
            digest=digest, models=(ModelReference(name=NAME, version=VERSION, digest=digest),)
        )

    async def classify(self, views: Pixels) -> tuple[Floats, Floats]:
        await asyncio.sleep(self._work_s)
        count = len(views)
        return np.full((count, CLASSES), LOW_LOGIT, np.float32), np.zeros((count, FEATURES), np.float32)

    async def detect(self, image: Pixels) -> tuple[Floats, Floats]:
        return np.zeros((1, 4), np.float32), np.zeros((1, OBJECT_CLASSES), np.float32)

    async def read(self, image: Pixels) -> list[ReadLine]:
        self.images += 1
        number = read_plate(image)
        if number is None:
            return []
        height, width = image.shape[:2]
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        return [ReadLine(f"ID {number:06d}", 0.99, corners)]

    async def screen(self, image: Pixels) -> float:
        return 0.0

    async def probe(self) -> None:
        return None


@dataclass
class ScriptedSeer:
    """Chooses as the real ones do. A picture's tokens are the 32 bits of its plate, highest first, else all twos."""

    registry: Registry
    work_ms: float = 0.0
    looks: list[str] = field(default_factory=list)
    """Digests of the models that looked, in order."""

    def choose(self, event: Event) -> Given | None:
        return chosen(self.registry, event)

    async def see(self, model: SplitModel, pixels: Pixels) -> VisualTokens:
        self.looks.append(model.digest)
        await asyncio.sleep(self.work_ms / 1000)
        number = read_plate(pixels)
        bits = [2] * BITS if number is None else [number >> place & 1 for place in reversed(range(BITS))]
        width = model.halves.split.width
        return VisualTokens(np.repeat(np.array(bits, np.float32)[:, None], width, axis=1))

    async def probe(self) -> None:
        named(self.registry)
