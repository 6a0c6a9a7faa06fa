"""Looks whether a local stack can run on this machine. What is wrong comes with what to do about it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from captionstream.local import jars, models
from captionstream.local.installed import SETUP, Installed, MissingPart
from captionstream.local.kafka import java
from captionstream.local.language_model import model_file
from captionstream.local.ports import is_free
from captionstream.local.setup import is_up_to_date, product_step
from captionstream.local.stack import USUAL_PORTS
from captionstream.local.triton import libpython, server_folder

_MEMORY_MB = 2_000
_DISK_MB = 2_000
_SHARED_MEMORY_MB = 256


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `fix` is a sentence, empty when `ok`."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def checks(installed: Installed | None = None, ports: Mapping[str, int] = USUAL_PORTS) -> list[Check]:
    """Everything that can be looked at without starting anything, in the order of a start."""
    place = installed or Installed.here()
    found = {
        "Python": _python,
        "packages": lambda: _packages(place),
        "libpython": lambda: str(libpython()),
        "Java": lambda: str(java()),
        "Kafka": lambda: _jars(place),
        "tritonserver": lambda: str(server_folder(place.triton_venv)),
        "language model": lambda: str(model_file(place.language_model_venv)),
        "model files": lambda: f"{models.verify()} files are as recorded",
        "memory": _memory,
        "disk": lambda: _space("free disk space", place.source, _DISK_MB, "Free some space."),
        "shared memory": _shared_memory,
        "ports": lambda: _ports(ports),
    }
    return [_check(name, look) for name, look in found.items()]


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except MissingPart as missing:
        return Check(name, False, missing.what, missing.fix)


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 11):
        raise MissingPart(f"This is Python {version}, not 3.11.", "Run `.venv/bin/captionstream`.")
    return version


def _packages(place: Installed) -> str:
    for name in ("runtime", "dev"):
        if is_up_to_date(product_step(place, name), place.stamps):
            return f"as in requirements/{name}.txt"
    raise MissingPart("The packages in .venv are not those of the lock file.", SETUP)


def _jars(place: Installed) -> str:
    locked = jars.locked(place.requirements / "jgo.lock.toml")
    if faults := jars.faults(locked, place.kafka_jars):
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise MissingPart(f"{faults[0]}{more}.", f"Remove {place.kafka_jars}, then run `make setup`.")
    return f"{len(locked)} jars are as locked"


def _memory() -> str:
    import psutil

    free = psutil.virtual_memory().available // 2**20
    return _enough("free memory", free, _MEMORY_MB, "Close something, or start with fewer parts.")


def _shared_memory() -> str:
    """Containers give 64 MB unless they are told: too little for images between encoder and Triton."""
    fix = "In a container: `docker run --shm-size=1g`."
    return _space("free in /dev/shm", Path("/dev/shm"), _SHARED_MEMORY_MB, fix)


def _space(what: str, folder: Path, needed_mb: int, fix: str) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MissingPart(f"{folder} cannot be written to ({error}).", fix) from error
    return _enough(what, shutil.disk_usage(folder).free // 2**20, needed_mb, fix)


def _enough(what: str, have_mb: int, needed_mb: int, fix: str) -> str:
    told = f"{have_mb:,} MB {what}; {needed_mb:,} MB are needed"
    if have_mb < needed_mb:
        raise MissingPart(f"{told}.", fix)
    return told


def _ports(ports: Mapping[str, int]) -> str:
    """Never a failure: a taken port is replaced."""
    taken = [f"{port} ({name})" for name, port in ports.items() if not is_free(port)]
    return f"in use, others will be taken: {', '.join(taken)}" if taken else "the usual ones are free"
