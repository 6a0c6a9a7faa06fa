"""Which folders are taken as a checkpoint, and which are refused before anything in them is loaded."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from triton_models.vision_language.checkpoint import (
    BrokenWeights,
    CheckpointChanged,
    NoLicence,
    NotACheckpoint,
    PickledWeights,
    RemoteCode,
    UnknownClass,
    open_checkpoint,
    verify,
)
from triton_models.vision_language.classes import MODEL_TYPES

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_checkpoint_is_recorded_with_class_licence_and_every_file(published: Path) -> None:
    """What will be said about a model later is read from its own folder, not from its name."""
    record = open_checkpoint(published, MODEL_TYPES).record
    assert ("smolvlm", "SmolVLM", "apache-2.0") == (record.model_type, record.architecture, record.licence)
    assert ["README.md", "config.json", "model.safetensors"] == [file.name for file in record.files]


def test_a_folder_without_configuration_or_weights_is_no_checkpoint(published: Path) -> None:
    """The refusal says what is missing."""
    (published / "model.safetensors").unlink()
    with pytest.raises(NotACheckpoint, match="no weights"):
        open_checkpoint(published, MODEL_TYPES)
    (published / "config.json").unlink()
    with pytest.raises(NotACheckpoint, match=r"no config\.json"):
        open_checkpoint(published, MODEL_TYPES)


def test_a_class_that_cannot_be_split_is_named_with_those_that_can(published: Path) -> None:
    """Nobody waits for an export that cannot work."""
    (published / "config.json").write_text('{"model_type": "florence2"}')
    with pytest.raises(UnknownClass, match=r"'florence2'.*idefics3, llava_onevision, qwen2_5_vl, smolvlm"):
        open_checkpoint(published, MODEL_TYPES)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "old/consolidated.pth", "training_state.PKL", "x.npz"])
def test_a_format_that_can_run_code_is_refused_even_beside_safe_weights(published: Path, name: str) -> None:
    """Someone else's loader may prefer it, so it must not be there at all."""
    (published / name).parent.mkdir(exist_ok=True)
    (published / name).write_bytes(pickle.dumps({}))
    with pytest.raises(PickledWeights, match=name.rpartition("/")[2]):
        open_checkpoint(published, MODEL_TYPES)


def test_a_pickle_that_calls_itself_safetensors_is_refused(published: Path) -> None:
    """The content counts, not the name."""
    (published / "model.safetensors").write_bytes(pickle.dumps(list(range(100))))
    with pytest.raises(BrokenWeights, match="no safetensors file"):
        open_checkpoint(published, MODEL_TYPES)


def test_an_index_that_names_a_tensor_where_it_is_not_is_refused(published: Path) -> None:
    """A file outside of the folder cannot be named either."""
    index = {"weight_map": {"lm_head.weight": "../model.safetensors"}}
    (published / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BrokenWeights, match=r"lm_head\.weight"):
        open_checkpoint(published, MODEL_TYPES)


def test_code_that_comes_with_a_checkpoint_is_refused(published: Path) -> None:
    """Neither a Python file nor a configuration that names one."""
    (published / "processor_config.json").write_text('{"image": [{"auto_map": {"AutoProcessor": "x.Y"}}]}')
    with pytest.raises(RemoteCode, match=r"processor_config\.json names code"):
        open_checkpoint(published, MODEL_TYPES)
    (published / "modeling.py").write_text("")
    with pytest.raises(RemoteCode, match=r"modeling\.py"):
        open_checkpoint(published, MODEL_TYPES)


@pytest.mark.parametrize(
    "card", ["A model.", "---\nlicense:\n---\n", "---\nlicense: other\n---\n", "---\n[\n---\n"]
)
def test_a_model_without_a_licence_is_refused(published: Path, card: str) -> None:
    """A caption names the models behind it; that of nobody knows which licence is not used."""
    (published / "README.md").write_text(card)
    with pytest.raises(NoLicence, match=r"README\.md"):
        open_checkpoint(published, MODEL_TYPES)


def test_a_licence_of_its_own_is_known_by_its_name(published: Path) -> None:
    """`other` says nothing."""
    (published / "README.md").write_text("---\nlicense: other\nlicense_name: qwen-research\n---\n")
    assert "qwen-research" == open_checkpoint(published, MODEL_TYPES).record.licence


def test_the_revision_is_the_commit_where_the_folder_tells_it(published: Path) -> None:
    """In a hub's cache the folder is called so; a plain download keeps a note of it."""
    note = published / ".cache" / "huggingface" / "download" / "config.json.metadata"
    note.parent.mkdir(parents=True)
    note.write_text(f"{COMMIT}\netag\n1700000000.0\n")
    assert COMMIT == open_checkpoint(published, MODEL_TYPES).record.revision
    note.unlink()
    snapshot = published.rename(published.parent / COMMIT)
    assert COMMIT == open_checkpoint(snapshot, MODEL_TYPES).record.revision


def test_elsewhere_the_revision_is_the_digest_of_its_files(published: Path) -> None:
    """So two folders of one name are never taken for the same model."""
    before = open_checkpoint(published, MODEL_TYPES).record.revision
    assert before.startswith("sha256:")
    (published / "generation_config.json").write_text("{}")
    assert before != open_checkpoint(published, MODEL_TYPES).record.revision


def test_a_changed_lost_or_added_file_is_noticed(published: Path) -> None:
    """Between opening and splitting as well as a year later."""
    record = open_checkpoint(published, MODEL_TYPES).record
    verify(published, record)
    (published / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointChanged, match=r"tokenizer\.json was not there"):
        verify(published, record)
    (published / "tokenizer.json").unlink()
    weights = bytearray((published / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (published / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointChanged, match=r"model\.safetensors is not the file"):
        verify(published, record)
    (published / "model.safetensors").unlink()
    with pytest.raises(CheckpointChanged, match="is gone"):
        verify(published, record)
