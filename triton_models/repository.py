"""The models tritonserver serves: which they are, whether their files are unchanged, their repository.

`render` writes a complete model repository for one backend. Tensor names, types and shapes are the same on
all three, so a client does not know which one answers:

| model | input | outputs |
|---|---|---|
| vision_encoder | images uint8 [N,260,260,3] | class_logits [N,1000], embedding [N,1280], grid [N,9,9,1280] |
| object_detector | images uint8 [N,416,416,3] | boxes [N,3549,4] · scores [N,3549,80] |
| text_reader | images uint8 [1,H,W,3] | texts bytes [L] · scores [L] · boxes [L,4,2] |
| content_screen | images uint8 [N,224,224,3] | score [N,1] |
| vlm_<digest> | as the split model's class has it | visual_tokens [n,width] |

`render` writes the first four. A split vision-language model is rendered one at a time by `render_split`, from a folder
of its own: models come and go while a server runs. One request is one picture there, for its arrays belong together.

Pictures are RGB; numbers that come out are fp32. The detector's boxes are x0, y0, x1, y1 from 0 to 1 of its
input and not yet suppressed; the reader's are pixels of its input, clockwise from the top left of the text.

What a client does to a picture before it sends it: for the encoder, squash or letter-box it to 260 (area
averaging); for the detector, squash it to 416; for the reader, at most 1,280 pixels a side. The screen was
trained on JPEG files and its scores shift by up to 0.12 without this: squash to 256 by Pillow's BILINEAR,
encode as JPEG at quality 75 and decode, take the middle 224.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from triton_models.vision_language.halves import FACTS, Halves
from triton_models.vision_language.split import OUTPUT, Split

Backend = Literal["python", "onnxruntime", "tensorrt"]

ROOT = Path(__file__).parent
QUEUE_DELAY_US = 500
"""How long a GPU waits for more pictures before it starts a smaller batch."""


@dataclass(frozen=True)
class Tensor:
    """One input or output; `dims` without the batch where the model has one, -1 for a free dimension."""

    name: str
    datatype: Literal["UINT8", "INT64", "FP32", "BOOL", "STRING"]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class ServedModel:
    """One model by its tensors. `max_batch` 0 means that `dims` are whole and batching is not offered."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int
    only_python: bool = False


def _pixels(size: int) -> tuple[Tensor]:
    return (Tensor("images", "UINT8", (size, size, 3)),)


MODELS = (
    ServedModel(
        "vision_encoder",
        _pixels(260),
        (
            Tensor("class_logits", "FP32", (1000,)),
            Tensor("embedding", "FP32", (1280,)),
            Tensor("grid", "FP32", (9, 9, 1280)),
        ),
        max_batch=32,
    ),
    ServedModel(
        "object_detector",
        _pixels(416),
        (Tensor("boxes", "FP32", (3549, 4)), Tensor("scores", "FP32", (3549, 80))),
        max_batch=8,
    ),
    ServedModel(
        "text_reader",
        (Tensor("images", "UINT8", (1, -1, -1, 3)),),
        (
            Tensor("texts", "STRING", (-1,)),
            Tensor("scores", "FP32", (-1,)),
            Tensor("boxes", "FP32", (-1, 4, 2)),
        ),
        max_batch=0,
        only_python=True,
    ),
    ServedModel("content_screen", _pixels(224), (Tensor("score", "FP32", (1,)),), max_batch=8),
)


# ---------------------------------------------------------------- what is recorded


class Source(BaseModel):
    """The published package a file was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    package: str
    version: str
    registry: Literal["pypi", "npm", "debian"]


class ModelFile(BaseModel):
    """One committed file: what it is, its digest, under which licence, and how it is made again."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: str
    file: str
    """Relative to the folder of the manifest, with forward slashes."""
    sha256: str
    size: int
    licence: str
    sources: tuple[Source, ...]
    recipe: str


class PackagedFile(BaseModel):
    """A file that is not committed but installed with a package."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    source: Source
    file: str
    sha256: str
    licence: str


class Manifest(BaseModel):
    """All files of all models."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    files: tuple[ModelFile, ...]
    packaged: tuple[PackagedFile, ...] = ()


class ModelFileChanged(Exception):
    """A file is missing or is not the recorded one. Restore it from the repository, or export and record
    anew.
    """

    def __init__(self, file: Path, expected: str, found: str) -> None:
        super().__init__(f"{file}: expected sha256 {expected}, found {found}")
        self.file, self.expected, self.found = file, expected, found


def load_manifest(root: Path = ROOT) -> Manifest:
    return Manifest.model_validate_json((root / "manifest.json").read_bytes())


def verify(root: Path = ROOT) -> list[ModelFile]:
    """The recorded files, each read and found unchanged. Raises `ModelFileChanged` for the first that is
    not.
    """
    files = load_manifest(root).files
    for recorded in files:
        found = digest(root / recorded.file)
        if found != recorded.sha256:
            raise ModelFileChanged(root / recorded.file, recorded.sha256, found)
    return list(files)


def digest(file: Path) -> str:
    """Its sha256 in hexadecimal digits, or "no file"."""
    if not file.is_file():
        return "no file"
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def model_path(name: str, root: Path = ROOT) -> Path:
    """The ONNX file of a model, for those who run it in their own process. Raises KeyError without one."""
    known = {model.name for model in MODELS if not model.only_python}
    if name not in known:
        raise KeyError(f"no ONNX model {name!r}; there are {sorted(known)}")
    return root / name / "1" / "model.onnx"


# ---------------------------------------------------------------- the repository on disk


def render(root: Path, target: Path, backend: Backend, instances: int) -> Path:
    """Writes a complete model repository into `target` and returns it; models already there are replaced.

    `instances` is the number of sessions of each model. The reader stays on the python backend. For TensorRT
    each model's folder also holds the graph its plan is built from, see `engine_command`.
    Raises `ModelFileChanged` before anything is written.
    """
    if instances < 1:
        raise ValueError(f"instances must be at least 1, not {instances}")
    verify(root)
    for model in MODELS:
        served: Backend = "python" if model.only_python else backend
        _write(target, model, served, instances, served_files(root, model, served))
    return target


def _write(target: Path, model: ServedModel, backend: Backend, instances: int, files: Iterable[Path]) -> Path:
    """Replaces the model's folder. What a first request needs besides zeros lies in `warmup`."""
    folder = target / model.name
    _clear(folder)
    (folder / "1").mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / "1" / file.name)
    for tensor in model.inputs:
        if backend != "python" and tensor.datatype == "BOOL":
            (folder / "warmup").mkdir(exist_ok=True)
            (folder / "warmup" / tensor.name).write_bytes(b"\1" * math.prod(map(abs, tensor.dims)))
    (folder / "config.pbtxt").write_text(config(model, backend, instances))
    return folder


def _clear(folder: Path) -> None:
    """A link is taken away and what it leads to stays. Raises OSError where something cannot go."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)


def served_files(root: Path, model: ServedModel, backend: Backend) -> list[Path]:
    """What stands in the version folder of a model."""
    version = root / model.name / "1"
    if model.only_python:
        return [version / "model.py"]
    if backend == "python":
        return [version / "model.py", version / "model.onnx", root / "onnx_session.py"]
    return [version / "model.onnx"]


# ---------------------------------------------------------------- split models

_DATATYPES: Mapping[str, Literal["UINT8", "INT64", "FP32", "BOOL"]] = {
    "uint8": "UINT8", "int64": "INT64", "float32": "FP32", "bool": "BOOL",
}  # fmt: skip


def split_model(name: str, split: Split) -> ServedModel:
    """A split model's eye by its tensors. Free dimensions of one name are one length, which Triton cannot say."""
    inputs = tuple(
        Tensor(
            given.name, _DATATYPES[given.datatype], tuple(-1 if isinstance(d, str) else d for d in given.dims)
        )
        for given in split.tensors
    )
    return ServedModel(name, inputs, (Tensor(OUTPUT, "FP32", (-1, split.width)),), max_batch=0)


def render_split(halves: Path, name: str, target: Path, backend: Backend, instances: int = 1) -> Path:
    """Writes one model, called `name`, of the folder `halves` into the repository `target`; returns its folder.

    For TensorRT the folder holds the graph its plan is built from: `vision_language.graph.plan_command`.
    Raises `ModelFileChanged` before anything is written.
    """
    if instances < 1:
        raise ValueError(f"instances must be at least 1, not {instances}")
    told = read_halves(halves)
    files = [halves / file.name for file in told.files if file.name.startswith("vision/")]
    graphs = [file for file in files if file.suffix != ".json"]
    if backend == "python":
        graphs += [ROOT / "split_vision" / "1" / "model.py", ROOT / "onnx_session.py"]
    return _write(target, split_model(name, told.split), backend, instances, graphs)


def read_halves(folder: Path) -> Halves:
    """What is recorded, its vision half read and found unchanged. Raises `ModelFileChanged`."""
    try:
        told = Halves.model_validate_json((folder / FACTS).read_bytes())
    except (OSError, ValidationError) as broken:
        raise ModelFileChanged(folder / FACTS, "its facts", type(broken).__name__) from broken
    for file in told.files:
        if file.name.startswith("vision/") and (found := digest(folder / file.name)) != file.sha256:
            raise ModelFileChanged(folder / file.name, file.sha256, found)
    return told


def engine_command(model: ServedModel, version_folder: Path) -> list[str]:
    """The call of NVIDIA's `trtexec` that builds `model.plan` beside `model.onnx`, on the GPU that will
    serve it.
    """

    (images,) = model.inputs

    def shape(batch: int) -> str:
        return f"{images.name}:" + "x".join(str(d) for d in (batch, *images.dims))

    return [
        "trtexec",
        f"--onnx={version_folder / 'model.onnx'}",
        f"--saveEngine={version_folder / 'model.plan'}",
        "--fp16",
        f"--minShapes={shape(1)}",
        f"--optShapes={shape(min(8, model.max_batch))}",
        f"--maxShapes={shape(model.max_batch)}",
    ]


def config(model: ServedModel, backend: Backend, instances: int) -> str:
    """The text of `config.pbtxt`."""
    parts = [
        f'name: "{model.name}"',
        f'backend: "{backend}"',
        f"max_batch_size: {model.max_batch}",
        *(f"input [{_tensor(given)}]" for given in model.inputs),
        *(f"output [{_tensor(output)}]" for output in model.outputs),
        f"instance_group [{{ kind: {_kind(backend)} count: {instances} }}]",
    ]
    if backend != "python" and model.max_batch:
        parts.append(f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_US} }}")
    if backend != "python":
        parts.append(_warmup(model))
    if backend == "onnxruntime":
        parts += [_parameter(f"{kind}_op_thread_count", "1") for kind in ("intra", "inter")]
    if backend == "tensorrt":
        parts.append('default_model_filename: "model.plan"')
    return "\n".join(parts) + "\n"


def _kind(backend: Backend) -> str:
    return "KIND_GPU" if backend == "tensorrt" else "KIND_CPU"


def _tensor(tensor: Tensor) -> str:
    return f'{{ name: "{tensor.name}" data_type: TYPE_{tensor.datatype} dims: {list(tensor.dims)} }}'


def _warmup(model: ServedModel) -> str:
    """A first request of zeros, so that no caller pays for the engine's lazy set-up (python models do it
    themselves). Free dimensions are 1; what says that something is there says yes, for nothing at all is no number.
    """
    inputs = " ".join(f'inputs {{ key: "{t.name}" value {{ {_warm_value(t)} }} }}' for t in model.inputs)
    return f'model_warmup [{{ name: "zeros" batch_size: 1 {inputs} }}]'


def _warm_value(tensor: Tensor) -> str:
    filled = f'input_data_file: "{tensor.name}"' if tensor.datatype == "BOOL" else "zero_data: true"
    return f"data_type: TYPE_{tensor.datatype} dims: {[abs(length) for length in tensor.dims]} {filled}"


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
