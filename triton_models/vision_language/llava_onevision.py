"""LLaVA-OneVision: the picture as one tile and again in many, laid out as lines with a newline after each.

The tower answers with `patches` tokens for each tile. Which of them are read, in which order and with which newlines
(the border that only filled a tile up is left out; too many become fewer by linear interpolation) follows from the
picture's size alone. It is worked out here as numbers: visual token i is the weighted sum of the tower's tokens
`sources[i]`; the newline is one more, after all others. So the graph needs one gather and no case distinction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL.Image import Image
from PIL.Image import new as new_picture

from triton_models.vision_language.split import (
    Array,
    DoesNotFit,
    Integers,
    Laid,
    SplitFacts,
    Tensor,
    cut,
    shared_facts,
    stacked,
    tiles,
)
from triton_models.vision_language.visual_tokens import Grid

MODEL_TYPES = frozenset({"llava_onevision"})
Floats = npt.NDArray[np.float32]
FEWER_FROM = 1.1
"""How much longer than allowed a side may be before tokens are made fewer."""


class LlavaOnevisionSplit(SplitFacts):
    """A tile is `side` pixels and `patches` tokens a side. `most_tiles` is how many tiles' tokens are kept."""

    kind: Literal["llava_onevision"] = "llava_onevision"
    side: int
    patches: int
    most_tiles: int
    resolutions: tuple[tuple[int, int], ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (
            Tensor("images", "uint8", ("tiles", self.side, self.side, 3)),
            Tensor("sources", "int64", ("tokens", "parts")),
            Tensor("weights", "float32", ("tokens", "parts")),
        )

    def prepare(self, picture: Image) -> dict[str, Array]:
        height, width = picture.height, picture.width
        tall, wide = self.resolution(height, width)
        inner = self.resized(picture, *_inside(height, width, tall, wide))
        canvas = new_picture("RGB", (wide, tall))
        canvas.paste(inner, ((wide - inner.width) // 2, (tall - inner.height) // 2))
        whole = self.resized(picture, self.side, self.side)
        return {
            "pixel_values": stacked([whole, *cut(canvas, self.side)]),
            "image_sizes": np.array([[height, width]]),
        }

    def lay(self, prepared: Mapping[str, Array]) -> Laid:
        height, width = (int(length) for length in np.asarray(prepared["image_sizes"]).reshape(2))
        rows, columns = (length // self.side for length in self.resolution(height, width))
        images = tiles(prepared["pixel_values"], self.side)
        if len(images) != rows * columns + 1:
            raise DoesNotFit(f"{len(images)} tiles for {rows} x {columns}")
        sources, weights = self.reading_order(height, width)
        return Laid({"images": images, "sources": sources, "weights": weights}, ())

    def placeholder(self, count: int, grid: Grid) -> str:
        return self.image_token * count

    def resolution(self, height: int, width: int) -> tuple[int, int]:
        """Of all allowed ones that which keeps most of the picture, and of those the one with least border."""

        def merit(allowed: tuple[int, int]) -> tuple[int, int]:
            factor = min(allowed[1] / width, allowed[0] / height)
            kept = min(int(width * factor) * int(height * factor), width * height)
            return kept, kept - allowed[0] * allowed[1]

        return max(self.resolutions, key=merit)

    def reading_order(self, height: int, width: int) -> tuple[Integers, Floats]:
        """`sources` and `weights` [n, 1] or [n, 4] for a picture of that many pixels."""
        rows, columns = (length // self.side for length in self.resolution(height, width))
        sources, weights = self._fewer(self._without_border(self._in_place(rows, columns), height, width))
        parts = sources.shape[2]
        newline = (rows * columns + 1) * self.patches**2
        ends, end_weights = _alone(np.full((len(sources), 1), newline), parts)
        whole, whole_weights = _alone(np.arange(self.patches**2), parts)
        lines = np.concatenate([sources, ends], 1).reshape(-1, parts)
        line_weights = np.concatenate([weights, end_weights], 1).reshape(-1, parts)
        return np.concatenate([whole, lines]), np.concatenate([whole_weights, line_weights])

    def _in_place(self, rows: int, columns: int) -> Integers:
        """[rows * patches, columns * patches] the tower's token at each place; those of the first tile come before."""
        order = np.arange(rows * columns * self.patches**2).reshape(rows, columns, self.patches, self.patches)
        return order.transpose(0, 2, 1, 3).reshape(rows * self.patches, -1) + self.patches**2

    def _without_border(self, lines: Integers, height: int, width: int) -> Integers:
        tall, wide = lines.shape
        if width / height > wide / tall:
            border = (tall - int(round(height * (wide / width), 7))) // 2
            return lines[border : tall - border]
        border = (wide - int(round(width * (tall / height), 7))) // 2
        return lines[:, border : wide - border]

    def _fewer(self, lines: Integers) -> tuple[Integers, Floats]:
        """[h, w, k] tokens and their weights: one of each, or four where the lines hold too many."""
        tall, wide = lines.shape
        ratio = math.sqrt(tall * wide / (self.most_tiles * self.patches**2))
        if ratio <= FEWER_FROM:
            return lines[:, :, None], np.ones((tall, wide, 1), np.float32)
        (upper, down), (left, right) = _between(tall, int(tall // ratio)), _between(wide, int(wide // ratio))
        sources = lines[upper[:, None, :, None], left[None, :, None, :]]
        weights = down[:, None, :, None] * right[None, :, None, :]
        return sources.reshape(*sources.shape[:2], 4), weights.reshape(*sources.shape[:2], 4)


def _inside(height: int, width: int, tall: int, wide: int) -> tuple[int, int]:
    """The largest size of that shape in `tall` x `wide`."""
    across, down = wide / width, tall / height
    if across < down:
        return min(math.ceil(height * across), tall), wide
    return tall, min(math.ceil(width * down), wide)


def _alone(tokens: Integers, parts: int) -> tuple[Integers, Floats]:
    """[..., parts] for tokens that are taken as they are: the first part counts, the others do not."""
    weights = np.zeros((*tokens.shape, parts), np.float32)
    weights[..., 0] = 1
    return np.repeat(tokens[..., None], parts, -1), weights


def _between(length: int, fewer: int) -> tuple[Integers, Floats]:
    """[fewer, 2] the neighbours of each new place and their weights; places are centres, the edge repeats."""
    place = np.maximum((np.arange(fewer, dtype=np.float32) + 0.5) * np.float32(length / fewer) - 0.5, 0)
    first = place.astype(np.int64)
    share = (place - first).astype(np.float32)
    neighbours = np.stack([first, np.minimum(first + 1, length - 1)], 1)
    return neighbours, np.stack([1 - share, share], 1).astype(np.float32)


def split_of(config: Any, processor: Any) -> LlavaOnevisionSplit:
    vision = config.vision_config
    if vision.model_type != "siglip_vision_model" or config.vision_feature_select_strategy != "full":
        raise DoesNotFit(f"a tower of type {vision.model_type}; published ones of this class have SigLIP's")
    return LlavaOnevisionSplit(
        **shared_facts(config, processor),
        side=vision.image_size,
        patches=vision.image_size // vision.patch_size,
        most_tiles=int(config.vision_aspect_ratio.removeprefix("anyres_max_")),
        resolutions=tuple((height, width) for height, width in config.image_grid_pinpoints),
    )
