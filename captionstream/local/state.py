"""What a supervisor tells others about its stack: one small JSON file, and a lock that says it lives."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any


class Condition(StrEnum):
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class PartState:
    role: str
    slot: int
    name: str
    pid: int | None
    port: int
    state: Condition
    since: str
    """When this state began: ISO 8601, UTC."""
    restarts: int


@dataclass(frozen=True)
class StackState:
    supervisor_pid: int
    since: str
    parts: tuple[PartState, ...]

    def part(self, role: str, slot: int = 0) -> PartState:
        """Raises `KeyError` when the stack has no such part."""
        for part in self.parts:
            if (part.role, part.slot) == (role, slot):
                return part
        raise KeyError(f"{role}-{slot}")


class AlreadyRunning(Exception):
    """Another supervisor runs a stack in this folder."""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_state(directory: Path, state: StackState) -> None:
    """Replace state.json in one step: a reader sees the old or the new one, never a half."""
    partial = directory / "state.json.partial"
    partial.write_text(json.dumps(dataclasses.asdict(state), indent=1) + "\n")
    os.replace(partial, directory / "state.json")


def read_state(directory: Path) -> StackState | None:
    """The last state a supervisor wrote in `directory`; None when there is none.

    It outlives the supervisor: whether that one still runs is what `is_running` says.
    """
    try:
        told = json.loads((directory / "state.json").read_text())
    except FileNotFoundError:
        return None
    parts = tuple(_part_state(row) for row in told["parts"])
    return StackState(told["supervisor_pid"], told["since"], parts)


def _part_state(row: dict[str, Any]) -> PartState:
    return PartState(**{**row, "state": Condition(row["state"])})


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the folder for one supervisor. Raises `AlreadyRunning`. The kernel frees it with the process."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "supervisor.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(
                f"A stack already runs in {directory}. Run `captionstream down` first."
            ) from error
        yield


def is_running(directory: Path) -> bool:
    """Whether a supervisor holds the folder."""
    if not (directory / "supervisor.lock").exists():
        return False
    try:
        with held(directory):
            return False
    except AlreadyRunning:
        return True


def stop_running(directory: Path, timeout_s: float = 60.0) -> bool:
    """Ask the supervisor of `directory` to stop its stack, and wait until it is gone.

    Returns False when none runs. Raises `TimeoutError` when it does not end in time.
    """
    state = read_state(directory)
    if state is None or not is_running(directory):
        return False
    os.kill(state.supervisor_pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while is_running(directory):
        if time.monotonic() > deadline:
            raise TimeoutError(f"The supervisor (process {state.supervisor_pid}) did not end.")
        time.sleep(0.1)
    return True
