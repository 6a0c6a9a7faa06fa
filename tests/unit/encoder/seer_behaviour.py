"""What every seer must do with the models of a registry. One suite: the double, ONNX Runtime, and Triton."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from captionstream.contracts.messages import Event
from captionstream.runtime.errors import Unavailable
from services.encoder.scripted import plate
from services.encoder.seer import Given, Seer
from services.encoder.views import Pixels
from triton_models.registry import Aliases, Registry

EVENT = Event(id="e-1")


def pictures() -> list[Pixels]:
    """Of several sizes and shapes, each another one."""
    sizes = [(256, 192), (90, 120), (300, 100), (64, 64)]
    return [plate(1_000_003 * (number + 1), size) for number, size in enumerate(sizes)]


class SeerBehaviour:
    """Subclasses provide `registry`, one of their own with two models or more, and a `seer` of it."""

    async def test_no_alias_no_model(self, seer: Seer, registry: Registry) -> None:
        """A registry with models in it, none of them promoted."""
        registry.write(Aliases())
        assert seer.choose(EVENT) is None
        await seer.probe()

    async def test_another_production_sees_the_next_event(self, seer: Seer, registry: Registry) -> None:
        """The pointer is changed while the seer is in use."""
        one, other = registry.models()[:2]
        for model in (one, other, one):
            registry.write(Aliases(production=model.digest))
            assert Given(model, "production") == seer.choose(EVENT)

    async def test_a_canary_takes_its_share(self, seer: Seer, registry: Registry) -> None:
        """All of 20 events with a share of 1, none with a share of 0."""
        one, other = registry.models()[:2]
        events = [Event(id=f"e-{number}") for number in range(20)]
        for share, expected in ((1.0, Given(other, "canary")), (0.0, Given(one, "production"))):
            registry.write(Aliases(production=one.digest, canary=other.digest, share=share))
            assert [expected] * 20 == [seer.choose(event) for event in events]

    async def test_an_alias_of_a_model_that_is_not_there_is_waited_for(
        self, seer: Seer, registry: Registry
    ) -> None:
        """Somebody removed it by hand, or it is still being copied."""
        registry.write(Aliases(production="0" * 64))
        with pytest.raises(Unavailable, match="NotThere"):
            seer.choose(EVENT)
        with pytest.raises(Unavailable):
            await seer.probe()

    async def test_tokens_are_finite_and_of_the_width_of_the_model(
        self, seer: Seer, registry: Registry
    ) -> None:
        """fp32, for pictures of every shape, of every model there is."""
        for model in registry.models():
            for picture in pictures():
                tokens = await seer.see(model, picture)
                assert (np.float32, model.halves.split.width) == (
                    tokens.values.dtype,
                    tokens.values.shape[1],
                )
                assert np.isfinite(tokens.values).all()

    async def test_pictures_at_once_are_not_mixed_up(self, seer: Seer, registry: Registry) -> None:
        """Every model with every picture, three times at once, as one after another."""
        asked = [(model, picture) for model in registry.models() for picture in pictures()]
        alone = [await seer.see(*question) for question in asked]
        together = await asyncio.gather(*(seer.see(*question) for question in asked * 3))
        for expected, got in zip(alone * 3, together, strict=True):
            assert expected.grid == got.grid
            np.testing.assert_array_equal(expected.values, got.values)
        told = {
            (model.digest, tokens.values.tobytes()) for (model, _), tokens in zip(asked, alone, strict=True)
        }
        assert len(asked) == len(told)

    async def test_its_probe_asks_the_models_in_use(self, seer: Seer, registry: Registry) -> None:
        """Production and canary answer."""
        one, other = registry.models()[:2]
        registry.write(Aliases(production=one.digest, canary=other.digest))
        await seer.probe()
