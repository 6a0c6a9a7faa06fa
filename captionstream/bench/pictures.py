"""Pictures as cameras write them: 12 million pixels of a real photograph, a little noise, JPEG at quality 90.

The photographs that come with packages are small; enlarged and with a sensor's noise they give files of 2.5 to 3.5 MB,
as large as those of a camera, and no two events need have the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPHS = (
    ("skimage/data/astronaut.png", 4.0), ("skimage/data/coffee.png", 6.0), ("sklearn/datasets/images/china.jpg", 4.0),
)  # fmt: skip
SIZE = (4000, 3000)
QUALITY = 90


class NoPhotographs(Exception):
    """The packages with photographs are not installed: `make setup` puts them there."""


def camera_files(photographs: Path, folder: Path) -> list[Path]:
    """Three JPEG files of 12 million pixels in `folder`, made when they are not there. Raises NoPhotographs."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, noise in PHOTOGRAPHS:
        source, target = photographs / name, folder / f"{Path(name).stem}.jpg"
        if not source.is_file():
            raise NoPhotographs(f"{source}: no such file; `make setup` puts it there")
        if not target.exists():
            target.write_bytes(camera_jpeg(Image.open(source).convert("RGB"), noise))
        made.append(target)
    return made


def camera_jpeg(photograph: Image.Image, noise: float, size: tuple[int, int] = SIZE) -> bytes:
    """`photograph` cut to 4:3, enlarged to `size`, with grey noise of that deviation."""
    width = min(photograph.width, photograph.height * 4 // 3)
    large = photograph.crop((0, 0, width, width * 3 // 4)).resize(size, Image.Resampling.LANCZOS)
    grain = np.random.default_rng(1).normal(0, noise, (size[1], size[0], 1)).astype(np.float32)
    pixels = (np.asarray(large, np.float32) + grain).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def distinct(files: list[Path], tag: str) -> Iterator[bytes]:
    """The same pictures without end, each time as other bytes: a comment stands behind the end of the image."""
    number = 0
    while True:
        yield files[number % len(files)].read_bytes() + f"{tag} {number}".encode()
        number += 1


def varied(picture: Image.Image, number: int) -> bytes:
    """The picture with a square of another colour in its corner: other bytes and other pixels for every number."""
    changed = picture.copy()
    side = max(8, min(picture.size) // 8)
    changed.paste((number * 37 % 256, number // 7 * 53 % 256, number * 101 % 256), (0, 0, side, side))
    file = io.BytesIO()
    changed.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
