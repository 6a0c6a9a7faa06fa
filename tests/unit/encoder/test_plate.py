"""The number plate of scripted runs survives what happens to an image on its way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.encoder.scripted import ScriptedVision, plate, read_plate
from services.encoder.views import Pixels
from tests.unit.encoder.builders import solid

NUMBERS = [0, 1, 123, 0x5555_5555, 0xDEAD_BEEF, 2**32 - 1]


def through_jpeg(picture: Pixels, quality: int) -> Pixels:
    _, file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_plate_reads_as_its_number(number: int) -> None:
    """All bits clear, all set, and patterns between."""
    assert number == read_plate(plate(number))


@pytest.mark.parametrize("size", [(64, 48), (100, 75), (256, 192), (1024, 333), (1537, 1151)])
def test_a_plate_may_have_any_size(size: tuple[int, int]) -> None:
    """Also sizes that the cells do not divide."""
    assert plate(123_456, size).shape == (size[1], size[0], 3)
    assert 123_456 == read_plate(plate(123_456, size))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_plate_survives_jpeg_and_resizing(number: int) -> None:
    """Quality 70, then reduced, then enlarged again, then another JPEG."""
    picture = through_jpeg(plate(number, (640, 480)), 70)
    picture = np.asarray(cv2.resize(picture, (200, 150), interpolation=cv2.INTER_AREA), np.uint8)
    picture = np.asarray(cv2.resize(picture, (500, 375), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert number == read_plate(through_jpeg(picture, 60))


def test_other_pictures_are_no_plates() -> None:
    """White, grey, noise, a plate turned by a quarter, half a plate."""
    noise = np.random.default_rng(2).integers(0, 255, (192, 256, 3)).astype(np.uint8)
    number = plate(0xDEAD_BEEF)
    turned, half = np.rot90(number).copy(), number[:, :128].copy()
    others = [solid((255, 255, 255)), solid((128, 128, 128)), noise, turned, half]
    assert [None] * len(others) == [read_plate(other) for other in others]


def test_a_number_beyond_32_bits_has_no_plate() -> None:
    """Neither has a negative one."""
    for number in (-1, 2**32):
        with pytest.raises(ValueError, match="32 bits"):
            plate(number)


async def test_the_scripted_engine_reads_the_plate_of_the_picture_that_it_is_given() -> None:
    """And nothing from a picture without one."""
    vision = ScriptedVision()
    (line,) = await vision.read(plate(123))
    assert ("ID 000123", 0.99) == (line.text, line.score)
    assert [] == await vision.read(solid((10, 200, 30)))
