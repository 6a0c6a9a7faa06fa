"""G12: a camera's JPEG in ingest's own normal form, against Pillow's full decode, and how near the pixels are."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from captionstream.bench.goals import Found
from captionstream.bench.measuring import Spread, in_turn, profiled, ratios, timed
from services.ingest.normal_form import PictureLimits, normal_form

LONG_SIDE = 384
LEAST_PSNR = 35.0
LIMITS = PictureLimits(max_pixels=64_000_000, long_side=LONG_SIDE)


def measure(files: Sequence[Path], rounds: int) -> dict[str, Found]:
    """A round is every file once, both ways. Both ways shrink by Lanczos to the same size."""
    originals = [file.read_bytes() for file in files]
    works = [lambda: cpu_ms(full, originals), lambda: cpu_ms(ours, originals)]
    naive, own = in_turn(works, rounds)
    ratio = ratios(naive, own)
    nearness = [psnr(full(data), ours(data)) for data in originals]
    details = {
        "psnr_db": round(min(nearness), 1), "pillow_ms": round(Spread.of(naive).median, 1),
        "ours_ms": round(Spread.of(own).median, 1), "megabytes": [round(len(data) / 1e6, 1) for data in originals],
    }  # fmt: skip
    if min(nearness) < LEAST_PSNR:
        return {"G12": Found.nothing("G12", f"{min(nearness):.1f} dB, at least {LEAST_PSNR} are wanted")}
    missed = ratio.median < 4.0
    profile = profiled(lambda: ours(originals[0])) if missed else ""
    return {"G12": Found("G12", round(ratio.median, 2), ratio.range, rounds, details, profile=profile)}


def cpu_ms(way: Callable[[bytes], Image.Image], originals: Sequence[bytes]) -> float:
    """Processor time for one picture."""
    return timed(lambda: [way(data) for data in originals]).cpu_s * 1000 / len(originals)


def full(data: bytes) -> Image.Image:
    """Every pixel decoded, then made smaller: what a script does that knows nothing of JPEG."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS, reducing_gap=None)
    return image


def ours(data: bytes) -> Image.Image:
    form = normal_form(data, LIMITS)
    return Image.frombytes("RGB", (form.width, form.height), form.pixels)


def psnr(one: Image.Image, other: Image.Image) -> float:
    """In dB, infinite for equal pictures; of one size."""
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    mean = float((difference**2).mean())
    return float("inf") if mean == 0 else 10 * np.log10(255**2 / mean)
