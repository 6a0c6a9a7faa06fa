"""What travels from the eye to the language model: one image's visual tokens as safetensors bytes.

`visual_tokens` is [n, width] in fp32 or fp16, in the order in which the language model reads them. `grid` (int64) is
there where the language model must know how they lie: [2] rows and columns of tiles, [3] frames, rows and columns of
patches. Nothing else may be in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

MEDIA_TYPE = "application/vnd.safetensors"
MOST_TOKENS = 16_384
"""Of one image; more is an error of whoever made them (Qwen2.5-VL's own limit, 16,384 patches, is 4,096 tokens)."""

Precision = Literal["float16", "float32"]
Grid = tuple[int, ...]


class NotVisualTokens(ValueError):
    """The bytes are no visual tokens, or not those of this model. The text says what is wrong with them."""


@dataclass(frozen=True, slots=True, eq=False)
class VisualTokens:
    """`values` [n, width], fp32 or fp16. `grid` is empty where the class needs none."""

    values: npt.NDArray[np.floating[Any]]
    grid: Grid = ()

    def __len__(self) -> int:
        return len(self.values)


def encode(tokens: VisualTokens, precision: Precision = "float16") -> bytes:
    """Raises NotVisualTokens for what `decode` would refuse, a value too large for fp16 included."""
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(tokens.values, dtype=precision)
    _check(values)
    tensors: dict[str, npt.NDArray[Any]] = {"visual_tokens": values}
    if tokens.grid:
        tensors["grid"] = np.array(tokens.grid, np.int64)
    return safetensors.numpy.save(tensors)


def decode(data: bytes, width: int) -> VisualTokens:
    """`width` is the language model's. Raises NotVisualTokens."""
    try:
        tensors = safetensors.numpy.load(data)
    except SafetensorError as broken:
        raise NotVisualTokens(f"no safetensors: {broken}") from broken
    if "visual_tokens" not in tensors or tensors.keys() - {"visual_tokens", "grid"}:
        raise NotVisualTokens(f"holds {sorted(tensors)}")
    values = tensors["visual_tokens"]
    _check(values)
    if values.shape[1] != width:
        raise NotVisualTokens(f"{values.shape[1]} values a token, the language model takes {width}")
    return VisualTokens(values, _grid(tensors.get("grid")))


def _check(values: npt.NDArray[Any]) -> None:
    if values.dtype not in (np.float16, np.float32):
        raise NotVisualTokens(f"values are {values.dtype}")
    if values.ndim != 2 or 0 in values.shape or len(values) > MOST_TOKENS:
        raise NotVisualTokens(f"shape {list(values.shape)}")
    if not np.isfinite(values).all():
        raise NotVisualTokens(f"a value is no finite {values.dtype}")


def _grid(found: npt.NDArray[Any] | None) -> Grid:
    if found is None:
        return ()
    if found.dtype != np.int64 or found.ndim != 1 or not 1 <= len(found) <= 3 or (found < 0).any():
        raise NotVisualTokens(f"grid {found.dtype} {found.tolist()}")
    if math.prod(found.tolist()) > 4 * MOST_TOKENS:
        raise NotVisualTokens(f"grid {found.tolist()}")
    return tuple(found.tolist())
