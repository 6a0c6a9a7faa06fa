"""Both halves on disk, and what is known about them.

halves.json              how they fit together, where they come from, the digest of every file
vision/model.onnx        tower and connector, for Triton
vision/preprocessor_config.json
language/                a checkpoint of the language model alone, with tokenizer and chat template
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from triton_models.vision_language.checkpoint import (
    BrokenWeights,
    Checkpoint,
    CheckpointFile,
    CheckpointRecord,
    names_in,
    recorded,
    verify,
)
from triton_models.vision_language.classes import AnySplit, split_of

FACTS = "halves.json"
FOLDERS = ("language", "vision")
"""What belongs to the halves; what stands beside them is not theirs to record."""
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class HalvesChanged(Exception):
    """A file is gone, changed or added. Split the checkpoint again."""


class Halves(BaseModel):
    """`source` is the checkpoint that was split; `files` are those of the halves, `halves.json` apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    split: AnySplit
    source: CheckpointRecord
    files: tuple[CheckpointFile, ...]
    made_with: dict[str, str]


def graph_file(folder: Path) -> Path:
    return folder / "vision" / "model.onnx"


def write(checkpoint: Checkpoint, folder: Path, change: Callable[[Any], None] | None = None) -> Halves:
    """Splits a checkpoint into `folder`, which must not be there yet. Needs torch and transformers.

    `change` is done to the whole model before, to see whether a proof notices.
    """
    import torch
    import transformers

    from triton_models.vision_language import decoders, graph, towers

    verify(checkpoint.folder, checkpoint.record)
    model, processor = whole_model(checkpoint.folder), processor_of(checkpoint.folder)
    if change:
        change(model)
    split = split_of(model.config, processor)
    (folder / "vision").mkdir(parents=True)
    graph.write(towers.tower_of(split, model), split, graph_file(folder))
    decoders.decoder_of(model).save_pretrained(folder / "language")
    processor.tokenizer.chat_template = processor.chat_template
    processor.tokenizer.save_pretrained(folder / "language")
    made_with = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "opset": str(graph.OPSET),
    }
    halves = Halves(split=split, source=checkpoint.record, files=_files(folder), made_with=made_with)
    (folder / FACTS).write_text(halves.model_dump_json(indent=1))
    return halves


def whole_model(folder: Path) -> Any:
    """The whole model in fp32, as transformers loads it from a local folder.

    Raises BrokenWeights when a weight is missing: transformers itself would draw it at random and go on.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    model, loading = AutoModelForImageTextToText.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **_LOCAL
    )
    missing = sorted({*loading["missing_keys"], *loading["mismatched_keys"]}, key=str)
    if missing:
        raise BrokenWeights(folder, f"{len(missing)} weights are missing or of another shape: {missing[0]}")
    return model.eval()


def processor_of(folder: Path, images: Literal["pil", "torchvision"] = "pil") -> Any:
    """Its processor. `images` prepares the pictures; transformers itself takes torchvision where that is installed."""
    from transformers import AutoImageProcessor, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder, **_LOCAL)
    processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend=images, **_LOCAL)
    return processor


def open_halves(folder: Path) -> Halves:
    """Raises HalvesChanged unless every file is the one that was written."""
    if not (folder / FACTS).is_file():
        raise HalvesChanged(f"{folder}: no {FACTS}; the split was never finished")
    halves = Halves.model_validate_json((folder / FACTS).read_bytes())
    found = _files(folder)
    if found != halves.files:
        different = sorted({file.name for file in {*found} ^ {*halves.files}})
        raise HalvesChanged(f"{folder}: {', '.join(different)}")
    return halves


def _files(folder: Path) -> tuple[CheckpointFile, ...]:
    return tuple(recorded(folder, f"{half}/{name}") for half in FOLDERS for name in names_in(folder / half))
