"""Real photographs with clear licences, out of the scikit-image and scikit-learn wheels."""

from __future__ import annotations

import cv2
import numpy as np

from captionstream.local.installed import Installed
from services.encoder.views import Pixels

FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}


def photograph(package: str, name: str) -> Pixels:
    """uint8 RGB, as ingest would prepare it."""
    path = Installed.here().photographs / package / FOLDERS[package] / name
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None, path
    return np.ascontiguousarray(np.asarray(picture, np.uint8)[..., ::-1])


def astronaut() -> Pixels:
    return photograph("skimage", "astronaut.png")


def chelsea() -> Pixels:
    """A cat."""
    return photograph("skimage", "chelsea.png")


def coffee() -> Pixels:
    """A cup of espresso on a wooden table."""
    return photograph("skimage", "coffee.png")


def page() -> Pixels:
    """A photographed page of print."""
    return photograph("skimage", "page.png")


def motorcycle() -> Pixels:
    """With its maker's name on the tank."""
    return photograph("skimage", "motorcycle_left.png")


def china() -> Pixels:
    """A temple under a hazy sky."""
    return photograph("sklearn", "china.jpg")
