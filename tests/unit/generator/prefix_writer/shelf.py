"""A registry on disk with the small split model in it, as `models add` would leave one; and tasks about a picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from services.generator.grammar import Node, one_of, sequence
from services.generator.prompt import Prompt
from services.generator.writer import Seen, Task
from tests.unit.generator.prefix import small_model
from triton_models.registry import Registry, SplitModel, write_ready
from triton_models.vision_language.checkpoint import CheckpointRecord, names_in, recorded
from triton_models.vision_language.halves import FACTS, FOLDERS, Halves
from triton_models.vision_language.visual_tokens import VisualTokens


def registered(registry: Registry, name: str = "small", *, servable: bool = True) -> SplitModel:
    """Models of two names differ in their digest. One that is not servable is left to the reference engine."""
    with registry.workplace() as work:
        made = work / "model"
        shutil.copytree(small_model.FOLDER / "language", made / "language")
        (made / "vision").mkdir()
        (made / "vision" / "model.onnx").write_bytes(b"not looked at here")
        if servable:
            shutil.copytree(small_model.FOLDER / "serving", made / "serving")
        (made / FACTS).write_text(_halves(made, name).model_dump_json(indent=1))
        return registry.publish(made, write_ready(made, name, "random weights for tests"))


def _halves(folder: Path, name: str) -> Halves:
    source = CheckpointRecord(
        architecture=name, model_type="smolvlm", licence="apache-2.0", revision="0" * 40, files=()
    )
    files = (recorded(folder, f"{half}/{file}") for half in FOLDERS for file in names_in(folder / half))
    split = small_model.small_model().split
    return Halves(split=split, source=source, files=tuple(files), made_with={})


def task_about(model: SplitModel, noun: str = "car", seed: int = 1) -> Task:
    """A choice of sentences, about a picture that this model has seen."""
    return Task(Prompt("Say it.", f"A {noun}."), choice(noun), seen=seen_by(model, seed))


def choice(noun: str) -> Node:
    return sequence("A ", one_of("", "red ", "blue "), noun, one_of("", " on grass"), ".")


def seen_by(model: SplitModel, seed: int = 1) -> Seen:
    return Seen(model.reference, small_model.seen(seed))


def of_width(width: int, count: int = 4) -> VisualTokens:
    return VisualTokens(np.ones((count, width), np.float32), (0, 0))
