"""What a person names on the command line, as image events: files, folders, URLs, object keys, JSON lines."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import ImageSubmitted
from captionstream.contracts.values import INLINE_IMAGE_LIMIT, ImageReference

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
LARGEST_FILE = 64 * 1024 * 1024


class BadSource(Exception):
    """What was named cannot become an image event. The message says which, and why."""


@dataclass(frozen=True)
class Submission:
    """An event, and how the person named it."""

    source: str
    event: ImageSubmitted


@dataclass(frozen=True)
class Sources:
    """Turns names into submissions. `objects` takes files that are too large for a record; `request` is shared."""

    objects: Path
    request: dict[str, Any]

    def submissions(self, names: Iterable[str], lines: TextIO) -> Iterator[Submission]:
        """Raises BadSource before anything of that name is submitted."""
        for name in names:
            try:
                yield from self._named(name, lines)
            except OSError as unreadable:
                raise BadSource(f"{name}: {unreadable.strerror or type(unreadable).__name__}") from None

    def _named(self, name: str, lines: TextIO) -> Iterator[Submission]:
        if name == "-":
            yield from self._from_lines(lines)
        elif "://" in name:
            key = "url" if name.startswith(("http://", "https://")) else "object_key"
            yield self._submission(name, ImageReference(**{key: name}))
        elif Path(name).is_dir():
            yield from self._from_folder(Path(name))
        elif Path(name).is_file():
            yield self._submission(name, self._reference(Path(name)))
        elif "/" in name and not name.startswith((".", "/")) and not Path(name).suffix:
            yield self._submission(name, ImageReference(object_key=name))
        else:
            raise BadSource(f"{name}: no such file or folder")

    def _from_folder(self, folder: Path) -> Iterator[Submission]:
        found = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not found:
            raise BadSource(f"{folder}: no pictures in it ({', '.join(sorted(SUFFIXES))})")
        for path in found:
            yield self._submission(str(path), self._reference(path))

    def _from_lines(self, lines: TextIO) -> Iterator[Submission]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                event = ImageSubmitted.model_validate({"id": new_id(), **self.request, **json.loads(line)})
            except (ValidationError, ValueError, TypeError, RecursionError) as bad:
                raise BadSource(f"line {number} of the standard input: {reason(bad)}") from None
            yield Submission(str(event.image), event)

    def _reference(self, path: Path) -> ImageReference:
        """Small files go inline; larger ones are laid into the store of originals, by their digest."""
        if path.stat().st_size > LARGEST_FILE:
            raise BadSource(f"{path}: larger than {LARGEST_FILE // 2**20} MiB")
        data = path.read_bytes()
        if len(data) <= INLINE_IMAGE_LIMIT:
            return ImageReference(inline=data)
        key = f"submitted/{sha256_hex(data)}{path.suffix.lower()}"
        target = self.objects / key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return ImageReference(object_key=key)

    def _submission(self, name: str, reference: ImageReference) -> Submission:
        try:
            event = ImageSubmitted.model_validate({"id": new_id(), **self.request, "image": reference})
        except ValidationError as bad:
            raise BadSource(f"{name}: {reason(bad)}") from None
        return Submission(name, event)


def new_id() -> str:
    return uuid.uuid4().hex


def reason(bad: Exception) -> str:
    if isinstance(bad, ValidationError):
        first = bad.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'event'}: {first['msg']}"
    return str(bad)
