"""A published vision-language model in a local folder, opened without running anything that came with it.

CheckpointRefused        base: `folder` and what to do about it
├── NotACheckpoint       no configuration, or no weights
├── UnknownClass         no way to split this class is known
├── PickledWeights       weights in a format that runs code when it is read
├── RemoteCode           Python files, or a configuration that names code of its own
├── BrokenWeights        a safetensors file that is none, or an index that does not fit its files
├── NoLicence            the model card names no licence
└── CheckpointChanged    a file is not the recorded one
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open

PICKLED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".npy", ".npz"}
CODE = {".py", ".pyc", ".so"}
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


class CheckpointRefused(Exception):
    """Nothing of the folder was used."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder}: {why}")
        self.folder = folder


class NotACheckpoint(CheckpointRefused):
    pass


class UnknownClass(CheckpointRefused):
    pass


class PickledWeights(CheckpointRefused):
    pass


class RemoteCode(CheckpointRefused):
    pass


class BrokenWeights(CheckpointRefused):
    pass


class NoLicence(CheckpointRefused):
    pass


class CheckpointChanged(CheckpointRefused):
    pass


class CheckpointFile(BaseModel):
    """One file. `name` is relative to the folder, with forward slashes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    size: int
    sha256: str


class CheckpointRecord(BaseModel):
    """What was opened. `revision` is the commit where the folder tells it, else the digest of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    architecture: str
    model_type: str
    licence: str
    revision: str
    files: tuple[CheckpointFile, ...]


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    record: CheckpointRecord


def open_checkpoint(folder: Path, model_types: frozenset[str]) -> Checkpoint:
    """The checkpoint in `folder`, if it is one of `model_types`. Raises CheckpointRefused before it is loaded."""
    config = _configuration(folder)
    model_type = str(config.get("model_type"))
    if model_type not in model_types:
        known = ", ".join(sorted(model_types))
        raise UnknownClass(folder, f"models of type {model_type!r} cannot be split; {known} can")
    names = names_in(folder)
    _refuse_pickles(folder, names)
    _refuse_code(folder, names)
    _check_weights(folder, names)
    files = tuple(recorded(folder, name) for name in names)
    architecture = str(next(iter(config.get("architectures") or []), model_type))
    record = CheckpointRecord(
        architecture=architecture,
        model_type=model_type,
        licence=_licence(folder),
        revision=_revision(folder, files),
        files=files,
    )
    return Checkpoint(folder, record)


def verify(folder: Path, record: CheckpointRecord) -> None:
    """Every file is there and unchanged, and there is none beside them. Raises CheckpointChanged."""
    for expected in record.files:
        if not (folder / expected.name).is_file():
            raise CheckpointChanged(folder, f"{expected.name} is gone")
        if recorded(folder, expected.name) != expected:
            raise CheckpointChanged(folder, f"{expected.name} is not the file that was recorded")
    added = set(names_in(folder)) - {file.name for file in record.files}
    if added:
        raise CheckpointChanged(folder, f"{min(added)} was not there when it was recorded")


def names_in(folder: Path) -> list[str]:
    """Every file below the folder, hidden ones apart: a download keeps its own records in them."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def recorded(folder: Path, name: str) -> CheckpointFile:
    """A file as it is now."""
    with (folder / name).open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return CheckpointFile(name=name, size=(folder / name).stat().st_size, sha256=digest)


def _configuration(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise NotACheckpoint(folder, "there is no config.json; name the folder of a downloaded model")
    config = _json(folder, file.name)
    if not isinstance(config, dict):
        raise NotACheckpoint(folder, "config.json is no object")
    return config


def _refuse_pickles(folder: Path, names: list[str]) -> None:
    pickled = [name for name in names if Path(name).suffix.lower() in PICKLED]
    if pickled:
        why = "may run code when it is read; only safetensors are. Remove it, or take a revision without it"
        raise PickledWeights(folder, f"{pickled[0]} {why}")


def _refuse_code(folder: Path, names: list[str]) -> None:
    for name in names:
        if Path(name).suffix.lower() in CODE:
            raise RemoteCode(folder, f"{name} is code; a model that needs code of its own is not taken")
        if name.endswith(".json") and not name.endswith(INDEX) and _names_code(_json(folder, name)):
            raise RemoteCode(folder, f"{name} names code of its own (auto_map)")


def _names_code(value: Any) -> bool:
    if isinstance(value, dict):
        return "auto_map" in value or any(_names_code(inner) for inner in value.values())
    return isinstance(value, list) and any(_names_code(inner) for inner in value)


def _check_weights(folder: Path, names: list[str]) -> None:
    """The header of each file fits its length, and what the index names is in its file."""
    held = {name: _tensor_names(folder, name) for name in names if name.endswith(".safetensors")}
    if WEIGHTS not in names and INDEX not in names:
        raise NotACheckpoint(folder, f"there are no weights as safetensors: neither {WEIGHTS} nor {INDEX}")
    if INDEX not in names:
        return
    index = _json(folder, INDEX).get("weight_map", {})
    for tensor, file in index.items():
        if tensor not in held.get(file, ()):
            raise BrokenWeights(folder, f"{INDEX} names {tensor} in {file}, where it is not")


def _tensor_names(folder: Path, name: str) -> frozenset[str]:
    try:
        with safe_open(folder / name, framework="numpy") as opened:
            return frozenset(opened.keys())
    except SafetensorError as broken:
        raise BrokenWeights(folder, f"{name} is no safetensors file: {broken}") from broken


def _licence(folder: Path) -> str:
    """As the model card's head names it; `other` comes with a name or a link of its own."""
    card = _card(folder)
    licence = card.get("license")
    if licence == "other":
        licence = card.get("license_name") or card.get("license_link")
    if not isinstance(licence, str) or not licence.strip():
        raise NoLicence(
            folder, "README.md names no licence (`license:` in its head); add what you were given"
        )
    return licence.strip()


def _card(folder: Path) -> dict[str, Any]:
    file = folder / "README.md"
    text = file.read_text("utf-8", "replace") if file.is_file() else ""
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        told = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return {}
    return told if isinstance(told, dict) else {}


def _revision(folder: Path, files: tuple[CheckpointFile, ...]) -> str:
    """The commit, as a hub's cache (`snapshots/<commit>`) or a download's own record tells it."""
    note = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    told = note.read_text().split("\n", 1)[0].strip() if note.is_file() else folder.resolve().name
    if re.fullmatch(r"[0-9a-f]{40}", told):
        return told
    return "sha256:" + hashlib.sha256("".join(f.name + f.sha256 for f in files).encode()).hexdigest()


def _json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_bytes())
    except ValueError as broken:
        raise NotACheckpoint(folder, f"{name} is no JSON") from broken
