"""What decode.py and its child agree on. Light: the parent must not load Pillow, the child not pydantic.

A request is a length and an encoded image. A reply is a length, that much JSON, and, unless the JSON says
`refused`, the pixels: 3 bytes for each of `width` times `height`. Lengths are 8 bytes, big-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LENGTH = 8


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What a child is told on its command line, as JSON.

    max_pixels: width times height of an original. long_side: of the result, in pixels.
    memory: address space in bytes. seconds: wall time of one image.
    """

    max_pixels: int
    long_side: int
    memory: int
    seconds: float


def prefix(body: bytes) -> bytes:
    """What stands before it. On its own for bodies of megabytes, which nobody should copy."""
    return len(body).to_bytes(LENGTH)


def prefixed(body: bytes) -> bytes:
    return prefix(body) + body


def read_prefixed(read: Callable[[int], bytes], longest: int) -> bytes | None:
    """The next prefixed body; None where the other side has ended, in its middle too, or sends too much."""
    length = read(LENGTH)
    if len(length) < LENGTH:
        return None
    size = int.from_bytes(length)
    body = read(size) if size <= longest else b""
    return body if len(body) == size else None
