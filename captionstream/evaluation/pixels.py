"""What can be told from the pixels themselves, measured apart from the encoder and with wide tolerance.

Colours are ranges of hue, saturation and value that overlap on purpose: a claim is contradicted only when
next to nothing on the picture has such a colour.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 160
RING = 8
ALIKE = 28  # how far a pixel may be from the commonest colour of the border and still be background
EMPTY = 6.0  # standard deviation below which nothing is to be seen

Channel = NDArray[np.float32]
Mask = NDArray[np.bool_]


def _hue(low: float, high: float) -> Callable[[Channel, Channel, Channel], Mask]:
    """A range of hues in degrees, over 0 if `low` is the larger one, of pixels with some colour."""

    def within(hue: Channel, saturation: Channel, value: Channel) -> Mask:
        inside = (hue >= low) & (hue <= high) if low <= high else (hue >= low) | (hue <= high)
        return np.asarray(inside & (saturation > 0.12) & (value > 0.1))

    return within


RANGES: Mapping[str, Callable[[Channel, Channel, Channel], Mask]] = {
    "red": _hue(325, 25), "orange": _hue(8, 52), "yellow": _hue(35, 75), "green": _hue(60, 175),
    "turquoise": _hue(150, 205), "blue": _hue(175, 268), "purple": _hue(235, 335), "pink": _hue(285, 20),
    "brown": _hue(0, 55),
    "black": lambda h, s, v: np.asarray(v < 0.32),
    "white": lambda h, s, v: np.asarray((v > 0.72) & (s < 0.3)),
    "grey": lambda h, s, v: np.asarray((s < 0.3) & (v > 0.15) & (v < 0.92)),
}  # fmt: skip
ALIASES = {
    "gray": "grey", "silver": "grey", "violet": "purple", "lilac": "purple", "magenta": "pink", "cyan": "turquoise",
    "teal": "turquoise", "navy": "blue", "crimson": "red", "scarlet": "red", "maroon": "red", "golden": "yellow",
    "gold": "yellow", "beige": "brown", "tan": "brown", "cream": "white", "ivory": "white", "olive": "green",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """One picture, small: [SIDE, SIDE, 3] RGB on white."""

    rgb: NDArray[np.uint8]

    @classmethod
    def of(cls, data: bytes) -> Look:
        """Raises OSError or ValueError for bytes that are no picture."""
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGBA")
            picture.thumbnail((4 * SIDE, 4 * SIDE))
            ground = Image.new("RGBA", picture.size, "white")
            ground.alpha_composite(picture)
            return cls(np.asarray(ground.convert("RGB").resize((SIDE, SIDE)), np.uint8))

    @cached_property
    def _hsv(self) -> tuple[Channel, Channel, Channel]:
        """Degrees, and saturation and value from 0 to 1."""
        hsv = np.asarray(Image.fromarray(self.rgb).convert("HSV"), np.float32)
        hue, saturation, value = (hsv[..., place] / np.float32(255) for place in range(3))
        return hue * np.float32(360), saturation, value

    def share(self, colour: str, within: Mask | None = None) -> float:
        """How much of the picture, or of a part of it, may be called so. 1 for names without a range."""
        found = RANGES.get(ALIASES.get(colour, colour))
        if found is None:
            return 1.0
        mask = found(*self._hsv)
        part = mask if within is None else mask[within]
        return float(part.mean()) if part.size else 0.0

    @cached_property
    def border(self) -> Mask:
        mask = np.ones((SIDE, SIDE), bool)
        mask[RING:-RING, RING:-RING] = False
        return mask

    @cached_property
    def top(self) -> Mask:
        mask = np.zeros((SIDE, SIDE), bool)
        mask[: SIDE // 3] = True
        return mask

    @cached_property
    def subject(self) -> Mask:
        """What is unlike the middle colour of the border; everything, where that is next to nothing."""
        ground = np.median(self.rgb[self.border], 0)
        mask = np.abs(self.rgb.astype(np.float32) - ground).max(-1) > ALIKE
        return np.asarray(mask if mask.mean() > 0.02 else np.ones_like(mask))

    @property
    def empty(self) -> bool:
        """One even area: nothing and nobody can be seen on it."""
        return bool(self.rgb.astype(np.float32).std((0, 1)).max() < EMPTY)

    @property
    def colourless(self) -> bool:
        """No part of it has much colour."""
        low, high = self.rgb.min(-1).astype(np.int16), self.rgb.max(-1).astype(np.int16)
        return bool(np.percentile(high - low, 95) < 40)
