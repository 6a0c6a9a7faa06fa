"""Python environments made from lock files by uv, which comes in an environment of its own.

Standard library only: this runs before any package is installed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from captionstream.local.installed import Installed, MissingPart, site_packages

_LAST_LINES = 15
_NO_REGISTRY = (
    "Check that this machine reaches a Python package registry (pip's settings are used), "
    "then run `make setup` again: it goes on where it stopped."
)


def program(installed: Installed) -> Path:
    return installed.home / "uv" / "bin" / "uv"


def install(installed: Installed) -> None:
    """uv itself, by pip and with its digest. Raises `MissingPart`."""
    folder = program(installed).parents[1]
    lock = installed.requirements / "uv.txt"
    shutil.rmtree(folder, ignore_errors=True)
    how = ("--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--require-hashes")
    run([*_pip(installed), "install", *how, "--target", str(folder), "-r", str(lock)], fix=_NO_REGISTRY)


def _pip(installed: Installed) -> list[str]:
    """This Python's own pip, or one in an environment made for it: that takes some seconds more."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    venv = installed.home / "pip-venv"
    run(
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        fix="Debian and Ubuntu: `apt-get install python3.11-venv`.",
    )
    return [str(venv / "bin" / "python"), "-m", "pip"]


def make_venv(installed: Installed, venv: Path, lock: Path) -> None:
    """An environment that holds exactly what the lock file names, each with its digest, compiled for a quick start."""
    if not (venv / "bin" / "python").exists() or not site_packages(venv).is_dir():
        _uv(installed, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv))
    how = ("--quiet", "--require-hashes", "--compile-bytecode", "--python", str(venv))
    _uv(installed, "pip", "sync", *how, str(lock))


def unpack(installed: Installed, folder: Path, lock: Path) -> None:
    """The packages of the lock file laid into `folder`, without what they depend on."""
    shutil.rmtree(folder, ignore_errors=True)
    how = ("--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--python", sys.executable)
    _uv(installed, "pip", "install", *how, "--target", str(folder), "--requirements", str(lock))


def install_source(installed: Installed) -> None:
    """This source, editable, into the product's environment; what builds it is in the lock file."""
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--python", str(installed.venv))
    _uv(installed, "pip", "install", *how, "--editable", str(installed.source))


def _uv(installed: Installed, *arguments: str) -> None:
    run([str(program(installed)), *arguments], fix=_NO_REGISTRY, env=environment())


def environment() -> dict[str, str]:
    """uv does not read pip's settings: tell it the index that pip would use, unless it was told one."""
    told = dict(os.environ)
    if not any(name in told for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE")):
        index = pip_index()
        told |= {"UV_DEFAULT_INDEX": index} if index else {}
    return told


def pip_index() -> str:
    """The index that pip's environment variables or files name; empty when they name none."""
    named = os.environ.get("PIP_INDEX_URL")
    if named:
        return named
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def run(command: Sequence[str], fix: str, env: dict[str, str] | None = None) -> None:
    """Run a command to its end. Raises `MissingPart` with the end of what it wrote when it fails."""
    try:
        over = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        raise MissingPart(f"{command[0]} could not be run ({error}).", fix) from error
    if over.returncode:
        told = "\n".join(f"    {row}" for row in over.stdout.splitlines()[-_LAST_LINES:])
        raise MissingPart(f"`{' '.join(command)}` failed:\n{told}\n", fix)
