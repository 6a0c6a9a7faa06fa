"""Idefics3 and SmolVLM: square tiles through SigLIP, pixel shuffle, the same number of tokens for each tile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from PIL.Image import Image

from triton_models.vision_language.split import (
    Array,
    DoesNotFit,
    Laid,
    SplitFacts,
    Tensor,
    cut,
    shared_facts,
    stacked,
    tiles,
)
from triton_models.vision_language.visual_tokens import Grid

MODEL_TYPES = frozenset({"idefics3", "smolvlm"})
LONGEST = 4096
AROUND, WHOLE = "<fake_token_around_image>", "<global-img>"


class Idefics3Split(SplitFacts):
    """`grid` is rows and columns of tiles; the whole picture comes after them, and alone when it is (0, 0).

    A picture is first made `longest` pixels long, then one square, or many where it is `tiled`.
    """

    kind: Literal["idefics3"] = "idefics3"
    side: int
    tokens_a_tile: int
    longest: int
    tiled: bool

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (Tensor("images", "uint8", ("tiles", self.side, self.side, 3)),)

    def prepare(self, picture: Image) -> dict[str, Array]:
        picture = self.resized(picture, *self._first_size(picture.height, picture.width))
        if self.tiled:
            picture = self.resized(picture, *self._tiled_size(picture.height, picture.width))
        squares = cut(picture, self.side) if self.tiled else []
        rows, columns = picture.height // self.side, picture.width // self.side
        if len(squares) < 2:
            rows, columns, squares = 0, 0, []
        whole = self.resized(picture, self.side, self.side)
        return {
            "pixel_values": stacked([*squares, whole]),
            "rows": np.array([[rows]]),
            "cols": np.array([[columns]]),
        }

    def lay(self, prepared: Mapping[str, Array]) -> Laid:
        images = tiles(prepared["pixel_values"], self.side)
        rows, columns = (int(np.asarray(prepared[name]).item()) for name in ("rows", "cols"))
        if len(images) != rows * columns + 1:
            raise DoesNotFit(f"{len(images)} tiles for {rows} x {columns}")
        return Laid({"images": images}, (rows, columns))

    def placeholder(self, count: int, grid: Grid) -> str:
        rows, columns = grid
        if count != (rows * columns + 1) * self.tokens_a_tile:
            raise DoesNotFit(f"{count} visual tokens for {rows} x {columns} tiles of {self.tokens_a_tile}")
        tile = self.image_token * self.tokens_a_tile
        lines = (
            "".join(f"{AROUND}<row_{row}_col_{column}>{tile}" for column in range(1, columns + 1)) + "\n"
            for row in range(1, rows + 1)
        )
        return "".join(lines) + ("\n" if rows else "") + f"{AROUND}{WHOLE}{tile}{AROUND}"

    def _first_size(self, height: int, width: int) -> tuple[int, int]:
        """`longest` on the long side; the short one in proportion and even."""
        proportion = width / height
        if width >= height:
            return max(1, _even(int(self.longest / proportion))), self.longest
        return self.longest, max(1, _even(int(self.longest * proportion)))

    def _tiled_size(self, height: int, width: int) -> tuple[int, int]:
        """The long side up to whole tiles, the short one in proportion and then up to whole tiles."""
        proportion = width / height
        if width >= height:
            width = self._whole_tiles(width)
            return self._whole_tiles(int(width / proportion)), width
        height = self._whole_tiles(height)
        return height, self._whole_tiles(int(height * proportion))

    def _whole_tiles(self, length: int) -> int:
        return -(-length // self.side) * self.side


def _even(length: int) -> int:
    return length + length % 2


def split_of(config: Any, processor: Any) -> Idefics3Split:
    images = processor.image_processor
    side, longest = images.max_image_size["longest_edge"], images.size["longest_edge"]
    if longest > LONGEST:
        raise DoesNotFit(f"pictures of {longest} pixels; transformers makes them {LONGEST}")
    patches = (side // config.vision_config.patch_size) ** 2
    return Idefics3Split(
        **shared_facts(config, processor),
        side=side,
        tokens_a_tile=patches // config.scale_factor**2,
        longest=longest,
        tiled=images.do_image_splitting,
    )
