"""Colours, backgrounds and sky, told from the pixels alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.encoder.appearance import appearance
from services.encoder.views import Pixels
from tests.unit.encoder.builders import solid

EVERYDAY = {
    "red": [(220, 20, 30), (110, 10, 20)],
    "orange": [(255, 140, 0), (230, 110, 40)],
    "yellow": [(250, 220, 40), (255, 255, 100)],
    "green": [(30, 150, 50), (20, 70, 30), (160, 220, 140)],
    "blue": [(30, 80, 210), (130, 190, 240), (15, 25, 90)],
    "purple": [(125, 40, 160), (180, 140, 210)],
    "pink": [(245, 130, 180), (255, 200, 220)],
    "brown": [(110, 70, 40), (75, 45, 25)],
    "beige": [(220, 195, 160)],
    "black": [(8, 8, 10)],
    "white": [(252, 252, 250)],
    "grey": [(128, 128, 128), (90, 92, 90)],
}


@pytest.mark.parametrize(("name", "colour"), [(n, c) for n, colours in EVERYDAY.items() for c in colours])
def test_everyday_colours_have_their_everyday_names(name: str, colour: tuple[int, int, int]) -> None:
    """Dark and light kinds of a colour carry its plain name."""
    assert [name] == [share.name for share in appearance(solid(colour)).colours]


@pytest.mark.parametrize("colour", [(150, 120, 110), (100, 130, 160), (120, 140, 110)])
def test_a_dull_colour_is_not_called_grey(colour: tuple[int, int, int]) -> None:
    """Weak but visible hue."""
    assert "grey" != appearance(solid(colour)).colours[0].name


def disc(colour: tuple[int, int, int], ground: tuple[int, int, int]) -> Pixels:
    picture = solid(ground, 200, 200)
    cv2.circle(picture, (100, 100), 50, colour, -1)
    return picture


def test_colours_are_listed_by_what_they_cover() -> None:
    """A red disc that covers a fifth of a white picture."""
    seen = appearance(disc((210, 20, 30), (250, 250, 250)))
    assert ["white", "red"] == [share.name for share in seen.colours]
    assert [0.8, 0.2] == pytest.approx([share.share for share in seen.colours], abs=0.03)


def test_the_colour_of_the_subject_leaves_a_plain_background_out() -> None:
    """On white, the disc alone counts."""
    seen = appearance(disc((210, 20, 30), (250, 250, 250)))
    assert "red" == seen.subject_colours[0].name
    assert seen.subject_colours[0].share > 0.9
    assert seen.plain_background is not None
    assert ("white", 1.0) == (seen.plain_background.name, seen.plain_background.share)


def test_the_subject_is_told_from_a_busy_background_too() -> None:
    """A small yellow disc before noise in greens."""
    random = np.random.default_rng(3)
    picture = np.stack([random.integers(20, 80, (200, 200)), random.integers(90, 190, (200, 200)),
                        random.integers(20, 80, (200, 200))], -1).astype(np.uint8)  # fmt: skip
    cv2.circle(picture, (100, 100), 28, (250, 220, 40), -1)
    seen = appearance(picture)
    assert seen.plain_background is None
    assert "green" == seen.colours[0].name
    assert "yellow" == seen.subject_colours[0].name


def test_a_grey_photograph_is_monochrome_and_a_white_thing_on_white_is_not() -> None:
    """One small coloured mark makes the difference."""
    ramp = np.tile(np.arange(200, dtype=np.uint8), (150, 1))
    grey = np.repeat(ramp[..., None], 3, axis=2)
    assert appearance(grey).monochrome
    marked = solid((245, 245, 245), 200, 150)
    marked[60:90, 80:120] = (200, 30, 30)
    assert not appearance(marked).monochrome


def test_clear_sky_above_grass_is_seen_as_such() -> None:
    """The upper half blue, the lower half green with texture."""
    random = np.random.default_rng(5)
    picture = solid((90, 150, 230), 240, 180)
    picture[90:] = (60, 130, 40)
    picture[90:] += random.integers(0, 40, (90, 240, 1), dtype=np.uint8)
    seen = appearance(picture)
    assert seen.blue_sky > 0.95
    assert seen.greenery > 0.95
    assert 0.0 == seen.pale_sky


def test_an_overcast_sky_is_pale() -> None:
    """Light grey above dark ground."""
    picture = solid((215, 218, 222), 240, 180)
    picture[100:] = (70, 60, 50)
    seen = appearance(picture)
    assert seen.pale_sky > 0.95
    assert 0.0 == seen.blue_sky


def test_a_studio_background_is_neither_sky_nor_meadow() -> None:
    """Blue, white and green cardboard behind a thing."""
    for ground in ((90, 150, 230), (245, 245, 245), (60, 140, 50)):
        seen = appearance(disc((120, 20, 20), ground))
        assert (0.0, 0.0, 0.0) == (seen.blue_sky, seen.pale_sky, seen.greenery)


def test_a_drawing_is_flatter_than_a_photograph() -> None:
    """A few flat colours against noise."""
    drawing = solid((250, 230, 60), 200, 200)
    cv2.rectangle(drawing, (0, 120), (200, 200), (40, 120, 40), -1)
    cv2.circle(drawing, (100, 70), 40, (200, 30, 30), -1)
    photograph = np.random.default_rng(1).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    assert 1.0 == appearance(drawing).flatness
    assert appearance(photograph).flatness < 0.1


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3)])
def test_extreme_shapes_have_an_appearance_too(size: tuple[int, int]) -> None:
    """One pixel, a line, a column."""
    assert "blue" == appearance(solid((30, 80, 210), *size)).colours[0].name
