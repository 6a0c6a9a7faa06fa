"""Where the pictures are: unpacked Debian packages, a folder, or beside the list that names them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from captionstream.evaluation.rcc import BadResources, Resources
from captionstream.evaluation.references import Reference
from captionstream.local.installed import Installed, MissingPart

Tell = Callable[[str], None]

STAMPS = "tuxpaint-stamps-default"
GCOMPRIS = "gcompris-qt-data"
WORDNET = "wordnet-base"
GCOMPRIS_ROOT = "gcompris/src/"  # of every path inside the collections
DOWNLOAD_S = 900.0


class MissingPicture(Exception):
    """No place that was looked into has a picture of that name."""


class Place(Protocol):
    """Somewhere pictures lie."""

    def find(self, file: str) -> bytes | None: ...


@dataclass(frozen=True)
class Folder:
    """Pictures in a folder, by their path below it, or by their name alone. Nothing outside it is read."""

    root: Path

    def find(self, file: str) -> bytes | None:
        for name in dict.fromkeys((file, Path(file).name)):
            path = (self.root / name).resolve()
            if path.is_relative_to(self.root.resolve()) and path.is_file():
                return path.read_bytes()
        return None


@dataclass(frozen=True)
class Collections:
    """Pictures inside the Qt resource collections of a folder; only their lists are kept in memory."""

    root: Path
    below: str = GCOMPRIS_ROOT

    @cached_property
    def _places(self) -> Mapping[str, tuple[Path, int, int]]:
        places: dict[str, tuple[Path, int, int]] = {}
        for path in sorted(self.root.glob("*.rcc")):
            with suppress(BadResources):
                for name, flags, offset in Resources.read(path).entries():
                    places.setdefault(name.removeprefix(self.below), (path, flags, offset))
        return places

    def find(self, file: str) -> bytes | None:
        """Raises BadResources when it is there and cannot be read."""
        if file not in self._places:
            return None
        path, flags, offset = self._places[file]
        return Resources.read(path).content(flags, offset)


@dataclass(frozen=True)
class Package:
    """A Debian package, unpacked under `home` when it is first needed; nothing is installed."""

    name: str
    home: Path
    tell: Tell = field(default=lambda line: None, repr=False)

    @cached_property
    def data(self) -> Path:
        """The unpacked tree. Raises MissingPart with what to do."""
        target = self.home / self.name
        if not target.is_dir():
            self.tell(f"fetching the Debian package {self.name}")
            self.home.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.home, prefix=f".{self.name}-") as folder:
                unpacked = self._unpacked(Path(folder))
                with suppress(OSError):  # another process was quicker
                    unpacked.rename(target)
        return target

    def _unpacked(self, folder: Path) -> Path:
        self._run(["apt-get", "download", "-qq", self.name], folder)
        archives = list(folder.glob("*.deb"))
        if not archives:
            raise self._missing("apt-get left no package.")
        self._run(["dpkg-deb", "-x", str(archives[0]), "tree"], folder)
        return folder / "tree"

    def _run(self, command: Sequence[str], folder: Path) -> None:
        try:
            subprocess.run(
                command, cwd=folder, check=True, capture_output=True, text=True, timeout=DOWNLOAD_S
            )
        except FileNotFoundError:
            raise self._missing(f"{command[0]} is not on this machine.") from None
        except subprocess.TimeoutExpired:
            raise self._missing(f"{command[0]} took longer than {DOWNLOAD_S:g} s.") from None
        except subprocess.CalledProcessError as failed:
            last = (failed.stderr or failed.stdout or "").strip().splitlines()[-1:]
            raise self._missing(f"{command[0]} says: {' '.join(last) or failed.returncode}") from None

    def _missing(self, why: str) -> MissingPart:
        return MissingPart(
            f"The Debian package {self.name}, which evaluation reads, could not be fetched. {why}",
            f"On Debian or Ubuntu run `apt-get update`; elsewhere fetch the package from a Debian mirror and "
            f"unpack it (`dpkg-deb -x FILE.deb {self.home / self.name}`).",
        )


@dataclass(frozen=True)
class Packages:
    """The packages that evaluation reads, in the folder that `make clean` removes."""

    home: Path
    tell: Tell = field(default=lambda line: None, repr=False)

    @classmethod
    def here(cls, tell: Tell = lambda line: None) -> Packages:
        return cls(Installed.here().home / "evaluation", tell)

    def wordnet(self) -> Path:
        """The folder of WordNet 3.0's own files."""
        return Package(WORDNET, self.home, self.tell).data / "usr/share/wordnet"

    def stamps(self) -> Place:
        return Folder(Package(STAMPS, self.home, self.tell).data / "usr/share/tuxpaint/stamps")

    def gcompris(self) -> Place:
        return Collections(Package(GCOMPRIS, self.home, self.tell).data / "usr/share/gcompris-qt/rcc")

    def of_set(self, name: str) -> Place:
        """Of `tuxpaint` or `gcompris`."""
        return {"tuxpaint": self.stamps, "gcompris": self.gcompris}[name]()


@dataclass(frozen=True)
class Lazily:
    """A place that is opened when the places before it had nothing."""

    open: Callable[[], Place]

    @cached_property
    def _place(self) -> Place:
        return self.open()

    def find(self, file: str) -> bytes | None:
        return self._place.find(file)


@dataclass(frozen=True)
class Pictures:
    """Several places, the first that has it counts."""

    places: Sequence[Place]

    def read(self, file: str) -> bytes:
        """The picture's bytes. Raises MissingPicture."""
        for place in self.places:
            try:
                found = place.find(file)
            except (OSError, ValueError, BadResources) as unreadable:
                raise MissingPicture(f"{file}: {unreadable}") from None
            if found is not None:
                return found
        raise MissingPicture(f"{file}: no such picture")

    def of(self, references: Sequence[Reference]) -> Iterator[tuple[Reference, bytes]]:
        """Each reference with its picture. Raises MissingPicture at the first that has none."""
        for reference in references:
            yield reference, self.read(reference.file)
