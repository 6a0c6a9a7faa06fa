"""The classes that can be split, by what a checkpoint's configuration calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from triton_models.vision_language import idefics3, llava_onevision, qwen2_5_vl
from triton_models.vision_language.idefics3 import Idefics3Split
from triton_models.vision_language.llava_onevision import LlavaOnevisionSplit
from triton_models.vision_language.qwen2_5_vl import Qwen25VLSplit

OneSplit = Idefics3Split | LlavaOnevisionSplit | Qwen25VLSplit
AnySplit = Annotated[OneSplit, Field(discriminator="kind")]
"""As it stands in JSON."""

_BY_TYPE: dict[str, Callable[[Any, Any], OneSplit]] = {
    model_type: known.split_of
    for known in (idefics3, llava_onevision, qwen2_5_vl)
    for model_type in known.MODEL_TYPES
}
MODEL_TYPES = frozenset(_BY_TYPE)


def split_of(config: Any, processor: Any) -> OneSplit:
    """`config` and `processor` as transformers loads them. Raises KeyError for an unknown class."""
    return _BY_TYPE[config.model_type](config, processor)
