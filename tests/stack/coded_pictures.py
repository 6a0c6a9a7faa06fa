"""Real photographs with a code drawn into their pixels: the code must come back in the right caption."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from captionstream.cli.demo_pictures import PHOTOGRAPHS
from captionstream.contracts import messages as m
from captionstream.contracts.values import ImageReference

DIGITS = "23456789"  # no two of them look alike to a reader
WIDTH, STRIP = 480, 110


def code(number: int) -> str:
    """Four digits, another for each number below 4096."""
    return "".join(DIGITS[number >> shift & 7] for shift in (9, 6, 3, 0))


def coded_picture(photographs: Path, number: int) -> bytes:
    """A part of a photograph above a white strip with its code, as JPEG."""
    files = list(PHOTOGRAPHS.values())
    with Image.open(photographs / files[number % len(files)]) as opened:
        photo = part_of(opened.convert("RGB"), number // len(files))
    return with_code(photo, number)


def with_code(photo: Image.Image, number: int) -> bytes:
    """`photo`, WIDTH wide, above a white strip with the code of `number`, as JPEG."""
    picture = Image.new("RGB", (WIDTH, photo.height + STRIP), (255, 255, 255))
    picture.paste(photo, (0, 0))
    place = (WIDTH / 2, photo.height + STRIP / 2)
    ImageDraw.Draw(picture).text(
        place, f"CODE {code(number)}", fill=(0, 0, 0), font=ImageFont.load_default(56), anchor="mm"
    )
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=92)
    return target.getvalue()


def part_of(photo: Image.Image, variant: int) -> Image.Image:
    """The photograph, a little closer with every variant, mirrored every second time."""
    margin = 0.02 * (variant % 8)
    box = (
        photo.width * margin,
        photo.height * margin,
        photo.width * (1 - margin),
        photo.height * (1 - margin),
    )
    near = photo.crop(tuple(map(round, box)))  # type: ignore[arg-type]
    near = near.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if variant % 2 else near
    return near.resize((WIDTH, round(near.height * WIDTH / near.width)))


def coded_event(photographs: Path, number: int, tag: str, cameras: int = 5) -> m.ImageSubmitted:
    return m.ImageSubmitted(
        id=f"{tag}-{code(number)}",
        image=ImageReference(inline=coded_picture(photographs, number)),
        stream_key=f"{tag}-camera-{number % cameras}",
        sequence=number // cameras,
    )
