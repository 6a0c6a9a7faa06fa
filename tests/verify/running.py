"""A stack as a user starts it, in a folder of its own, stopped however the step ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from captionstream.local.state import PartState, StackState, read_state, stop_running

START_S = 240.0
TRIES = 3  # ports are chosen, then bound: another program may be quicker


class NotStarted(Exception):
    """`captionstream up` failed; the text is what it said."""


@dataclass(frozen=True)
class RunningStack:
    """Kafka, Triton, the language model and the services, each in processes of its own."""

    directory: Path

    @property
    def state(self) -> StackState:
        state = read_state(self.directory)
        assert state is not None
        return state

    @property
    def parts(self) -> tuple[PartState, ...]:
        return self.state.parts

    @property
    def kafka(self) -> str:
        return f"127.0.0.1:{self.state.part('kafka').port}"

    @property
    def objects(self) -> Path:
        """Where the plain object keys of events lie."""
        return self.directory / "objects"


@contextmanager
def running(directory: Path, env: Mapping[str, str] | None = None) -> Iterator[RunningStack]:
    """The whole real stack; one that a killed run left in the folder is stopped first. Raises NotStarted."""
    stop_running(directory)
    try:
        start_at_last(directory, {**os.environ, **(env or {})})
        yield RunningStack(directory)
    finally:
        stop_running(directory)


def start_at_last(directory: Path, env: Mapping[str, str]) -> None:
    for left in reversed(range(TRIES)):
        try:
            return start(directory, env)
        except NotStarted:
            if not left:
                raise


def start(directory: Path, env: Mapping[str, str]) -> None:
    """In a session of its own: a Ctrl-C is for this process, which then waits until it can stop the stack."""
    command = [sys.executable, "-m", "captionstream", "up", "--detach", "-C", str(directory)]
    up = subprocess.Popen(command, env=dict(env), stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, told = up.communicate(timeout=START_S)
    except BaseException:
        up.wait(START_S)
        raise
    if up.returncode:
        raise NotStarted(told)
