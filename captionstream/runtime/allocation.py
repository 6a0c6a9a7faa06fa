"""How a process gives memory back whose pictures are megabytes, come 16 at once, and are gone a moment later."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h of the GNU C library
LARGEST_KEPT = 8 * 1024 * 1024  # bytes; smaller, and each original costs thousands of page faults anew


def give_memory_back() -> None:
    """One arena, so that what one thread freed serves the next. Without the GNU C library nothing changes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for option, value in (
        (M_ARENA_MAX, 1),
        (M_MMAP_THRESHOLD, LARGEST_KEPT),
        (M_TRIM_THRESHOLD, LARGEST_KEPT),
    ):
        mallopt(option, value)
