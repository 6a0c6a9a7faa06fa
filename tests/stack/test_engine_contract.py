"""Real engines behave as engines must: the language half of a split model, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captionstream.contracts.evidence import VisualPrefix
from captionstream.payloads.store import PayloadStore
from services.generator.lineup import Lineup, Prefix, Route
from services.generator.settings import GeneratorSettings
from services.generator.visual import RegistryShelf
from services.generator.wiring import open_engines
from services.generator.writing import Patience
from tests.contract.engine_behaviour import NAME, Candidate, EngineBehaviour
from tests.stack.tiny_models import copied_registry
from triton_models.registry import Registry, SplitModel
from triton_models.vision_language.eye import Eye
from triton_models.vision_language.visual_tokens import MEDIA_TYPE, encode

pytestmark = [pytest.mark.stack, pytest.mark.models, pytest.mark.timeout(300)]
BUDGET_S = 30.0  # its first text comes after the model is loaded and compared with fp32


class TestSplitModel(EngineBehaviour):
    """A tiny SmolVLM with random weights, as a lineup's `prefix` engine opens it."""

    @pytest.fixture
    async def candidate(self, payloads: PayloadStore, tmp_path: Path) -> AsyncIterator[Candidate]:
        registry = copied_registry(tmp_path, "smolvlm")
        (model,) = registry.models()
        visual = await seen_by(model, payloads)
        async with open_engines(
            Lineup(engines={NAME: Prefix()}, routes=(Route(engine=NAME),)),
            GeneratorSettings(models=registry.folder, kept_mb=0),
        ) as engines:
            writer = engines.writers[NAME].writer
            patience = Patience(budget_s=BUDGET_S)
            yield Candidate(Prefix(), writer, {"visual": visual}, RegistryShelf(Registry(tmp_path)), patience)


async def seen_by(model: SplitModel, payloads: PayloadStore) -> VisualPrefix:
    """What the model's own eye makes of a picture in two colours."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, 48:] = (200, 30, 30)
    split = model.halves.split
    tokens = await asyncio.to_thread(
        lambda: Eye(split, model.graph).see(split.lay(split.prepare(Image.fromarray(pixels))))
    )
    payload = await payloads.put(encode(tokens), MEDIA_TYPE)
    return VisualPrefix(model=model.reference, tokens=payload, count=len(tokens), width=split.width)
