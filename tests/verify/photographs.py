"""Real photographs and drawings that others made, each with a code drawn below it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from captionstream.cli.demo_pictures import PHOTOGRAPHS
from captionstream.evaluation.pictures import Packages
from captionstream.evaluation.references import BUNDLED, bundled
from captionstream.local.installed import Installed
from tests.stack.coded_pictures import WIDTH, with_code

TALLEST = 640  # pixels; a tall picture is cut, so that its code stays large in it


def originals(packages: Packages) -> Iterator[bytes]:
    """The demo's photographs, then the pictures of both evaluation sets. Raises MissingPart."""
    folder: Path = Installed.here().photographs
    yield from ((folder / file).read_bytes() for file in PHOTOGRAPHS.values())
    for name in BUNDLED:
        place = packages.of_set(name)
        yield from filter(None, (place.find(reference.file) for reference in bundled(name)))


def coded(original: bytes, number: int) -> bytes:
    """The picture above a white strip with the code of `number`, as JPEG; mirrored for every second hundred."""
    photo = fitted(original)
    if number // 100 % 2:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return with_code(photo, number)


def fitted(original: bytes) -> Image.Image:
    """WIDTH wide, on white where it is transparent."""
    with Image.open(io.BytesIO(original)) as opened:
        photo = opened.convert("RGBA")
    white = Image.new("RGBA", photo.size, "white")
    flat = Image.alpha_composite(white, photo).convert("RGB")
    sized = flat.resize((WIDTH, max(1, round(flat.height * WIDTH / flat.width))))
    return sized.crop((0, 0, WIDTH, min(sized.height, TALLEST)))


def numbered(pictures: Sequence[bytes], count: int, first: int = 0) -> Iterator[tuple[int, bytes]]:
    """`count` numbers from `first`, each with its coded picture; pictures come round when there are fewer."""
    for number in range(first, first + count):
        yield number, coded(pictures[number % len(pictures)], number)
