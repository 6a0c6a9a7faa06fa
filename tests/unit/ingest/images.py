"""Images made by Pillow, with what they must look like."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal

from PIL import Image, ImageCms

from services.ingest.normal_form import NormalForm

RED, GREEN, BLUE, WHITE, GREY = (200, 30, 40), (30, 160, 60), (30, 60, 190), (255, 255, 255), (128, 128, 128)
Colour = tuple[int, ...]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def quarters(
    colours: Sequence[Colour | int | float] = (RED, GREEN, BLUE, GREY),
    mode: str = "RGB",
    size: tuple[int, int] = (64, 48),
) -> Image.Image:
    """Top left, top right, bottom left, bottom right."""
    image = Image.new(mode, size)
    half_width, half_height = size[0] // 2, size[1] // 2
    for place, colour in enumerate(colours):
        corner = (place % 2) * half_width, (place // 2) * half_height
        image.paste(colour, (*corner, corner[0] + half_width, corner[1] + half_height))  # type: ignore[arg-type]
    return image


def deep_quarters(levels: Sequence[int], mode: str = "I;16", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Quarters of 16 bits: written sample by sample, as pasting cuts such colours to 8 bits."""
    order: Literal["big", "little"] = "big" if mode.endswith("B") else "little"
    top, bottom = (
        [level.to_bytes(2, order) * (size[0] // 2) for level in half] for half in (levels[:2], levels[2:])
    )
    rows = b"".join(top) * (size[1] // 2) + b"".join(bottom) * (size[1] // 2)
    return Image.frombytes(mode, size, rows)


def pixel(form: NormalForm, across: float, down: float) -> Colour:
    """The colour at a share of the width and height."""
    x, y = int(across * form.width), int(down * form.height)
    start = 3 * (y * form.width + x)
    return tuple(form.pixels[start : start + 3])


def corners(form: NormalForm) -> list[Colour]:
    """Of the four quarters, in reading order."""
    return [pixel(form, across, down) for down in (0.25, 0.75) for across in (0.25, 0.75)]


def near(expected: Colour, seen: Colour, by: int = 6) -> bool:
    return all(abs(one - other) <= by for one, other in zip(expected, seen, strict=True))


def all_near(expected: Sequence[Colour], seen: Sequence[Colour], by: int = 6) -> bool:
    return len(expected) == len(seen) and all(near(*pair, by) for pair in zip(expected, seen, strict=True))


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: `rows` are its unpacked scan lines."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
