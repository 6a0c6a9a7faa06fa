"""The seam to split vision-language models: which one looks at an event's picture, and what it makes of it.

no model of the alias, or one that is not what was proved    Unavailable: until it is put right
an output that is missing, empty, of another shape or length Unavailable
no finite numbers, and none for a blank picture either       Unavailable
no finite numbers for this picture alone                     RejectedByModel: a defect
a picture that this class of models does not take            DoesNotFit: there are no tokens of it
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import structlog
from PIL import Image

from captionstream.contracts.messages import Event
from captionstream.runtime.errors import Unavailable
from services.encoder.views import Floats, Pixels
from services.encoder.vision import RejectedByModel, fits
from triton_models.registry import Registry, RegistryError, SplitModel
from triton_models.vision_language.split import OUTPUT, DoesNotFit, Laid, Split
from triton_models.vision_language.visual_tokens import VisualTokens

Inputs = Mapping[str, npt.NDArray[Any]]
ENGINE = "split models"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Given:
    """The model that an event is given, and the alias that stood for it at that moment."""

    model: SplitModel
    alias: Literal["production", "canary"]


class Seer(Protocol):
    """Split models, of which each event is given one or none."""

    def choose(self, event: Event) -> Given | None:
        """The model of the alias that this event falls to; None when no alias stands for one. Raises Unavailable."""
        ...

    async def see(self, model: SplitModel, pixels: Pixels) -> VisualTokens:
        """[H, W, 3] → fp32 tokens. Raises Unavailable, RejectedByModel or DoesNotFit."""
        ...

    async def probe(self) -> None:
        """One real inference of each model that an alias stands for. Raises Unavailable."""
        ...


class Eyes(Protocol):
    """What runs the vision halves. Behind it: Triton, or ONNX Runtime in this process."""

    async def look(self, model: SplitModel, inputs: Inputs) -> object:
        """`inputs` by the names of `Split.tensors` → what it says are visual tokens. Raises Unavailable."""
        ...


class RegistrySeer:
    """The models of a registry, by its aliases: another model behind an alias sees the next event."""

    def __init__(self, registry: Registry, eyes: Eyes) -> None:
        self._registry = registry
        self._eyes = eyes

    def choose(self, event: Event) -> Given | None:
        return chosen(self._registry, event)

    async def see(self, model: SplitModel, pixels: Pixels) -> VisualTokens:
        split = model.halves.split
        laid = await asyncio.to_thread(laid_out, split, pixels)
        values = await self._looked(model, laid.inputs)
        if not np.isfinite(values).all():
            raise await self._meaning_of_no_numbers(model)
        check_length(split, len(values), laid)
        return VisualTokens(values, laid.grid)

    async def probe(self) -> None:
        for model in named(self._registry):
            values = await self._looked(model, blank(model.halves.split))
            if not np.isfinite(values).all():
                raise Unavailable(ENGINE, f"{model.triton_name} holds no finite numbers")

    async def _looked(self, model: SplitModel, inputs: Inputs) -> Floats:
        """[n, width]"""
        found = await self._eyes.look(model, inputs)
        expected = (None, model.halves.split.width)
        if not isinstance(found, np.ndarray) or found.dtype != np.float32 or not fits(found.shape, expected):
            shape = getattr(found, "shape", None)
            raise Unavailable(
                ENGINE, f"{OUTPUT} of {model.triton_name} has shape {shape}, expected {expected}"
            )
        return found

    async def _meaning_of_no_numbers(self, model: SplitModel) -> Exception:
        """Whether it is the picture or the model: see the table above."""
        again = await self._looked(model, blank(model.halves.split))
        told = f"{model.triton_name}: {OUTPUT} holds no finite numbers"
        return RejectedByModel(told) if np.isfinite(again).all() else Unavailable(ENGINE, told)


def chosen(registry: Registry, event: Event) -> Given | None:
    """Raises Unavailable while what an alias stands for is not there: somebody must put it right, and may."""
    try:
        aliases = registry.aliases()
        if (digest := aliases.chosen(event)) is None:
            return None
        return Given(registry.model(digest), "canary" if digest == aliases.canary else "production")
    except RegistryError as wrong:
        raise away(wrong) from wrong


def named(registry: Registry) -> list[SplitModel]:
    """The models that aliases stand for. Raises Unavailable when one is not there."""
    try:
        aliases = registry.aliases()
        return [registry.model(digest) for digest in (aliases.production, aliases.canary) if digest]
    except RegistryError as wrong:
        raise away(wrong) from wrong


def away(wrong: RegistryError) -> Unavailable:
    """What publishers may read says no paths; the log says all."""
    log.error("a split model cannot be used", reason=str(wrong))
    return Unavailable(ENGINE, type(wrong).__name__)


def laid_out(split: Split, pixels: Pixels) -> Laid:
    """The picture as the model's tower takes it. Takes its time: not for the event loop. Raises DoesNotFit."""
    return split.lay(split.prepare(Image.fromarray(pixels)))


def check_length(split: Split, count: int, laid: Laid) -> None:
    """Whether the language half has places for so many tokens. Raises Unavailable."""
    try:
        split.placeholder(count, laid.grid)
    except DoesNotFit as wrong:
        raise Unavailable(ENGINE, f"{count} {OUTPUT}: {wrong}") from wrong


def blank(split: Split) -> dict[str, npt.NDArray[Any]]:
    """The smallest inputs: every free dimension 1, all black, everything filled (the mean of nothing is no number)."""
    return {
        tensor.name: np.full(
            [1 if isinstance(length, str) else length for length in tensor.dims],
            tensor.datatype == "bool",
            tensor.datatype,
        )
        for tensor in split.tensors
    }
