"""The picture as each model wants it. Pure functions over uint8 RGB arrays, height x width x 3."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

TAGGER_SIDE = 260
DETECTOR_SIDE = 416
SCREEN_SIDE = 224
READER_LEAST = 640
MOST_VIEWS = 4


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in the square it was put into: shares of the square's side."""

    left: float
    top: float
    width: float
    height: float

    def back(self, boxes: Floats) -> Floats:
        """[N, 4] left, top, right, bottom in shares of the square → in shares of the picture, clipped."""
        corner = np.array([self.left, self.top] * 2, np.float32)
        extent = np.array([self.width, self.height] * 2, np.float32)
        return np.asarray(np.clip((boxes - corner) / extent, 0.0, 1.0), np.float32)


def resized(image: Pixels, width: int, height: int) -> Pixels:
    """The mean over the covered area when shrinking (no aliasing), cubic when growing."""
    shrinks = width * height < image.shape[0] * image.shape[1]
    kernel = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=kernel), np.uint8)


def coarse(image: Pixels) -> Pixels:
    """Halved while it stays larger than every model's square, the reader aside: means of means are means.

    Halving is ten times cheaper than reducing to an odd size, and four models share it.
    """
    while min(image.shape[:2]) >= 2 * DETECTOR_SIDE:
        image = resized(image, image.shape[1] // 2, image.shape[0] // 2)
    return image


def letterboxed(image: Pixels, side: int, fill: Pixels | int) -> tuple[Pixels, Placement]:
    """The whole picture, undistorted and centred in a square of `fill`."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - inner_width) // 2, (side - inner_height) // 2
    square = np.empty((side, side, 3), np.uint8)
    square[:] = fill
    square[top : top + inner_height, left : left + inner_width] = resized(image, inner_width, inner_height)
    return square, Placement(left / side, top / side, inner_width / side, inner_height / side)


def edge_colour(image: Pixels) -> Pixels:
    """The mean colour of the outermost pixels: the fill that adds the least."""
    edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return np.asarray(edges.mean(0).round(), np.uint8)


def tagger_views(image: Pixels, count: int = MOST_VIEWS) -> Pixels:
    """[count, 260, 260, 3]: letterboxed, squashed, then each mirrored. Never a crop: it loses the subject."""
    whole, _ = letterboxed(image, TAGGER_SIDE, edge_colour(image))
    squashed = resized(image, TAGGER_SIDE, TAGGER_SIDE)
    return np.stack([whole, squashed, whole[:, ::-1], squashed[:, ::-1]][:count])


def detector_view(image: Pixels) -> tuple[Pixels, Placement]:
    """[416, 416, 3], letterboxed on black."""
    return letterboxed(image, DETECTOR_SIDE, 0)


def screen_view(image: Pixels) -> Pixels:
    """[224, 224, 3], squashed: a screen that looks only at the middle can be got around."""
    return resized(image, SCREEN_SIDE, SCREEN_SIDE)


def reader_view(image: Pixels, longest: int) -> Pixels:
    """The picture with its longer side between READER_LEAST and `longest`.

    Small print in a small picture (a 384-pixel cut of a page) is only found when it is enlarged; enlarging
    more than that finds text in patterns where there is none.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    scale = min(longest, max(side, READER_LEAST)) / side
    if scale == 1:
        return image
    return resized(image, max(1, round(width * scale)), max(1, round(height * scale)))
