"""The committed weights come out of the export again. Needs the `models` extra and the published packages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from triton_models.repository import MODELS, model_path

pytestmark = pytest.mark.models


def outputs(model: bytes, images: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def noise(dims: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).integers(0, 256, (2, *dims), dtype=np.uint8)


@pytest.mark.parametrize("name", ["vision_encoder", "content_screen"])
def test_an_export_gives_the_committed_answers(name: str) -> None:
    """Weights exported anew from their packages answer as the committed file does, number for number."""
    from triton_models import export

    images = noise(next(model.inputs[0].dims for model in MODELS if model.name == name))
    expected = outputs(model_path(name).read_bytes(), images)
    found = outputs(export.committed(name).SerializeToString(), images)
    assert expected.keys() == found.keys()
    for output, values in expected.items():
        np.testing.assert_allclose(found[output], values, rtol=1e-4, atol=1e-4)


def test_the_encoder_answers_as_the_published_networks_do() -> None:
    """Fewer bits a weight and one graph for three networks change no logit by more than 0.1."""
    import torch

    from triton_models import export

    images = noise((260, 260, 3))
    module = export._vision_module([export._efficientnet(number) for number in range(3)])
    with torch.no_grad():
        logits, embedding, grid = (tensor.numpy() for tensor in module(torch.from_numpy(images)))
    found = outputs(model_path("vision_encoder").read_bytes(), images)
    np.testing.assert_allclose(found["class_logits"], logits, atol=0.1)
    np.testing.assert_allclose(found["embedding"], embedding, atol=0.05)
    np.testing.assert_allclose(found["grid"], grid, atol=0.2)


def test_the_screen_answers_as_the_published_network_does() -> None:
    """Fewer bits a weight move the score by less than a hundredth."""
    import onnx

    from triton_models import export

    images = noise((224, 224, 3))
    published = outputs(export.folded(export.content_screen()).SerializeToString(), images)
    found = outputs(onnx.load(model_path("content_screen")).SerializeToString(), images)
    np.testing.assert_allclose(found["score"], published["score"], atol=0.01)


def test_a_cubic_matrix_keeps_a_flat_picture_flat() -> None:
    """Each row of the resizing matrix sums to one, so brightness is kept."""
    from triton_models import export

    matrix = export.cubic_matrix(260, 224)
    assert (224, 260) == matrix.shape
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
