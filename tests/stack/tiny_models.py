"""Tiny split models, ready to serve: made once by the Python that has torch, used by tests that have none.

They lie in a registry of their own, beside what `make setup` installs, under a digest of the code that made them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from captionstream.contracts.identity import sha256_hex
from captionstream.local.installed import Installed
from triton_models.registry import SERVING, Registry, SplitModel, write_ready

SEEDS = {
    "smolvlm": ("smolvlm", 0),
    "smolvlm-other": ("smolvlm", 1),
    "idefics3": ("idefics3", 0),
    "llava_onevision": ("llava_onevision", 0),
    "qwen2_5_vl": ("qwen2_5_vl", 0),
}
"""Class and seed of each model's random weights."""


def tiny_models(*names: str) -> list[SplitModel]:
    """Those models, made now if nobody made them before. Needs `make setup-models` the first time."""
    registry = Registry(_folder())
    if missing := set(names) - {model.name for model in registry.models()}:
        _make(sorted(missing))
    return [registry.named(name) for name in names]


def tiny_checkpoint(name: str) -> Path:
    """The whole checkpoint that a tiny model was split from."""
    tiny_models(name)
    return _folder() / "checkpoints" / name


def copied_registry(folder: Path, *names: str) -> Registry:
    """A registry of a test's own with those models in it, and no alias."""
    for model in tiny_models(*names):
        shutil.copytree(model.folder, folder / model.folder.name, copy_function=os.link)
    return Registry(folder)


def _folder() -> Path:
    installed = Installed.here()
    code = sorted((installed.source / "triton_models" / "vision_language").glob("*.py"))
    version = sha256_hex(b"".join(file.read_bytes() for file in code))[:12]
    return installed.home / "tiny-models" / version


def _make(names: list[str]) -> None:
    installed = Installed.here()
    python = installed.models_venv / "bin" / "python"
    command = [str(python), "-m", "tests.stack.tiny_models", str(_folder()), *names]
    done = subprocess.run(command, cwd=installed.source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def main(folder: Path, names: list[str]) -> None:
    """One process at a time; who comes second finds the work done."""
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        registry = Registry(folder)
        for name in set(names) - {model.name for model in registry.models()}:
            _write(registry, name)


def _write(registry: Registry, name: str) -> None:
    from triton_models.vision_language import decoder_graph, halves, tiny
    from triton_models.vision_language.checkpoint import open_checkpoint
    from triton_models.vision_language.classes import MODEL_TYPES

    kind, seed = SEEDS[name]
    source = tiny.write(kind, registry.folder / "checkpoints" / name, seed)
    with registry.workplace() as work:
        made = work / "model"
        halves.write(open_checkpoint(source, MODEL_TYPES), made)
        with suppress(decoder_graph.NotServable):  # a class that the reference engine writes for
            decoder_graph.write(made / "language", made / SERVING, "fp32")
        registry.publish(made, write_ready(made, name, "random weights for tests"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
