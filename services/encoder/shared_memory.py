"""Pixels handed to a Triton on the same host without copying them through a socket.

One region of /dev/shm, cut into spans: one for each input that is on its way. A span is used again as soon as
its request has ended here. A request that was given up may still be read by the server then, and sees another
picture; what it answers reaches nobody.

A live process holds a lock on its region's file, so that what a dead one left behind can be told from what a
live one uses, in any container.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = Path("/dev/shm")
PREFIX = "captionstream_encoder_"
ALIGNMENT = 64


class Region:
    """`size` bytes of shared memory. Raises OSError when the machine does not have them."""

    def __init__(self, size: int, folder: Path = FOLDER) -> None:
        self.name = f"{PREFIX}{os.getpid()}_{secrets.token_hex(4)}"
        self.size = size
        self._path = folder / self.name
        self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._memory = self._mapped()
        self._free = [(0, size)]  # offset and size of what is not in use, by offset

    def _mapped(self) -> mmap.mmap:
        """Reserved at once: a page that is missing when it is written to would kill the process."""
        try:
            os.posix_fallocate(self._file, 0, self.size)
            return mmap.mmap(self._file, self.size)
        except OSError:
            self._path.unlink()
            os.close(self._file)
            raise

    @contextmanager
    def holding(self, values: npt.NDArray[Any]) -> Iterator[int | None]:
        """The offset at which `values` lie until the block ends; None when there is no room for them."""
        size = -(-values.nbytes // ALIGNMENT) * ALIGNMENT
        offset = self._take(size)
        if offset is None:
            yield None
            return
        try:
            place = np.frombuffer(self._memory, values.dtype, values.size, offset)
            place.reshape(values.shape)[:] = values
            del place  # a view would keep the memory from being closed
            yield offset
        finally:
            self._give(offset, size)

    def close(self) -> None:
        """Also removes its file; the server keeps its own mapping until it is told to let go."""
        self._path.unlink(missing_ok=True)
        self._memory.close()
        os.close(self._file)

    def _take(self, size: int) -> int | None:
        """The first span that is large enough: the same few pages serve a service with little to do."""
        for position, (offset, room) in enumerate(self._free):
            if room >= size:
                self._free[position : position + 1] = [(offset + size, room - size)] if room > size else []
                return offset
        return None

    def _give(self, offset: int, size: int) -> None:
        insort(self._free, (offset, size))
        joined = self._free[:1]
        for start, room in self._free[1:]:
            before, length = joined[-1]
            if before + length == start:
                joined[-1] = (before, length + room)
            else:
                joined.append((start, room))
        self._free = joined


def remove_leftovers(folder: Path = FOLDER) -> list[str]:
    """Removes the regions of dead processes; their names, so that a server can be told."""
    return [path.name for path in folder.glob(f"{PREFIX}*") if removed(path)]


def removed(path: Path) -> bool:
    """Whether `path` was nobody's and is gone now."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False  # gone meanwhile, or another user's
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True
