"""Folders that a run needs for a while, and processes that answer JSON lines; both end with their block."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

PREFIX = "captionstream-bench-"


@contextmanager
def workplace() -> Iterator[Path]:
    """A new folder, removed at the end. What a killed run left behind goes first."""
    sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as work:
        yield Path(work)


def sweep(folder: Path) -> None:
    """Removes workplaces of processes that are gone. The name of one has its process in it."""
    for left in folder.glob(f"{PREFIX}*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


class Answering:
    """A process that says a line when it is ready and answers each line with one. It ends when its input does."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True
        )  # fmt: skip
        self._name = " ".join(command[1:3])

    def tell(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def reply(self) -> dict[str, Any]:
        """Raises ChildProcessError when the process ends instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{self._name} ended with status {self._process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def ask(self, **what: Any) -> dict[str, Any]:
        self.tell(**what)
        return self.reply()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
