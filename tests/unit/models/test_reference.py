"""Which model a probe asks: asking keeps it in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.encoder.builders import registry_with
from triton_models.registry import Aliases, Registry
from triton_models.vision_language.reference import probed


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_with(tmp_path, "first", "second")


def test_a_model_that_lost_its_name_is_not_asked_though_it_is_loaded(registry: Registry) -> None:
    """After a canary was taken back: its memory is to be freed, however often somebody probes."""
    first, second = (registry.named(name).digest for name in ("first", "second"))
    registry.write(Aliases(production=first, canary=second))
    assert second == probed(registry, [second])
    registry.write(Aliases(production=first))
    assert first == probed(registry, [second]) == probed(registry, [second, first])


def test_without_names_any_model_is_asked_and_without_models_none(registry: Registry, tmp_path: Path) -> None:
    assert probed(registry, []) in {model.digest for model in registry.models()}
    assert probed(Registry(tmp_path / "nothing"), []) is None
