"""Cheap measurements of the pixels themselves: colours, plain backgrounds, sky, greenery.

Colour names are those of everyday speech. A pixel takes the name of the nearest anchor in Lab space, where
lightness counts less than hue: a shaded red stays red, and dark and light anchors carry the plain name.
Black, white and grey are given only to pixels that have next to no colour; otherwise nearly everything on a
photograph that is a little dull comes out as grey.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from captionstream.contracts.evidence import Appearance, ColourShare
from services.encoder.views import Floats, Pixels, resized

Mask = NDArray[np.bool_]

SIDE = 192  # pixels; everything is measured on a square this large
THIRD = SIDE // 3
RING = 6  # pixels; how wide the border is from which a background is told
LEAST_SHARE = 0.02  # colours that cover less are not listed
LIGHTNESS_WEIGHT, HUE_WEIGHT = 0.6, 1.6
COLOURLESS = 9.0  # Lab chroma below which a pixel has no colour
TINTED = 14.0  # Lab chroma above which a pixel is not grey, unless it is nearly black or white
ANCHORS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("black", (0, 0, 0)), ("grey", (80, 80, 80)), ("grey", (128, 128, 128)), ("grey", (185, 185, 185)),
    ("white", (250, 250, 250)),
    ("red", (200, 30, 35)), ("red", (120, 15, 25)), ("orange", (240, 135, 30)), ("orange", (225, 95, 40)),
    ("yellow", (245, 215, 45)), ("yellow", (255, 250, 160)),
    ("green", (60, 140, 50)), ("green", (130, 180, 60)), ("green", (30, 70, 35)), ("green", (150, 210, 150)),
    ("green", (45, 150, 120)),
    ("blue", (40, 90, 200)), ("blue", (140, 190, 235)), ("blue", (20, 35, 100)), ("blue", (90, 120, 160)),
    ("blue", (205, 250, 255)), ("blue", (5, 5, 120)), ("blue", (60, 170, 200)),
    ("purple", (120, 50, 150)), ("purple", (185, 145, 215)), ("purple", (128, 92, 135)),
    ("purple", (50, 5, 60)), ("pink", (240, 130, 170)), ("pink", (255, 208, 222)), ("pink", (215, 40, 130)),
    ("brown", (115, 75, 45)), ("brown", (150, 105, 65)), ("brown", (70, 45, 30)), ("brown", (130, 65, 35)),
    ("beige", (215, 190, 155)), ("beige", (240, 220, 195)),
)  # fmt: skip
ACHROMATIC = ("black", "grey", "white")


@dataclass(frozen=True, slots=True)
class Measured:
    """One picture in the spaces in which it is measured, each SIDE x SIDE."""

    rgb: Pixels
    lab: Floats  # L 0 to 100, a and b about -100 to 100
    hue: Floats  # degrees
    saturation: Floats  # 0 to 1
    value: Floats  # 0 to 1
    texture: Floats  # absolute Laplacian of the grey picture


def appearance(image: Pixels) -> Appearance:
    """All of it for one picture, uint8 RGB of any size."""
    m = measured(image)
    plain = plain_border(m)
    open_air = plain is None  # a plain studio background is neither sky nor meadow
    return Appearance(
        colours=named(m.rgb.reshape(-1, 3)),
        subject_colours=named(m.rgb[foreground(m, plain)]),
        monochrome=monochrome(m),
        flatness=flatness(image, m, plain),
        plain_background=background_colour(m, plain),
        blue_sky=share(blue_sky(m)[:THIRD]) if open_air else 0.0,
        pale_sky=share(pale_sky(m)[:THIRD]) if open_air else 0.0,
        greenery=share(greenery(m)[-THIRD:]) if open_air else 0.0,
    )


def measured(image: Pixels) -> Measured:
    rgb = resized(image, SIDE, SIDE)
    unit = np.float32(1 / 255) * rgb.astype(np.float32)
    hsv = np.asarray(cv2.cvtColor(unit, cv2.COLOR_RGB2HSV), np.float32)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    texture = np.abs(np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32))
    return Measured(rgb, lab_of(unit), hsv[..., 0], hsv[..., 1], hsv[..., 2], texture)


def lab_of(unit: Floats) -> Floats:
    """[H, W, 3] RGB 0 to 1 to Lab."""
    return np.asarray(cv2.cvtColor(unit, cv2.COLOR_RGB2LAB), np.float32)


# ------------------------------------------------------------------ colours


def anchors() -> Floats:
    """[anchors, 3] in Lab."""
    unit = np.array([[rgb for _, rgb in ANCHORS]], np.float32) / np.float32(255)
    return np.asarray(lab_of(unit)[0], np.float32)


def named(pixels: Pixels) -> tuple[ColourShare, ...]:
    """Everyday names of [N, 3] RGB pixels and the share of them that each covers, largest first."""
    counts: Counter[str] = Counter()
    for anchor, count in enumerate(np.bincount(nearest_anchors()[codes(pixels)], minlength=len(ANCHORS))):
        counts[ANCHORS[anchor][0]] += int(count)
    listed = [(name, count / len(pixels)) for name, count in counts.most_common()]
    return tuple(ColourShare(name=name, share=round(part, 3)) for name, part in listed if part >= LEAST_SHARE)


def codes(pixels: Pixels) -> NDArray[np.intp]:
    """[..., 3] RGB to one of 32 x 32 x 32 colours."""
    return np.asarray((pixels // 8).astype(np.intp) @ np.array([1024, 32, 1]))


@cache
def nearest_anchors() -> NDArray[np.intp]:
    """[32768] the anchor of every code: naming a pixel is a look-up."""
    levels = np.arange(4, 256, 8, dtype=np.float32) / np.float32(255)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(1, -1, 3)
    return nearest(lab_of(colours)[0])


def nearest(lab: Floats) -> NDArray[np.intp]:
    """[N] index of the anchor for each pixel."""
    weights = np.array([LIGHTNESS_WEIGHT, HUE_WEIGHT, HUE_WEIGHT], np.float32)
    distance = (((lab[:, None] - anchors()[None]) ** 2) * weights).sum(-1)
    distance[forbidden(lab)] = np.inf
    return np.asarray(distance.argmin(1))


def forbidden(lab: Floats) -> Mask:
    """[N, anchors] names that a pixel cannot take: a hue without colour, or no hue in spite of it."""
    chroma, lightness = np.hypot(lab[:, 1], lab[:, 2]), lab[:, 0]
    achromatic = np.array([name in ACHROMATIC for name, _ in ANCHORS])
    extreme = (lightness < 12) | (lightness > 93)
    no_hue = (chroma < COLOURLESS) | extreme & (chroma < TINTED)
    not_grey = (chroma > TINTED) & ~extreme
    return np.asarray(no_hue[:, None] & ~achromatic[None] | not_grey[:, None] & achromatic[None])


def monochrome(m: Measured) -> bool:
    """Nearly no pixel has any colour: a black and white picture, not merely a white thing on white."""
    return bool(np.percentile(np.hypot(m.lab[..., 1], m.lab[..., 2]), 98) < 4)


# ------------------------------------------------------------------ subject and background


def ring() -> Mask:
    """The outermost pixels."""
    mask = np.ones((SIDE, SIDE), bool)
    mask[RING:-RING, RING:-RING] = False
    return mask


def plain_border(m: Measured) -> Pixels | None:
    """[3] the one RGB colour that most of the border has, or None."""
    border = m.rgb[ring()].astype(np.int16)
    middle = np.median(border, 0)
    alike = np.abs(border - middle).max(1) < 10
    return middle.astype(np.uint8) if alike.mean() > 0.6 else None


def background_colour(m: Measured, plain: Pixels | None) -> ColourShare | None:
    """The name of a plain background, and the share of the border that has it."""
    if plain is None:
        return None
    name = named(plain[None])[0].name
    alike = np.abs(m.rgb[ring()].astype(np.int16) - plain).max(1) < 10
    return ColourShare(name=name, share=round(float(alike.mean()), 3))


def foreground(m: Measured, plain: Pixels | None) -> Mask:
    """Where the subject probably is; everything, when next to nothing stands out."""
    mask = unlike(m, plain) if plain is not None else central(m)
    return mask if mask.mean() > 0.01 else np.ones_like(mask)


def unlike(m: Measured, plain: Pixels) -> Mask:
    return np.asarray(np.abs(m.rgb.astype(np.int16) - plain).max(-1) > 18)


def central(m: Measured) -> Mask:
    """Pixels whose colour is commoner near the centre than at the border, weighted towards the centre."""
    bins = colour_bins(m)
    weight = centre_weight()
    inside = np.bincount(bins.ravel(), weight.ravel(), 4096) / weight.sum()
    outside = np.bincount(bins[ring()], minlength=4096) / ring().sum()
    odds = inside / (inside + outside + 1e-9)
    likely = cv2.blur(odds[bins].astype(np.float32), (5, 5)) * weight
    return np.asarray(likely > 0.5 * likely.max())


def colour_bins(m: Measured) -> NDArray[np.intp]:
    """[SIDE, SIDE] one of 16 x 16 x 16 colours."""
    coarse = m.rgb.astype(np.intp) // 16
    return coarse[..., 0] * 256 + coarse[..., 1] * 16 + coarse[..., 2]


def centre_weight() -> Floats:
    """A round hill, 1 in the middle, about 0.14 at the middle of an edge."""
    offsets = np.linspace(-1, 1, SIDE, dtype=np.float32)
    hill = np.exp(-2 * offsets**2)
    return np.asarray(np.outer(hill, hill), np.float32)


def flatness(image: Pixels, m: Measured, plain: Pixels | None) -> float:
    """Share of the 12 commonest colours (5 bits a channel), without a plain background's own."""
    sampled = np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST), np.uint8)
    counts = np.sort(np.bincount(codes(sampled).ravel()))[::-1][1 if plain is not None else 0 :]
    return share_of(counts[:12].sum(), counts.sum())


# ------------------------------------------------------------------ sky and green


def blue_sky(m: Measured) -> Mask:
    blue = (m.hue > 185) & (m.hue < 255) & (m.saturation > 0.12)
    return np.asarray(blue & (m.value > 0.35) & (m.texture < 9))


def pale_sky(m: Measured) -> Mask:
    return np.asarray((m.saturation < 0.15) & (m.value > 0.72) & (m.texture < 7))


def greenery(m: Measured) -> Mask:
    return np.asarray((m.hue > 62) & (m.hue < 165) & (m.saturation > 0.18) & (m.value > 0.12))


def share(mask: Mask) -> float:
    return round(float(mask.mean()), 3)


def share_of(part: float, whole: float) -> float:
    return round(float(part / whole), 3) if whole else 1.0
