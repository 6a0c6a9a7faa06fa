"""The load of the soak: what a site and its cameras send in a day, in a row of twenty that is shuffled each time."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from PIL import Image

from captionstream.cli.demo_pictures import PAGE
from captionstream.contracts import messages as m
from captionstream.contracts.values import ImageReference, Profile
from tests.stack.coded_pictures import code
from tests.verify.conversation import Answered
from tests.verify.photographs import coded

CAMERAS = 6
CODES = 4096  # different ones
PAGE_SAYS = "segmentation"  # a word of its heading, which its caption must quote


class Kind(StrEnum):
    CAMERA = "camera"  # alt text, in order for each camera
    PRODUCT = "product"
    EDITORIAL = "editorial"
    INSPECTION = "inspection"
    SPANISH = "spanish"
    PAGE = "page of text"
    SAME_PICTURE = "known picture, new event"
    SAME_EVENT = "event that was answered before"
    CORRUPT = "corrupt file"
    FORBIDDEN = "address that must not be reached"
    LATE = "deadline that has passed"


MIX = {
    Kind.CAMERA: 8, Kind.PRODUCT: 2, Kind.EDITORIAL: 1, Kind.INSPECTION: 1, Kind.SPANISH: 1, Kind.PAGE: 2,
    Kind.SAME_PICTURE: 1, Kind.SAME_EVENT: 1, Kind.CORRUPT: 1, Kind.FORBIDDEN: 1, Kind.LATE: 1,
}  # fmt: skip
REFUSED = {Kind.CORRUPT: "undecodable", Kind.FORBIDDEN: "forbidden-address", Kind.LATE: "too-late"}
PROFILES = {
    Kind.PRODUCT: Profile.PRODUCT,
    Kind.EDITORIAL: Profile.EDITORIAL,
    Kind.INSPECTION: Profile.INSPECTION,
}


@dataclass(frozen=True)
class Asked:
    """An event, and what it is in the mix. A repeated event is the very event of before."""

    kind: Kind
    event: m.ImageSubmitted


@dataclass
class Mix:
    """An endless row of events out of `pictures`; the same one for the same seed."""

    pictures: Sequence[bytes]
    page: bytes
    seed: int = 0
    _shots: int = field(default=0, init=False)
    _earlier: list[m.ImageSubmitted] = field(default_factory=list, init=False)

    def __iter__(self) -> Iterator[Asked]:
        draw = random.Random(self.seed)
        row = [kind for kind, times in MIX.items() for _ in range(times)]
        number = 0
        while True:
            draw.shuffle(row)
            for kind in row:
                event = self._event(kind, number, draw)
                self._earlier = [*self._earlier[-200:], event] if kind not in REFUSED else self._earlier
                yield Asked(kind, event)
                number += 1

    def _event(self, kind: Kind, number: int, draw: random.Random) -> m.ImageSubmitted:
        if kind is Kind.SAME_EVENT and self._earlier:
            return draw.choice(self._earlier)
        if kind is Kind.SAME_PICTURE and self._earlier:
            earlier = draw.choice(self._earlier)
            return m.ImageSubmitted(id=f"soak-{number}-{earlier.id.split('-')[-1]}", image=earlier.image)
        return m.ImageSubmitted(
            id=f"soak-{number}-{PAGE_SAYS if kind is Kind.PAGE else code(number % CODES)}",
            image=self._image(kind, number),
            profile=PROFILES.get(kind, Profile.ALT),
            language="es" if kind is Kind.SPANISH else "en",
            deadline_s=0.000001 if kind is Kind.LATE else None,
            **self._stream(kind),
        )

    def _image(self, kind: Kind, number: int) -> ImageReference:
        if kind is Kind.FORBIDDEN:
            return ImageReference(url="http://127.0.0.1/internal.jpg")
        if kind is Kind.PAGE:
            return ImageReference(inline=another_copy(self.page, number))
        data = coded(self.pictures[number % len(self.pictures)], number % CODES)
        return ImageReference(inline=data[: len(data) // 3] if kind is Kind.CORRUPT else data)

    def _stream(self, kind: Kind) -> dict[str, object]:
        if kind is not Kind.CAMERA:
            return {}
        self._shots += 1
        return {"stream_key": f"camera-{self._shots % CAMERAS}", "sequence": self._shots // CAMERAS}


def page_of_text(photographs: Path) -> bytes:
    return (photographs / PAGE).read_bytes()


def another_copy(picture: bytes, number: int) -> bytes:
    """The same picture in other bytes, which no cache knows."""
    target = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as opened:
        opened.convert("RGB").save(target, "JPEG", quality=90, comment=str(number).encode())
    return target.getvalue()


def unexpected(asked: Asked, answer: Answered) -> str:
    """What is wrong with the answer; empty when nothing is."""
    if asked.kind in REFUSED:
        expected = f"refused: {REFUSED[asked.kind]}"
        got = f"{answer.outcome}: {answer.reason}"
        return "" if expected == got else f"{asked.event.id} ({asked.kind}): {got}, not {expected}"
    if answer.outcome == "refused":
        return f"{asked.event.id} ({asked.kind}): refused: {answer.reason}: {answer.detail}"
    return ""
