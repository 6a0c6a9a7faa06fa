"""Two encodings are comparable exactly when their fingerprints are equal."""

from __future__ import annotations

import pytest

from captionstream.contracts.values import ModelReference
from services.encoder import fingerprint as module
from services.encoder.fingerprint import fingerprint, served_models
from triton_models.repository import Manifest, load_manifest

TAGGER = ModelReference(name="vision_encoder", version="1", digest="a" * 64)
READER = ModelReference(name="text_reader", version="3.10.0", digest="b" * 64)


def test_the_order_of_the_models_does_not_matter() -> None:
    """They are told in any order."""
    assert fingerprint([TAGGER, READER]) == fingerprint([READER, TAGGER])


@pytest.mark.parametrize("change", [{"digest": "c" * 64}, {"version": "2"}, {"name": "other"}])
def test_another_model_has_another_fingerprint(change: dict[str, str]) -> None:
    """Another file, another version, another name."""
    changed = TAGGER.model_copy(update=change)
    assert fingerprint([TAGGER, READER]).digest != fingerprint([changed, READER]).digest


def test_another_preparation_has_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same models see something else."""
    before = fingerprint([TAGGER])
    monkeypatch.setattr(module, "PREPARATION", "another")
    assert before.digest != fingerprint([TAGGER]).digest


def test_what_does_not_look_at_images_is_not_part_of_it() -> None:
    """The vocabulary lies in the same manifest."""
    manifest = load_manifest()
    assert "vocabulary" in {file.name for file in manifest.files}
    assert "vocabulary" not in {model.name for model in served_models(manifest)}


def test_one_changed_file_of_the_reader_is_another_reader() -> None:
    """It has several files and one digest."""
    manifest = load_manifest()
    first, *rest = manifest.packaged
    changed = Manifest(files=manifest.files, packaged=(first.model_copy(update={"sha256": "0" * 64}), *rest))
    assert fingerprint(served_models(manifest)).digest != fingerprint(served_models(changed)).digest
