"""What a class of vision-language models must say about itself to be split in two.

A `Split` is a frozen value, read once from a checkpoint's configuration and kept as JSON with both halves. It knows
how a prepared picture is laid out for the tower, which text stands for it in the prompt, and where its tokens lie. It
is numpy and strings only: what serves the halves needs neither torch nor transformers for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL.Image import Image, Resampling
from pydantic import BaseModel, ConfigDict

from triton_models.vision_language.visual_tokens import Grid

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]
Datatype = Literal["uint8", "int64", "float32", "bool"]

OUTPUT = "visual_tokens"


class Tensor(NamedTuple):
    """One input of the tower's graph. A dimension that is a name is free; the same name is the same length."""

    name: str
    datatype: Datatype
    dims: tuple[int | str, ...]


class Laid(NamedTuple):
    """One picture as the tower takes it: `inputs` by the names of `Split.tensors`, and the grid that travels on."""

    inputs: dict[str, Array]
    grid: Grid


class DoesNotFit(ValueError):
    """Something is not as this class of models has it: a picture's preparation, a prompt, a number of tokens."""


class Split(Protocol):
    """One class of models. `width` is of a visual token; `image_token` marks its places in a prompt."""

    @property
    def kind(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def image_token(self) -> str: ...
    @property
    def image_token_id(self) -> int: ...
    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What the tower's graph takes; it answers with `visual_tokens` [n, width]."""
        ...

    def prepare(self, picture: Image) -> dict[str, Array]:
        """What the class's image processor makes of an RGB picture, pixel for pixel, its values still 0 to 255.

        As transformers does it with Pillow; with torchvision it comes out up to 3 of 255 different.
        """
        ...

    def lay(self, prepared: Mapping[str, Array]) -> Laid:
        """Such a prepared picture as the tower takes it. Raises DoesNotFit."""
        ...

    def placeholder(self, count: int, grid: Grid) -> str:
        """The text that takes the place of one `image_token` for an image of `count` visual tokens."""
        ...

    def positions(self, ids: Sequence[int], grids: Sequence[Grid]) -> Integers | None:
        """[axes, len(ids)] where each token lies, for rotary positions of several axes; None for plain counting.

        Whoever goes on writing counts on from the last column, in every axis.
        """
        ...


class SplitFacts(BaseModel):
    """What every class keeps. A pixel x, 0 to 255, becomes (x - mean / scale) / (std / scale).

    `resample` is Pillow's number of the filter that pictures are made larger or smaller with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int
    image_token: str
    image_token_id: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float
    resample: int

    def resized(self, picture: Image, height: int, width: int) -> Image:
        return picture.resize((width, height), Resampling(self.resample))

    def positions(self, ids: Sequence[int], grids: Sequence[Grid]) -> Integers | None:
        return None


def shared_facts(config: Any, processor: Any) -> dict[str, Any]:
    """The fields of `SplitFacts` from a checkpoint's configuration and processor."""
    images = processor.image_processor
    if not (images.do_rescale and images.do_normalize):
        raise DoesNotFit(
            "pixels are neither scaled nor normalised; no published model of these classes does that"
        )
    return {
        "width": config.text_config.hidden_size,
        "image_token": processor.image_token,
        "image_token_id": config.image_token_id,
        "mean": tuple(images.image_mean),
        "std": tuple(images.image_std),
        "scale": images.rescale_factor,
        "resample": int(images.resample),
    }


def as_bytes(values: Array) -> npt.NDArray[np.uint8]:
    """Pixels as uint8, if that loses nothing. Raises DoesNotFit."""
    pixels = values.astype(np.uint8)
    if not np.array_equal(pixels, values):
        raise DoesNotFit("a prepared picture has values that are no whole numbers of 0 to 255")
    return pixels


def stacked(pictures: Sequence[Image]) -> npt.NDArray[np.uint8]:
    """[1, t, 3, side, side] of squares of one size."""
    return np.stack([np.asarray(picture) for picture in pictures]).transpose(0, 3, 1, 2)[None]


def cut(picture: Image, side: int) -> list[Image]:
    """Squares, row by row, of a picture whose sides they divide."""
    width, height = picture.size
    return [
        picture.crop((left, top, left + side, top + side))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def tiles(values: Array, side: int) -> npt.NDArray[np.uint8]:
    """[1, t, 3, side, side] → uint8 [t, side, side, 3]. Raises DoesNotFit."""
    if values.ndim != 5 or values.shape[0] != 1 or values.shape[2:] != (3, side, side):
        raise DoesNotFit(f"tiles are {list(values.shape)}, the tower takes [1, t, 3, {side}, {side}]")
    return np.ascontiguousarray(as_bytes(values[0]).transpose(0, 2, 3, 1))
