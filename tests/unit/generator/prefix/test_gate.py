"""A graph serves only where it says what the fp32 weights say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.generator.prefix import gate
from services.generator.prefix.engine import PrefixEngine
from services.generator.prefix.gate import Limits
from tests.unit.generator.prefix.small_model import SmallModel, copied
from triton_models.vision_language.decoder_graph import NotServable, Recipe, graph_file

LIMITS = Limits()


@pytest.fixture
def model(tmp_path: Path) -> SmallModel:
    return copied(tmp_path / "model")


def _spoil(model: SmallModel, recipe: Recipe) -> None:
    """Every weight of that graph, a little: nothing that a reader of files would notice."""
    data = graph_file(model.serving, recipe).with_name("model.onnx.data")
    spoilt = np.fromfile(data, np.uint8)
    spoilt[::7] ^= 0x31
    spoilt.tofile(data)


def _opened(model: SmallModel, limits: Limits = LIMITS, slots: int = 4) -> gate.Verdict:
    return gate.opened(model.serving, slots, 128, 1, limits)[1]


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_a_good_8_bit_graph_serves(model: SmallModel, slots: int) -> None:
    """Whatever number of requests it will serve at once."""
    verdict = _opened(model, slots=slots)
    assert ("blocks8", ()) == (verdict.recipe, verdict.refused)
    assert 0 < verdict.serving.kl < 0.01
    assert verdict.serving.top_1 > 0.9


def test_a_spoilt_8_bit_graph_is_refused_and_fp32_serves(model: SmallModel) -> None:
    """And the verdict says so, with figures."""
    _spoil(model, "blocks8")
    verdict = _opened(model)
    assert "fp32" == verdict.recipe
    assert ["blocks8"] == [refused.recipe for refused in verdict.refused]
    assert verdict.refused[0].kl > 0.1 or verdict.refused[0].top_1 < 0.75


def test_limits_are_the_operators_to_set(model: SmallModel) -> None:
    """Whoever wants no loss at all gets fp32."""
    assert "fp32" == _opened(model, Limits(kl=0.0)).recipe


def test_a_model_without_any_graph_that_is_near_does_not_serve(model: SmallModel) -> None:
    """An fp32 graph has stricter limits, whatever the settings say."""
    _spoil(model, "blocks8")
    _spoil(model, "fp32")
    with pytest.raises(NotServable, match=r"blocks8: KL .*fp32: KL "):
        _opened(model)


async def test_an_engine_says_which_graph_serves_and_why(
    model: SmallModel, caplog: pytest.LogCaptureFixture
) -> None:
    """In its recipe, which becomes part of the model's version, and in the log."""
    _spoil(model, "blocks8")
    engine = await PrefixEngine.open(model)
    try:
        assert "fp32" == engine.recipe
        assert "does not serve: blocks8: KL" in caplog.text
    finally:
        await engine.close()
