"""Split models in this process, by ONNX Runtime: the engine without a server keeps the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from services.encoder.onnx import MOST_EYES, OnnxEyes
from services.encoder.scripted import plate
from services.encoder.seer import RegistrySeer, Seer, laid_out
from services.encoder.settings import EncoderSettings, Engine
from services.encoder.wiring import open_encoder
from tests.stack.tiny_models import SEEDS, copied_registry
from tests.unit.encoder.builders import DELIVERY, prepared
from tests.unit.encoder.seer_behaviour import SeerBehaviour, pictures
from triton_models.registry import Aliases, Registry
from triton_models.vision_language.eye import Eye

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return copied_registry(tmp_path, *SEEDS)


@pytest_asyncio.fixture
async def seer(registry: Registry) -> AsyncIterator[Seer]:
    eyes = OnnxEyes()
    yield RegistrySeer(registry, eyes)
    eyes.close()


class TestOnnxSeer(SeerBehaviour):
    async def test_more_models_than_are_kept_open_all_answer(self, seer: Seer, registry: Registry) -> None:
        """The one that was asked longest ago is opened again."""
        assert len(SEEDS) > MOST_EYES
        for model in [*registry.models(), *registry.models()]:
            expected = Eye(model.halves.split, model.graph).see(laid_out(model.halves.split, pictures()[0]))
            np.testing.assert_array_equal(expected.values, (await seer.see(model, pictures()[0])).values)

    async def test_a_changed_graph_is_never_looked_with(self, seer: Seer, registry: Registry) -> None:
        """The picture waits until somebody has put the model right."""
        model = registry.models()[0]
        model.graph.unlink()
        with pytest.raises(Unavailable, match="not what was proved"):
            await seer.see(model, pictures()[0])


async def test_the_embedded_service_looks_with_a_promoted_model(registry: Registry) -> None:
    """Evidence by the packaged models, tokens by the production of the registry; its probe asks both."""
    model = registry.named("smolvlm")
    registry.write(Aliases(production=model.digest))
    payloads = PayloadStore.open("memory")
    async with open_encoder(payloads, EncoderSettings(engine=Engine.ONNX, models=registry.folder)) as service:
        await service.probe()
        (answer,) = [a async for a in service.stage.advance(await prepared(plate(3), payloads), DELIVERY)]
    assert model.reference == answer.visual.model
