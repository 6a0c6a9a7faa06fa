"""The vision half alone: the graph under ONNX Runtime against the whole model's own features. Needs torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.parity.conftest import CLASSES, Folders

pytestmark = pytest.mark.models

SIZES = [(96, 96), (28, 28), (200, 33), (60, 150), (300, 280), (41, 97)]


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))


def features(model: Any, processor: Any, picture: Image.Image) -> np.ndarray[Any, Any]:
    """What transformers' own tower and connector make of it."""
    import torch

    given = processor.image_processor(picture, return_tensors="pt")
    taken = {n: given[n] for n in ("pixel_values", "image_sizes", "image_grid_thw") if n in given}
    with torch.no_grad():
        return torch.cat(list(model.model.get_image_features(**taken).pooler_output)).numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", CLASSES)
def test_the_graph_sees_what_the_whole_model_sees(
    name: str, checkpoint_of: Folders, halves_of: Folders
) -> None:
    """Every size of picture goes through one graph; values are the same to the last digits of fp32."""
    from triton_models.vision_language import halves
    from triton_models.vision_language.eye import Eye

    folder = halves_of(name)
    split = halves.open_halves(folder).split
    eye = Eye(split, halves.graph_file(folder))
    model, processor = halves.whole_model(checkpoint_of(name)), halves.processor_of(checkpoint_of(name))
    for width, height in SIZES:
        picture = noise(width, height)
        expected = features(model, processor, picture)
        found = eye.see(split.lay(split.prepare(picture))).values
        assert expected.shape == found.shape
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", CLASSES)
def test_a_picture_is_prepared_pixel_for_pixel_as_transformers_does(
    name: str, checkpoint_of: Folders
) -> None:
    """For fifty sizes, so that what serves needs neither torch nor transformers to look at a picture."""
    from triton_models.vision_language import classes, halves

    processor = halves.processor_of(checkpoint_of(name))
    split = classes.split_of(halves.whole_model(checkpoint_of(name)).config, processor)
    tiles = {"return_row_col_info": True} if split.kind == "idefics3" else {}
    for width, height in [(32, 32), (64, 32), *np.random.default_rng(3).integers(5, 400, (50, 2)).tolist()]:
        picture = noise(width, height)
        expected = processor.image_processor(
            picture, do_rescale=False, do_normalize=False, return_tensors="np", **tiles
        )
        for key, values in split.prepare(picture).items():
            np.testing.assert_array_equal(np.asarray(expected[key]), values, f"{key} of {width} x {height}")


def test_positions_are_those_of_the_whole_model(checkpoint_of: Folders) -> None:
    """Also for several pictures in one text, and what is written after it goes on where the model goes on."""
    import torch

    from triton_models.vision_language import classes, halves

    folder = checkpoint_of("qwen2_5_vl")
    model, processor = halves.whole_model(folder), halves.processor_of(folder)
    split = classes.split_of(model.config, processor)
    image, grids = split.image_token_id, [(1, 4, 10), (1, 8, 2)]
    ids = [1, 2, *[image] * 10, 3, 4, 5, *[image] * 4, 6]
    expected, delta = model.model.get_rope_index(
        torch.tensor([ids]), torch.tensor([[int(n == image) for n in ids]]), torch.tensor(grids)
    )
    found = split.positions(ids, grids)
    assert found is not None
    assert expected[:, 0].tolist() == found[1:].tolist()
    assert [len(ids) + int(delta)] * 3 == (found[1:, -1] + 1).tolist()


def test_a_picture_is_read_in_the_order_of_the_whole_model(checkpoint_of: Folders) -> None:
    """For a hundred sizes, wide, tall and large enough to be made fewer: border, newlines and interpolation agree."""
    import torch

    from triton_models.vision_language import classes, halves

    folder = checkpoint_of("llava_onevision")
    model, processor = halves.whole_model(folder), halves.processor_of(folder)
    split = classes.split_of(model.config, processor)
    random = np.random.default_rng(11)
    for height, width in random.integers(5, 400, (100, 2)).tolist():
        rows, columns = (length // split.side for length in split.resolution(height, width))
        tokens = torch.from_numpy(random.standard_normal((rows * columns + 1, 9, 48), np.float32))
        packed, _ = model.model.pack_image_features(
            [tokens], torch.tensor([[height, width]]), model.model.image_newline
        )
        sources, weights = split.reading_order(height, width)
        pool = np.concatenate(
            [tokens.reshape(-1, 48).numpy(), model.model.image_newline.detach().numpy()[None]]
        )
        found = (pool[sources] * weights[..., None]).sum(1)
        np.testing.assert_allclose(
            found, packed[0].detach().numpy(), atol=1e-5, err_msg=f"{height} x {width}"
        )


@pytest.mark.parametrize("name", CLASSES)
def test_the_graph_names_its_tensors_as_its_class_does(name: str, halves_of: Folders) -> None:
    """So one client serves ONNX Runtime, Triton and, by the same names, a TensorRT plan."""
    import onnx

    from triton_models.vision_language import graph, halves

    folder = halves_of(name)
    split = halves.open_halves(folder).split
    model = onnx.load(halves.graph_file(folder))
    assert [(t.name, list(t.dims)) for t in split.tensors] == [_named(given) for given in model.graph.input]
    assert [("visual_tokens", ["tokens", split.width])] == [_named(out) for out in model.graph.output]
    assert [graph.OPSET] == [used.version for used in model.opset_import if not used.domain]
    command = graph.plan_command(split, Path("model.onnx"))
    assert "--onnx=model.onnx" in command and "--saveEngine=model.plan" in command
    shapes = [word for word in command if "Shapes=" in word]
    assert 3 == len(shapes)
    assert all(tensor.name + ":" in word for tensor in split.tensors for word in shapes)


def test_to_look_at_a_picture_takes_no_torch(halves_of: Folders) -> None:
    """The encoder opens, prepares, lays and sees in a process that loads neither torch nor transformers."""
    code = f"""
import sys
from pathlib import Path
from PIL import Image
from triton_models.vision_language.eye import Eye
from triton_models.vision_language.halves import graph_file, open_halves
from triton_models.vision_language.visual_tokens import encode
folder = Path({str(halves_of("qwen2_5_vl"))!r})
split = open_halves(folder).split
seen = Eye(split, graph_file(folder)).see(split.lay(split.prepare(Image.new("RGB", (90, 60)))))
print(len(encode(seen)) > 0, sorted({{"torch", "transformers", "onnx"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "True []\n" == done.stdout, done.stderr


def _named(tensor: Any) -> tuple[str, list[Any]]:
    return tensor.name, [d.dim_param or d.dim_value for d in tensor.type.tensor_type.shape.dim]
