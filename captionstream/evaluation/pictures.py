"""Where the pictures are: unpacked Debian packages, a folder, or beside the list that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from captionstream.evaluation.rcc import BadResources, Resources
from captionstream.evaluation.references import Reference
from captionstream.local.debian import Package
from captionstream.local.installed import Installed

Tell = Callable[[str], None]

STAMPS = "tuxpaint-stamps-default"
GCOMPRIS = "gcompris-qt-data"
WORDNET = "wordnet-base"
GCOMPRIS_ROOT = "gcompris/src/"  # of every path inside the collections


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
