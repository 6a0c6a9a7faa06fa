"""One real stack for all tests that need the whole: Kafka, tritonserver, the language model and the four services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from captionstream.local.installed import Installed
from captionstream.local.state import read_state


@dataclass(frozen=True)
class Stack:
    """A stack that `captionstream up --detach` started."""

    directory: Path

    @property
    def kafka(self) -> str:
        state = read_state(self.directory)
        assert state is not None
        return f"127.0.0.1:{state.part('kafka').port}"

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """One call of the command, as a user makes it."""
        return subprocess.run(
            [sys.executable, "-m", "captionstream", *arguments],
            env={**os.environ, "CAPTIONSTREAM_DIRECTORY": str(self.directory)},
            input=given, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def lines(self, *arguments: str) -> list[dict[str, object]]:
        """The JSON lines that a call prints; it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(tmp_path_factory.mktemp("stack"))
    up = started.run("up", "--detach")
    assert up.returncode == 0, up.stderr
    yield started
    down = started.run("down")
    assert down.returncode == 0, down.stderr


@pytest.fixture(scope="session")
def photographs() -> Path:
    return Installed.here().photographs
