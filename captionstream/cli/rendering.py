"""A split model in the repository of a Triton that is not the local stack's, and what is left to do there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from triton_models.registry import RegistryError, SplitModel
from triton_models.repository import render_split
from triton_models.vision_language.graph import plan_command


class Backend(StrEnum):
    PYTHON = "python"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


class NoRepository(RegistryError):
    """The target is where split models are kept, which takes nothing else."""


def rendered(model: SplitModel, target: Path, backend: Backend, instances: int) -> Path:
    """Reads the model's files again and writes its folder into `target`; returns the folder.

    Raises NoRepository, ModelChanged, ModelFileChanged (it was changed meanwhile) or OSError.
    """
    registry = model.folder.parent
    if target.resolve().is_relative_to(registry.resolve()):
        raise NoRepository(
            f"{target} is in {registry}, where split models are kept; name a folder of Triton's"
        )
    model.check()
    return render_split(model.folder, model.triton_name, target, backend.value, instances)


def unverified(backend: Backend) -> str | None:
    """What was not tried with this back end; None where it was."""
    if backend is Backend.PYTHON:
        return None
    tried = "its configuration was tested, no server has loaded it here"
    if backend is Backend.TENSORRT:
        tried += ", and the call below was written to trtexec's published interface and never run"
    return f"unverified: {tried}"


def left_to_do(model: SplitModel, folder: Path, backend: Backend) -> Iterator[tuple[str, str]]:
    """What comes next, in order: its name, and what it is."""
    if backend is Backend.PYTHON:
        yield "needs", "numpy and onnxruntime in the Python of Triton's Python back end"
    if backend is Backend.TENSORRT:
        yield "build", f"the plan, on the GPU that will serve it:\n{plan_call(model, folder)}"
    yield (
        "serve",
        f"tritonserver --model-repository={folder.parent.absolute()} --model-control-mode=explicit --load-model=*"
        " --exit-on-error=false, and a second --model-repository with the other models",
    )
    yield "load", f"POST /v2/repository/models/{folder.name}/load (control mode explicit), else a restart"
    yield "then", f"captionstream models promote {model.folder.name}"


def plan_call(model: SplitModel, folder: Path) -> str:
    """For a shell where the rendered folder lies under this path."""
    return shlex.join(plan_command(model.halves.split, folder / "1" / "model.onnx"))
