"""Every model sees the whole picture, and what it finds maps back to where it was."""

from __future__ import annotations

import numpy as np
import pytest

from services.encoder import views
from services.encoder.detections import COCO_NAMES, distinct, objects
from services.encoder.views import Floats, Pixels, Placement
from tests.unit.encoder.builders import solid

WHOLE = Placement(0.0, 0.0, 1.0, 1.0)


def with_patch(width: int, height: int, box: tuple[int, int, int, int]) -> Pixels:
    """A grey picture with a red rectangle; `box` is left, top, right, bottom in pixels."""
    picture = solid((90, 90, 90), width, height)
    left, top, right, bottom = box
    picture[top:bottom, left:right] = (250, 10, 10)
    return picture


def red_box(picture: Pixels) -> list[float]:
    """Left, top, right, bottom of what is red, in shares of the picture."""
    rows, columns = np.nonzero((picture[..., 0] > 170) & (picture[..., 1] < 60))
    height, width = picture.shape[:2]
    first, last = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    return [first[0] / width, first[1] / height, last[0] / width, last[1] / height]


@pytest.mark.parametrize("size", [(800, 200), (200, 800), (416, 416), (1536, 1024), (31, 17)])
def test_a_box_in_the_letterboxed_picture_maps_back_to_the_picture(size: tuple[int, int]) -> None:
    """Wide, tall, square, large and tiny pictures: at most two pixels of the detector's square are lost."""
    width, height = size
    box = (width // 4, height // 8, width // 2, height // 2)
    picture = with_patch(width, height, box)
    seen, placed = views.detector_view(picture)
    mapped = placed.back(np.array([red_box(seen)], np.float32))[0]
    expected = [box[0] / width, box[1] / height, box[2] / width, box[3] / height]
    tolerance = 2 / (416 * min(width, height) / max(width, height))
    assert expected == pytest.approx(mapped.tolist(), abs=tolerance)


def test_the_detectors_square_is_black_outside_the_picture() -> None:
    """A wide white picture leaves black bars above and below."""
    seen, _ = views.detector_view(solid((255, 255, 255), 400, 100))
    assert seen.shape == (416, 416, 3)
    assert seen[:150].max() == 0 and seen[-150:].max() == 0
    assert seen[208].min() == 255


def test_a_box_over_the_edge_is_clipped_to_the_picture() -> None:
    """Half of this box lies in the letterbox's bar."""
    placed = Placement(0.0, 0.25, 1.0, 0.5)
    assert [[0.0, 0.0, 0.5, 0.5]] == placed.back(np.array([[0.0, 0.0, 0.5, 0.5]], np.float32)).tolist()


def test_the_tagger_sees_letterbox_and_squash_and_their_mirror_images() -> None:
    """Four views of 260 pixels, in a fixed order."""
    picture = with_patch(400, 200, (0, 0, 100, 200))
    letterbox, squash, mirrored_letterbox, mirrored_squash = views.tagger_views(picture)
    assert red_box(squash) == pytest.approx([0, 0, 0.25, 1], abs=0.01)
    assert red_box(letterbox)[2] == pytest.approx(0.25, abs=0.01)
    assert np.array_equal(mirrored_letterbox, letterbox[:, ::-1])
    assert np.array_equal(mirrored_squash, squash[:, ::-1])


def test_fewer_views_are_the_first_ones() -> None:
    """One view is the letterboxed picture."""
    picture = with_patch(300, 200, (0, 0, 50, 50))
    assert np.array_equal(views.tagger_views(picture, 1)[0], views.tagger_views(picture, 4)[0])
    assert views.tagger_views(picture, 1).shape == (1, 260, 260, 3)


def test_the_taggers_square_is_filled_with_the_colour_of_the_edges() -> None:
    """A letterbox in the picture's own edge colour adds no contrast."""
    filled = views.tagger_views(solid((20, 120, 220), 400, 100), 1)[0]
    assert (filled == (20, 120, 220)).all()


def test_shrinking_averages_what_it_covers() -> None:
    """A fine checkerboard becomes grey, not black or white."""
    board = np.indices((512, 512)).sum(0) % 2 * 255
    picture = np.repeat(board[..., None].astype(np.uint8), 3, axis=2)
    assert views.screen_view(picture).astype(int).std() < 30
    assert views.resized(picture, 128, 128).tolist() == np.full((128, 128, 3), 128).tolist()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4000, 1000), (1280, 320)),
        ((1000, 700), (1000, 700)),
        ((320, 160), (640, 320)),
        ((3, 5000), (1, 1280)),
    ],
)
def test_the_reader_sees_small_pictures_enlarged_and_large_ones_reduced(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    """Its longer side is between 640 and the setting."""
    seen = views.reader_view(solid((200, 200, 200), *size), 1280)
    assert expected == (seen.shape[1], seen.shape[0])


def scores(*rows: tuple[str, float]) -> Floats:
    table = np.zeros((len(rows), 80), np.float32)
    for row, (name, score) in enumerate(rows):
        table[row, COCO_NAMES.index(name)] = score
    return table


def test_of_two_boxes_around_one_dog_the_surer_stays() -> None:
    """They overlap by more than half."""
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.12, 0.1, 0.5, 0.52]], np.float32)
    found = objects(boxes, scores(("dog", 0.6), ("dog", 0.9)), WHOLE)
    assert [("dog", 0.9)] == [(one.label, one.score) for one in found]


def test_a_person_on_a_horse_are_two_objects() -> None:
    """Boxes of different classes do not suppress each other."""
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.5]], np.float32)
    found = objects(boxes, scores(("person", 0.7), ("horse", 0.8)), WHOLE)
    assert ["horse", "person"] == [one.label for one in found]


def test_two_dogs_side_by_side_stay_two() -> None:
    """Boxes that overlap little are two objects of one class."""
    boxes = np.array([[0.0, 0.0, 0.4, 0.4], [0.3, 0.0, 0.7, 0.4]], np.float32)
    assert 2 == len(objects(boxes, scores(("dog", 0.6), ("dog", 0.5)), WHOLE))


def test_nothing_below_the_threshold_is_an_object() -> None:
    """0.34 is not, 0.36 is."""
    boxes = np.array([[0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]], np.float32)
    found = objects(boxes, scores(("cat", 0.34), ("cat", 0.36)), WHOLE)
    assert [0.36] == [one.score for one in found]


def test_what_lies_in_the_bars_of_the_letterbox_is_no_object() -> None:
    """A box above the picture has no extent in it."""
    boxes = np.array([[0.2, 0.0, 0.8, 0.2]], np.float32)
    assert () == objects(boxes, scores(("kite", 0.9)), Placement(0.0, 0.25, 1.0, 0.5))


def test_suppression_keeps_the_best_of_each_cluster() -> None:
    """Against the plain definition, on 100 random boxes of two classes, many of them alike."""
    random = np.random.default_rng(7)
    corners = random.uniform(0, 0.3, (100, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0.2, 0.4, (100, 2))], 1).astype(np.float32)
    certainty = random.uniform(0.36, 1, 100).astype(np.float32)
    classes = random.integers(0, 2, 100)
    expected: list[int] = []
    for one in np.argsort(-certainty):
        if all(classes[one] != classes[kept] or overlap(boxes[one], boxes[kept]) <= 0.5 for kept in expected):
            expected.append(int(one))
    assert 10 < len(expected) < 60
    assert expected == distinct(boxes, certainty, classes)


def overlap(one: Floats, other: Floats) -> float:
    """Intersection over union."""
    corner, far = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.clip(far - corner, 0, None))
    return float(shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared))
