"""A split model is the model, token for token; and a proof that proves nothing fails. Needs torch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.parity.conftest import CLASSES, Folders

pytestmark = pytest.mark.models


@pytest.mark.parametrize("name", CLASSES)
def test_both_halves_write_what_the_whole_model_writes(
    name: str, checkpoint_of: Folders, tmp_path: Path
) -> None:
    """Greedy and sampled, alone, in a batch of mixed sizes, and for several prompts on one picture."""
    from triton_models.vision_language.parity import ENOUGH_DIFFERENT, prove, table

    proof = prove(name, checkpoint_of(name), tmp_path / "halves", tokens=20)
    assert 6 == len(proof.rows)
    assert all(row.proved for row in proof.rows), table([proof])
    assert 0 == proof.blind
    assert proof.different > ENOUGH_DIFFERENT
    assert sum(row.same_fp16 for row in proof.rows) > 0.8 * sum(row.tokens for row in proof.rows)


@pytest.mark.parametrize("name", CLASSES)
def test_one_wrong_weight_of_the_connector_fails_the_proof(
    name: str, checkpoint_of: Folders, tmp_path: Path
) -> None:
    """The prompts are still the same; only what was seen is wrong."""
    from triton_models.vision_language.parity import break_connector, prove

    proof = prove(name, checkpoint_of(name), tmp_path / "halves", tokens=8, change=break_connector)
    assert not proof.holds
    assert all(row.same_prompts for row in proof.rows)
    assert any(row.same_fp32 < row.tokens for row in proof.rows)


def test_a_model_that_takes_no_notice_of_its_pictures_proves_nothing(
    checkpoint_of: Folders, tmp_path: Path
) -> None:
    """Its tokens are equal on both sides, whatever the eye does."""
    from safetensors.numpy import load_file, save_file

    from triton_models.vision_language.parity import prove

    folder = shutil.copytree(checkpoint_of("smolvlm"), tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    weights["model.connector.modality_projection.proj.weight"] *= 0
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    proof = prove("blind", folder, tmp_path / "halves", tokens=8)
    assert all(row.proved for row in proof.rows)
    assert 4 == proof.blind
    assert not proof.holds


def test_a_seed_draws_the_same_words_again_and_another_seed_others(
    checkpoint_of: Folders, tmp_path: Path
) -> None:
    """Sampling is sampling: its equality is none of two greedy runs."""
    from triton_models.vision_language import halves
    from triton_models.vision_language.checkpoint import open_checkpoint
    from triton_models.vision_language.classes import MODEL_TYPES
    from triton_models.vision_language.language import Decoding
    from triton_models.vision_language.questions import cases, pictures
    from triton_models.vision_language.sides import TwoHalves

    halves.write(open_checkpoint(checkpoint_of("qwen2_5_vl"), MODEL_TYPES), tmp_path / "halves")
    split = TwoHalves(tmp_path / "halves", "float16")
    questions = cases(pictures(1))[2].questions
    greedy, one, again, other = (split.answer(questions, Decoding(8, seed))[1] for seed in (None, 7, 7, 8))
    assert one == again
    assert one != other
    assert one != greedy
    assert 1 == len(split.arrived), "three prompts on one picture look at it once"


def test_a_row_that_goes_on_too_long_is_not_equal() -> None:
    """Nor is one that ends early or differs in its last token."""
    from triton_models.vision_language.parity import same

    assert 3 == same([[1, 2, 3]], [[1, 2, 3]])
    assert 2 == same([[1, 2, 3]], [[1, 2, 3, 4]])
    assert 2 == same([[1, 2, 3]], [[1, 2]])
    assert 2 == same([[1, 2, 3]], [[1, 2, 4]])


@pytest.mark.parametrize(("more", "status"), [((), 0), (("--break", "connector"), 1)])
def test_the_command_says_by_its_exit_status_whether_all_is_proved(
    more: tuple[str, ...], status: int, checkpoint_of: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    """With versions, a line for each case and a verdict for each model."""
    from triton_models.vision_language.parity import main

    assert status == main(["--checkpoint", str(checkpoint_of("smolvlm")), "--tokens", "6", *more])
    shown = capsys.readouterr().out
    assert "transformers 5" in shown
    assert 2 * 6 + 1 == shown.count("smolvlm"), "six rows of each engine, and the verdict"
    assert ("✗" in shown) == bool(status)
