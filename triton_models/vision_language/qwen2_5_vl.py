"""Qwen2.5-VL: patches of a picture of any size, seen through windows; tokens that know row and column (M-RoPE).

Most layers of its tower see one window at a time. So the patches are laid out window by window, each window filled up
to its full size, and the tower is told which places are `filled`: a windowed layer is then one batched attention, and
a layer that sees all of the picture is one attention over every place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from PIL.Image import Image

from triton_models.vision_language.split import (
    Array,
    DoesNotFit,
    Integers,
    Laid,
    SplitFacts,
    Tensor,
    as_bytes,
    shared_facts,
)
from triton_models.vision_language.visual_tokens import Grid

MODEL_TYPES = frozenset({"qwen2_5_vl"})
NOTHING = -1
THINNEST = 200
"""How many times longer than wide a picture may be."""


class Qwen25VLSplit(SplitFacts):
    """A token is `merge` x `merge` patches of `patch` x `patch` pixels; a window is `window` x `window` tokens.

    `grid` is frames (1), rows and columns of patches. A picture is made to have `least` to `most` pixels.
    """

    kind: Literal["qwen2_5_vl"] = "qwen2_5_vl"
    patch: int
    frames: int
    merge: int
    window: int
    least: int
    most: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        places = (self.window * self.merge) ** 2
        return (
            Tensor("patches", "uint8", ("windows", places, 3, self.patch, self.patch)),
            Tensor("places", "int64", ("windows", places, 2)),
            Tensor("filled", "bool", ("windows", places)),
            Tensor("order", "int64", ("tokens",)),
        )

    def prepare(self, picture: Image) -> dict[str, Array]:
        height, width = self._size(picture.height, picture.width)
        pixels = np.asarray(self.resized(picture, height, width)).transpose(2, 0, 1)
        rows, columns, merge = height // self.patch, width // self.patch, self.merge
        parts = pixels.reshape(3, rows // merge, merge, self.patch, columns // merge, merge, self.patch)
        patches = parts.transpose(1, 4, 2, 5, 0, 3, 6).reshape(rows * columns, 3, 1, self.patch, self.patch)
        return {
            "pixel_values": np.repeat(patches, self.frames, 2).reshape(rows * columns, -1),
            "image_grid_thw": np.array([[1, rows, columns]]),
        }

    def lay(self, prepared: Mapping[str, Array]) -> Laid:
        frames, rows, columns = (int(length) for length in prepared["image_grid_thw"].reshape(3))
        if frames != 1:
            raise DoesNotFit(f"{frames} frames; a picture has one")
        patches = self._patches(prepared["pixel_values"], rows * columns)
        tokens = self.windows(rows // self.merge, columns // self.merge)
        source = self._in_windows(tokens)
        filled = source != NOTHING
        inputs = {
            "patches": np.where(filled[..., None, None, None], patches[source], np.uint8(0)),
            "places": np.where(filled[..., None], self._places(rows, columns)[source], 0),
            "filled": filled,
            "order": _where_each_is(tokens.reshape(-1)),
        }
        return Laid(inputs, (frames, rows, columns))

    def placeholder(self, count: int, grid: Grid) -> str:
        if count != self._tokens(grid):
            raise DoesNotFit(f"{count} visual tokens for a grid of {grid}")
        return self.image_token * count

    def positions(self, ids: Sequence[int], grids: Sequence[Grid]) -> Integers:
        """[4, len(ids)]: the place in the text; then frame, row and column, which are the same for a word."""
        parts, at, start = [], 0, 0
        for begin, grid in zip(self._begins(ids, grids), grids, strict=True):
            parts += [_counted(begin - at, start), self._seen(grid, start + begin - at)]
            start += begin - at + max(grid[1:]) // self.merge
            at = begin + self._tokens(grid)
        parts.append(_counted(len(ids) - at, start))
        return np.concatenate([np.arange(len(ids))[None], np.concatenate(parts, 1)])

    def windows(self, rows: int, columns: int) -> Integers:
        """[windows, window²] the token at each place of each window, row by row; NOTHING where there is none."""
        side = self.window
        down, across = -(-rows // side), -(-columns // side)
        lines = np.full((down * side, across * side), NOTHING)
        lines[:rows, :columns] = np.arange(rows * columns).reshape(rows, columns)
        cut = lines.reshape(down, side, across, side).transpose(0, 2, 1, 3)
        return cut.reshape(down * across, side * side)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """Whole tokens a side, as near to the picture's shape as `least` and `most` allow. Raises DoesNotFit."""
        if max(height, width) > THINNEST * min(height, width):
            raise DoesNotFit(f"{width} x {height} pixels are too thin")
        side = self.patch * self.merge
        tall, wide = round(height / side) * side, round(width / side) * side
        if tall * wide > self.most:
            factor = math.sqrt(height * width / self.most)
            tall, wide = (max(side, math.floor(n / factor / side) * side) for n in (height, width))
        elif tall * wide < self.least:
            factor = math.sqrt(self.least / (height * width))
            tall, wide = (math.ceil(n * factor / side) * side for n in (height, width))
        return tall, wide

    def _in_windows(self, tokens: Integers) -> Integers:
        """[windows, places] the patch at each place: the patches of a token follow one another."""
        part = np.arange(self.merge**2)
        patches = np.where(tokens[..., None] == NOTHING, NOTHING, tokens[..., None] * len(part) + part)
        return patches.reshape(len(tokens), -1)

    def _patches(self, values: Array, count: int) -> Array:
        """[count, 3, patch, patch]; a picture's frames are copies of one another. Raises DoesNotFit."""
        shape = (count, 3, self.frames, self.patch, self.patch)
        if values.size != np.prod(shape):
            raise DoesNotFit(f"patches are {list(values.shape)}, their grid says {list(shape)}")
        frames = as_bytes(values).reshape(shape)
        if not (frames == frames[:, :, :1]).all():
            raise DoesNotFit("the frames of a picture differ")
        return frames[:, :, 0]

    def _places(self, rows: int, columns: int) -> Integers:
        """[patches, 2] row and column, in the order in which patches come: token by token."""
        lines = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
        cut = lines.reshape(rows // self.merge, self.merge, columns // self.merge, self.merge, 2)
        return cut.transpose(0, 2, 1, 3, 4).reshape(-1, 2)

    def _tokens(self, grid: Grid) -> int:
        frames, rows, columns = grid
        return frames * (rows // self.merge) * (columns // self.merge)

    def _begins(self, ids: Sequence[int], grids: Sequence[Grid]) -> Iterator[int]:
        """Where the tokens of each image begin."""
        at = 0
        for grid in grids:
            at = ids.index(self.image_token_id, at)
            yield at
            at += self._tokens(grid)

    def _seen(self, grid: Grid, start: int) -> Integers:
        lengths = (grid[0], grid[1] // self.merge, grid[2] // self.merge)
        return np.indices(lengths).reshape(3, -1) + start


def _where_each_is(tokens: Integers) -> Integers:
    """[tokens] the place of token 0, of token 1 and so on."""
    places = np.flatnonzero(tokens != NOTHING)
    return places[np.argsort(tokens[places])]


def _counted(count: int, start: int) -> Integers:
    return np.broadcast_to(np.arange(start, start + count), (3, count))


def split_of(config: Any, processor: Any) -> Qwen25VLSplit:
    vision = config.vision_config
    return Qwen25VLSplit(
        **shared_facts(config, processor),
        patch=vision.patch_size,
        frames=vision.temporal_patch_size,
        merge=vision.spatial_merge_size,
        window=vision.window_size // vision.spatial_merge_size // vision.patch_size,
        least=processor.image_processor.size["shortest_edge"],
        most=processor.image_processor.size["longest_edge"],
    )
