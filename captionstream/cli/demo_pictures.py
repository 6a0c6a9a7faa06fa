"""The pictures of the demo, and what must become of each: real photographs, and five that are difficult."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import ImageSubmitted
from captionstream.contracts.values import INLINE_IMAGE_LIMIT, ImageReference

PHOTOGRAPHS = {
    "a cat": "skimage/data/chelsea.png",
    "an astronaut": "skimage/data/astronaut.png",
    "a cup of coffee": "skimage/data/coffee.png",
    "a flower": "sklearn/datasets/images/flower.jpg",
    "a palace": "sklearn/datasets/images/china.jpg",
    "a motorcycle": "skimage/data/motorcycle_left.png",
    "a rocket": "skimage/data/rocket.jpg",
    "coins": "skimage/data/coins.png",
    "a photographer": "skimage/data/camera.png",
    "the moon": "skimage/data/moon.png",
    "galaxies": "skimage/data/hubble_deep_field.jpg",
    "grass": "skimage/data/grass.png",
    "bricks": "skimage/data/brick.png",
}
PAGE = "skimage/data/page.png"
SIGN_THAT_OFFENDS = "THIS ROAD IS BULLSHIT"


@dataclass(frozen=True)
class DemoPicture:
    """One event of the demo and the answer that it must get: its outcome and, where that is sure, words of it."""

    name: str
    data: bytes
    outcome: str = "published"
    words: tuple[str, ...] = ()
    reason: str = ""
    request: dict[str, Any] = field(default_factory=dict)
    repeats: str | None = None  # the name of the picture whose event this one sends again

    @property
    def event_id(self) -> str:
        return f"demo-{(self.repeats or self.name).replace(' ', '-')}"

    def event(self, run: str, objects: Path) -> ImageSubmitted:
        """Small pictures go inline, larger ones through the store of originals."""
        reference = (
            ImageReference(inline=self.data)
            if len(self.data) <= INLINE_IMAGE_LIMIT
            else self._stored(objects)
        )
        return ImageSubmitted.model_validate(
            {"id": f"{self.event_id}-{run}", "image": reference, **self.request}
        )

    def _stored(self, objects: Path) -> ImageReference:
        key = f"submitted/{sha256_hex(self.data)}"
        (objects / "submitted").mkdir(parents=True, exist_ok=True)
        (objects / key).write_bytes(self.data)
        return ImageReference(object_key=key)

    def accepts(self, line: dict[str, Any]) -> bool:
        """Whether the answer, as a line, is the one that was expected."""
        text = line["text"] or ""
        said = all(word.lower() in text.lower() for word in self.words)
        return bool(line["outcome"] == self.outcome and said and self.reason in (line["reason"] or ""))


def pictures(photographs: Path) -> list[DemoPicture]:
    """Thirteen photographs, a page of text, a corrupt file, a repeat, a sign that policy holds, a decoration."""
    photos = [DemoPicture(name, (photographs / file).read_bytes()) for name, file in PHOTOGRAPHS.items()]
    return [*photos, *difficult(photographs, photos[0])]


def difficult(photographs: Path, cat: DemoPicture) -> Iterator[DemoPicture]:
    yield DemoPicture(
        "a page of text", (photographs / PAGE).read_bytes(), words=("Region-based segmentation",)
    )
    yield DemoPicture("a corrupt file", cat.data[:4000] + bytes(4000), "refused", reason="undecodable")
    yield DemoPicture("the cat again", cat.data, repeats=cat.name)
    yield DemoPicture("a sign that policy holds", sign(SIGN_THAT_OFFENDS), "held", reason="offends")
    yield DemoPicture("a decoration", decoration(), request={"purpose": "decorative"})


def sign(text: str) -> bytes:
    """A white sign with large black letters, as PNG."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (900, 260), (245, 245, 245))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((12, 12, 888, 248), outline=(20, 20, 20), width=6)
    draw.text((450, 130), text, fill=(20, 20, 20), font=ImageFont.load_default(58), anchor="mm")
    return png(picture)


def decoration() -> bytes:
    """A soft diagonal pattern, as PNG."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (320, 80), (226, 236, 245))
    draw = ImageDraw.Draw(picture)
    for start in range(-80, 320, 24):
        draw.line((start, 80, start + 80, 0), fill=(190, 210, 230), width=6)
    return png(picture)


def png(picture: Any) -> bytes:
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()
