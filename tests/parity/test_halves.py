"""Both halves on disk, and what the language half refuses. Needs torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.conftest import CLASSES, Folders

pytestmark = pytest.mark.models


@pytest.mark.parametrize("name", CLASSES)
def test_no_weight_of_the_eye_is_in_the_language_half(
    name: str, checkpoint_of: Folders, halves_of: Folders
) -> None:
    """The generator cannot look at a picture by itself, so what it says about one came through the tokens."""
    from safetensors.numpy import load_file

    from triton_models.vision_language import halves

    model = halves.whole_model(checkpoint_of(name))
    inner = model.model
    text = getattr(inner, "text_model", None) or inner.language_model
    tied = model.lm_head.weight is text.get_input_embeddings().weight
    expected = sum(p.numel() for p in text.parameters()) + (0 if tied else model.lm_head.weight.numel())
    kept = load_file(halves_of(name) / "language" / "model.safetensors")
    assert expected == sum(weight.size for weight in kept.values())
    assert all(key.startswith(("model.", "lm_head.")) for key in kept)


def test_the_halves_say_where_they_come_from(halves_of: Folders) -> None:
    """Class, licence, revision and versions stand in one file beside them."""
    told = json.loads((halves_of("smolvlm") / "halves.json").read_bytes())
    assert "apache-2.0" == told["source"]["licence"]
    assert "SmolVLMForConditionalGeneration" == told["source"]["architecture"]
    assert {"torch", "transformers", "opset"} == told["made_with"].keys()


@pytest.mark.parametrize(
    "file", ["vision/model.onnx", "language/model.safetensors", "language/tokenizer.json"]
)
def test_a_flipped_bit_in_either_half_is_refused(file: str, halves_of: Folders, tmp_path: Path) -> None:
    """Before anything is loaded from it."""
    from triton_models.vision_language import halves

    folder = shutil.copytree(halves_of("smolvlm"), tmp_path / "halves")
    changed = bytearray((folder / file).read_bytes())
    changed[len(changed) // 2] ^= 1
    (folder / file).write_bytes(changed)
    with pytest.raises(halves.HalvesChanged, match=file.rpartition("/")[2]):
        halves.open_halves(folder)


def test_a_split_that_was_never_finished_is_refused(tmp_path: Path) -> None:
    """The facts are written last."""
    from triton_models.vision_language import halves

    with pytest.raises(halves.HalvesChanged, match="never finished"):
        halves.open_halves(tmp_path)


def test_a_checkpoint_that_changed_since_it_was_opened_is_not_split(
    checkpoint_of: Folders, tmp_path: Path
) -> None:
    """What is split is what was looked at."""
    from triton_models.vision_language import halves
    from triton_models.vision_language.checkpoint import CheckpointChanged, open_checkpoint
    from triton_models.vision_language.classes import MODEL_TYPES

    folder = shutil.copytree(checkpoint_of("smolvlm"), tmp_path / "checkpoint")
    opened = open_checkpoint(folder, MODEL_TYPES)
    (folder / "modeling.py").write_text("")
    with pytest.raises(CheckpointChanged, match=r"modeling\.py"):
        halves.write(opened, tmp_path / "halves")
    assert not (tmp_path / "halves").exists()


def test_a_checkpoint_with_a_missing_weight_is_not_split(checkpoint_of: Folders, tmp_path: Path) -> None:
    """Whoever loads it draws that weight at random, each time another one."""
    from safetensors.numpy import load_file, save_file

    from triton_models.vision_language import halves
    from triton_models.vision_language.checkpoint import BrokenWeights, open_checkpoint
    from triton_models.vision_language.classes import MODEL_TYPES

    folder = shutil.copytree(checkpoint_of("smolvlm"), tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    del weights["model.connector.modality_projection.proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BrokenWeights, match="modality_projection"):
        halves.write(open_checkpoint(folder, MODEL_TYPES), tmp_path / "halves")


def _prompt(text: str, count: int) -> Any:
    from triton_models.vision_language.language import Prompt
    from triton_models.vision_language.visual_tokens import VisualTokens

    content = [{"type": "image"}, {"type": "text", "text": text}]
    values = np.ones((count, 48), np.float32)
    return Prompt(({"role": "user", "content": content},), (VisualTokens(values, (0, 0)),))


def test_a_text_that_spells_an_image_token_out_is_refused(halves_of: Folders) -> None:
    """Words from a page would else take the place of the picture."""
    from triton_models.vision_language import halves
    from triton_models.vision_language.language import LanguageHalf
    from triton_models.vision_language.split import DoesNotFit

    folder = halves_of("smolvlm")
    language = LanguageHalf.open(halves.open_halves(folder).split, folder / "language")
    assert 1 == len(language.prefix([_prompt("What is this?", 4)]).ids)
    with pytest.raises(DoesNotFit, match="names 2 images and has 1"):
        language.prefix([_prompt("What is <image> this?", 4)])
    with pytest.raises(DoesNotFit, match="5 visual tokens"):
        language.prefix([_prompt("What is this?", 5)])
