"""Files inside Qt's binary resource collections (`.rcc`), read only.

Layout (Qt's own `rcc` writes it, versions 1 to 3; all numbers big-endian): "qres", version, then the offsets
of the tree, the data and the names; from version 3 on four more bytes of flags. A node of the tree has 14
bytes, 22 from version 2 on: offset of its name, flags, and for a folder its number of children and the index
of the first, for a file two locale numbers and the offset of its data. A name is its length in UTF-16 units,
a hash and the units; data is its length and the bytes, which zlib may have packed behind their full size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKED_BY_ZLIB, FOLDER, PACKED_BY_ZSTD = 1, 2, 4
LARGEST_FILE = 64 * 1024 * 1024


class BadResources(Exception):
    """The file is no resource collection, is damaged, or is packed in a way that is not read here."""


@dataclass(frozen=True)
class Resources:
    """One collection, held in memory."""

    data: bytes

    @classmethod
    def read(cls, path: Path) -> Resources:
        return cls(path.read_bytes())

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Every file: its path without a leading slash, and its bytes. Raises BadResources."""
        for path, flags, offset in self.entries():
            yield path, self.content(flags, offset)

    def entries(self) -> Iterator[tuple[str, int, int]]:
        """Every file: path, flags and where its data lies, unread. Raises BadResources."""
        try:
            yield from self._below(0, "")
        except (struct.error, RecursionError, UnicodeDecodeError) as bad:
            raise BadResources(f"damaged resource collection: {bad}") from None

    def content(self, flags: int, offset: int) -> bytes:
        if flags & PACKED_BY_ZSTD:
            raise BadResources("this resource is packed by Zstandard, which is not read here")
        size = self._number(offset)
        stored = self.data[offset + 4 : offset + 4 + size]
        if len(stored) != size:
            raise BadResources("a resource ends too early")
        return _unpacked(stored) if flags & PACKED_BY_ZLIB else stored

    def _below(self, index: int, path: str) -> Iterator[tuple[str, int, int]]:
        node = self._tree + index * self._node_size
        flags, first, second = *struct.unpack_from(">H", self.data, node + 4), *self._two(node + 6)
        if not flags & FOLDER:
            yield path, flags, self._data + second
            return
        if second <= index:
            raise BadResources("a folder of the resource collection lies within itself")
        for child in range(second, second + first):
            name = self._name(child)
            yield from self._below(child, f"{path}/{name}" if path else name)

    def _name(self, index: int) -> str:
        place = self._names + self._number(self._tree + index * self._node_size)
        (length,) = struct.unpack_from(">H", self.data, place)
        return self.data[place + 6 : place + 6 + 2 * length].decode("utf-16-be")

    def _number(self, place: int) -> int:
        return int(struct.unpack_from(">I", self.data, place)[0])

    def _two(self, place: int) -> tuple[int, int]:
        first, second = struct.unpack_from(">II", self.data, place)
        return first, second

    @property
    def _version(self) -> int:
        if self.data[:4] != b"qres" or self._number(4) not in (1, 2, 3):
            raise BadResources("this is no Qt resource collection of version 1 to 3")
        return self._number(4)

    @property
    def _node_size(self) -> int:
        return 14 if self._version == 1 else 22

    @property
    def _tree(self) -> int:
        return self._number(8)

    @property
    def _data(self) -> int:
        return self._number(12)

    @property
    def _names(self) -> int:
        return self._number(16)


def _unpacked(stored: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        told, found = int.from_bytes(stored[:4], "big"), unpacking.decompress(stored[4:], LARGEST_FILE)
    except zlib.error as bad:
        raise BadResources(f"a packed resource is damaged: {bad}") from None
    if told != len(found):
        raise BadResources("a packed resource has another size than it says")
    return found
