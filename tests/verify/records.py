"""What a step found, and on what: one JSON file a step; and the folder of a step that is under way.

A step is done when its file names the present commit and the same options. A step that was broken off left its
folder, whose `about.json` says of which commit and options it is; another one's folder is not gone on with.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from captionstream.local.installed import Installed
from captionstream.local.kafka import VERSION as KAFKA

PACKAGES = ("aiokafka", "pillow", "onnxruntime", "tritonclient", "rapidocr", "numpy")
PRODUCT = ("captionstream", "services", "triton_models", "requirements", "tests/verify", "tests/corpora")

Options = Mapping[str, float]
Result = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """A finished step. `options` are what it was asked to do, `took_s` the time over all its sessions."""

    step: str
    options: Options
    commit: str
    changed: bool
    date: str
    took_s: float
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    result: Result


@dataclass(frozen=True)
class Records:
    """All steps' records and folders below `home`."""

    home: Path
    commit: str
    any_commit: bool = False

    def read(self, step: str) -> Record | None:
        try:
            return Record(**json.loads(self._file(step).read_text()))
        except FileNotFoundError:
            return None

    def done(self, step: str, options: Options) -> Record | None:
        """Its record, if it is of this commit (or any will do) and these options."""
        record = self.read(step)
        return record if record is not None and self._fits(asdict(record), options) else None

    def folder(self, step: str, options: Options, again: bool = False) -> Path:
        """Where the step works: as it was left, if that is the same work; else empty."""
        folder = self.home / step
        if again or not self._fits(about(folder), options):
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "about.json").write_text(json.dumps({"commit": self.commit, "options": dict(options)}))
        return folder

    def write(self, step: str, options: Options, took_s: float, result: Result) -> Record:
        """The record of a step that is over; its samples and the stack's logs stay, what it worked with goes."""
        record = Record(
            step, dict(options), self.commit, has_changes(), datetime.now(UTC).isoformat(timespec="minutes"),
            round(took_s, 1), machine(), versions(), result,
        )  # fmt: skip
        partial = self._file(step).with_suffix(".partial")
        partial.write_text(json.dumps(asdict(record), indent=1) + "\n")
        partial.replace(self._file(step))
        keep_logs(self.home / step)
        return record

    def _fits(self, found: Mapping[str, Any], options: Options) -> bool:
        same = self.any_commit or found.get("commit") == self.commit
        return same and found.get("options") == dict(options)

    def _file(self, step: str) -> Path:
        return self.home / f"{step}.json"


def keep_logs(folder: Path) -> None:
    shutil.rmtree(folder / "logs", ignore_errors=True)
    if (folder / "stack" / "logs").is_dir():
        (folder / "stack" / "logs").rename(folder / "logs")
    shutil.rmtree(folder / "stack", ignore_errors=True)


def about(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "about.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def present_commit() -> str:
    return git("rev-parse", "HEAD").strip() or "unknown"


def has_changes() -> bool:
    """Whether what was run differs from its commit."""
    return bool(git("status", "--porcelain", "--", *PRODUCT).strip())


def git(*arguments: str) -> str:
    command = ["git", "-C", str(Installed.here().source), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def machine() -> dict[str, Any]:
    """What the figures depend on, and nothing that names the machine."""
    return {
        "cores": os.cpu_count(),
        "processor": processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "kafka": KAFKA, **found}
