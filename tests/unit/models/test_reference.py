"""Which model a probe asks: asking keeps it in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.encoder.builders import registry_with
from tests.unit.models.builders import ready_model
from triton_models.registry import Aliases, Registry
from triton_models.vision_language.reference import probed


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two models without a decoder for ONNX Runtime."""
    return registry_with(tmp_path, "first", "second")


def test_a_model_that_lost_its_name_is_not_asked_though_it_is_loaded(registry: Registry) -> None:
    """After a canary was taken back: its memory is to be freed, however often somebody probes."""
    first, second = (registry.named(name).digest for name in ("first", "second"))
    registry.write(Aliases(production=first, canary=second))
    assert second == probed(registry, [second])
    registry.write(Aliases(production=first))
    assert first == probed(registry, [second]) == probed(registry, [second, first])


def test_a_model_that_nobody_uses_is_not_loaded_by_a_question(registry: Registry, tmp_path: Path) -> None:
    """Added and not promoted yet; or none there at all."""
    assert probed(registry, []) is None
    assert probed(registry, [registry.named("first").digest]) is None
    assert probed(Registry(tmp_path / "nothing"), []) is None


def test_what_another_engine_writes_for_is_asked_only_where_it_is_loaded(tmp_path: Path) -> None:
    """Production belongs to ONNX Runtime, the canary to this engine."""
    folder = tmp_path / "models"
    folder.mkdir()
    ours, theirs = ready_model(folder, "ours", serving=False), ready_model(folder, "theirs")
    registry = Registry(folder)
    registry.write(Aliases(production=theirs.digest, canary=ours.digest))
    assert ours.digest == probed(registry, [])
    assert theirs.digest == probed(registry, [theirs.digest])
