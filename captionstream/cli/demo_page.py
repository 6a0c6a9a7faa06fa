"""The demo's page: every picture beside its answer. One file, no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from captionstream.cli.demo_pictures import DemoPicture

THUMBNAIL = (420, 300)


@dataclass(frozen=True)
class Shown:
    """One figure of the page."""

    picture: DemoPicture
    line: dict[str, Any] | None
    expected: bool
    thumbnail: str | None

    @property
    def total_ms(self) -> float:
        timings = (self.line or {}).get("timings", [])
        return float(sum(timing["waited_ms"] + timing["worked_ms"] for timing in timings))


def write_page(
    path: Path, results: list[tuple[DemoPicture, dict[str, Any] | None]], notes: dict[str, str]
) -> None:
    """Write the page to `path`."""
    figures = [
        Shown(picture, line, line is not None and picture.accepts(line), thumbnail(picture.data))
        for picture, line in results
    ]
    environment = Environment(
        loader=PackageLoader("captionstream.cli", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    path.write_text(environment.get_template("demo_page.html").render(figures=figures, notes=notes))


def thumbnail(data: bytes) -> str | None:
    """A data URL of a small JPEG, or None when the bytes are no picture."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
            small = image.convert("RGB")
            small.thumbnail(THUMBNAIL)
    except Exception:
        return None
    target = io.BytesIO()
    small.save(target, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
