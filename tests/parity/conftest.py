"""A tiny checkpoint of each class, and its halves, made once for all tests that ask for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

CLASSES = ("smolvlm", "idefics3", "llava_onevision", "qwen2_5_vl")
Folders = Callable[[str], Path]


@pytest.fixture(scope="session", autouse=True)
def quiet() -> None:
    """One thread, no progress bars: the models are tiny and the machine is shared."""
    try:
        import torch
        import transformers
    except ImportError:  # the tests without torch
        return
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of the tiny checkpoint of that name."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def made(name: str) -> Path:
        from triton_models.vision_language import tiny

        return folder / name if (folder / name).exists() else tiny.write(name, folder / name)

    return made


@pytest.fixture(scope="session")
def halves_of(checkpoint_of: Folders, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder with both halves of that tiny checkpoint."""
    folder = tmp_path_factory.mktemp("halves")

    def made(name: str) -> Path:
        from triton_models.vision_language import halves
        from triton_models.vision_language.checkpoint import open_checkpoint
        from triton_models.vision_language.classes import MODEL_TYPES

        if not (folder / name).exists():
            halves.write(open_checkpoint(checkpoint_of(name), MODEL_TYPES), folder / name)
        return folder / name

    return made


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """What a download leaves behind, as far as it is looked at before anything is loaded."""
    folder = tmp_path / "some-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "smolvlm", "architectures": ["SmolVLM"]}')
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    weights: dict[str, np.ndarray[Any, Any]] = {"lm_head.weight": np.zeros((2, 3), np.float32)}
    save_file(weights, folder / "model.safetensors")
    return folder
