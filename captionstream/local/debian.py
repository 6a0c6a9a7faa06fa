"""Debian packages, fetched and unpacked but not installed: that needs no root, and nothing of the system changes."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from captionstream.local.installed import MissingPart

DOWNLOAD_S = 900.0


class Failed(Exception):
    """A command did not do its work; the text says why."""


@dataclass(frozen=True)
class Package:
    """A package by its name, unpacked under `home` when it is first needed."""

    name: str
    home: Path
    tell: Callable[[str], None] = field(default=lambda line: None, repr=False)

    @cached_property
    def data(self) -> Path:
        """The unpacked tree. Raises MissingPart with what to do."""
        target = self.home / self.name
        if not target.is_dir():
            self.tell(f"fetching the Debian package {self.name}")
            self.home.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.home, prefix=f".{self.name}-") as folder:
                tree = self._unpacked(Path(folder))
                with suppress(OSError):  # another process was quicker
                    tree.rename(target)
        return target

    def _unpacked(self, folder: Path) -> Path:
        try:
            archive = fetched(self.name, folder)
            run(["dpkg-deb", "-x", archive.name, "tree"], folder)
        except Failed as failed:
            raise MissingPart(
                f"The Debian package {self.name} could not be fetched. {failed}",
                "Look whether `apt-get update` works; where there is no apt-get, fetch the package from a Debian "
                f"mirror and unpack it (`dpkg-deb -x FILE.deb {self.home / self.name}`).",
            ) from None
        return folder / "tree"


def fetched(name: str, folder: Path) -> Path:
    """The package's file, by the system's lists; where those are missing or old, by lists of our own."""
    try:
        run(["apt-get", "download", "-qq", name], folder)
    except Failed:
        own = apt(folder / "apt")
        run([*own, "update", "-qq"], folder)
        run([*own, "download", "-qq", name], folder)
    found = list(folder.glob("*.deb"))
    if not found:
        raise Failed("apt-get left no package.")
    return found[0]


def apt(state: Path) -> list[str]:
    """apt-get with lists and cache in `state`; the archives are the system's."""
    (state / "lists" / "partial").mkdir(parents=True)
    (state / "cache" / "archives" / "partial").mkdir(parents=True)
    options = (
        f"Dir::State::Lists={state / 'lists'}",
        f"Dir::Cache={state / 'cache'}",
        "APT::Sandbox::User=root",
    )
    return ["apt-get", *(part for option in options for part in ("-o", option))]


def run(command: Sequence[str], folder: Path) -> None:
    """Raises Failed."""
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=DOWNLOAD_S)
    except FileNotFoundError:
        raise Failed(f"{command[0]} is not on this machine.") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} took longer than {DOWNLOAD_S:g} s.") from None
    except subprocess.CalledProcessError as failed:
        last = (failed.stderr or failed.stdout or "").strip().splitlines()[-1:]
        raise Failed(f"{command[0]} says: {' '.join(last) or failed.returncode}") from None
