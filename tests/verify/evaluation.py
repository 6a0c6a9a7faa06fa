"""`evaluation`: both sets, as a user evaluates them. A set that is done is not captioned again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captionstream.evaluation.measures import figures
from captionstream.evaluation.references import BUNDLED, Half, half_of
from captionstream.evaluation.run import Run
from captionstream.local.installed import Installed

HALVES = (Half.TUNE, Half.HELD_OUT)


class EvaluationFailed(Exception):
    """The command ended with an error of its own, not with figures."""


def verify_evaluation(folder: Path, limit: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """By half, then by set, the figures of the command. `limit` 0 is every picture. Raises EvaluationFailed."""
    for name in BUNDLED:
        evaluate(folder, name, limit, tell)
    whole = {name: json.loads((folder / f"{name}.json").read_text())[name] for name in BUNDLED}
    return {"all": whole, **{half.value: of_half(folder, half) for half in HALVES}}


def evaluate(folder: Path, name: str, limit: int, tell: Callable[[str], None]) -> None:
    """Call the command; what it prints and the judgements that it saves lie in `folder` only when it succeeded."""
    printed = folder / f"{name}.json"
    if printed.exists():
        return
    told = ["eval", name, "--half", "all", *(["--limit", str(limit)] if limit else []), "-o", "json"]
    tell(f"· captionstream {' '.join(told)}")
    command = [
        str(Installed.here().venv / "bin" / "captionstream"),
        *told,
        "--save",
        str(saved(folder, name)),
    ]
    over = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if over.returncode:
        raise EvaluationFailed(f"`captionstream {' '.join(told)}` ended with {over.returncode}; see above.")
    printed.write_text(over.stdout)


def saved(folder: Path, name: str) -> Path:
    return folder / f"{name}.judgements.json"


def of_half(folder: Path, half: Half) -> dict[str, Any]:
    """The product's own figures over the judgements of one half: the same captions, so no second pass."""
    runs = {name: Run.read(saved(folder, name)).sets[name] for name in BUNDLED}
    return {name: figures([one for one in run if half_of(one.file) is half]) for name, run in runs.items()}
