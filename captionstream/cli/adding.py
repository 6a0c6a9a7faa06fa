"""A model is added by a process of the environment that has torch; this one shows how far it is."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from captionstream.local.installed import Installed, MissingPart

STEPS = {
    "download": "fetching the checkpoint",
    "split": "splitting it",
    "serving": "making the decoder",
    "prove": "comparing every token",
    "measure": "counting visual tokens",
}
FIX = "Run `make setup-models`."
END_WITHIN_S = 15.0
"""What a child may take to put its things away before it is killed; what it leaves then is swept up."""
LAST_LINES = 5


class Refused(Exception):
    """The model was not added. `kind` is the name of the error."""

    def __init__(self, why: str, kind: str) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True)
class Child:
    """What is run: `python` is of the environment that has torch, `source` where this copy's packages are."""

    python: Path
    source: Path

    @classmethod
    def here(cls) -> Child:
        """Raises MissingPart."""
        installed = Installed.here()
        python = installed.models_venv / "bin" / "python"
        if not python.is_file():
            raise MissingPart("torch and transformers, which split a model, are not here.", FIX)
        return cls(python, installed.source)

    def start(self, arguments: Sequence[str], errors: IO[str]) -> subprocess.Popen[str]:
        """In a session of its own: Ctrl-C is for us, who end it with more patience than a terminal.

        Nothing is imported from the folder that a person happens to be in.
        """
        path = os.pathsep.join(filter(None, [str(self.source), os.environ.get("PYTHONPATH", "")]))
        return subprocess.Popen(
            [str(self.python), "-P", "-m", "triton_models.vision_language.adding", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "HF_HUB_DISABLE_TELEMETRY": "1"},
        )


def run(child: Child, arguments: Sequence[str], console: Console) -> str:
    """The name of the model's folder. Raises Refused; whatever ends this ends the child too."""
    with tempfile.TemporaryFile("w+") as errors:
        process = child.start(arguments, errors)
        try:
            told = _followed(process, console)
        finally:
            _end(process)
        if "ready" in told:
            return str(told["ready"])
        if "refused" in told:
            raise Refused(str(told["refused"]), str(told["kind"]))
        raise Refused(f"it ended with status {process.returncode}:\n{_last(errors)}", "Ended")


def _followed(process: subprocess.Popen[str], console: Console) -> dict[str, object]:
    """Its last line."""
    told: dict[str, object] = {}
    with _bars(console) as bars:
        steps = Steps(bars)
        for line in process.stdout or ():
            told = json.loads(line)
            if "step" in told:
                steps.at(str(told["step"]), int(str(told["done"])), int(str(told["of"])))
        if "ready" in told:
            steps.done()
    process.wait()
    return told


class Steps:
    """A line for each step; one that begins ends the one before."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._name = ""
        self._task: TaskID | None = None

    def at(self, name: str, done: int, of: int) -> None:
        if name != self._name:
            self.done()
            self._name, self._task = name, self._bars.add_task(STEPS.get(name, name), total=of)
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=of)

    def done(self) -> None:
        if self._task is not None:
            total = self._bars.tasks[self._task].total
            self._bars.update(self._task, completed=total or 0)


def _bars(console: Console) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console)


def _end(process: subprocess.Popen[str]) -> None:
    """Nothing of it runs afterwards."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _last(errors: IO[str]) -> str:
    errors.seek(0)
    return "\n".join(errors.read().splitlines()[-LAST_LINES:])
