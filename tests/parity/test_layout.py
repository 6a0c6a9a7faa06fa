"""How a prepared picture is laid out for its tower, what stands for it in a prompt, and where its tokens lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from triton_models.vision_language.idefics3 import Idefics3Split
from triton_models.vision_language.llava_onevision import LlavaOnevisionSplit
from triton_models.vision_language.qwen2_5_vl import NOTHING, Qwen25VLSplit
from triton_models.vision_language.split import DoesNotFit

SHARED: dict[str, Any] = {
    "width": 8,
    "image_token": "<i>",
    "image_token_id": 9,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "scale": 1 / 255,
    "resample": 3,
}
SQUARES = Idefics3Split(**SHARED, side=4, tokens_a_tile=2, longest=8, tiled=True)
LINES = LlavaOnevisionSplit(
    **SHARED, side=4, patches=2, most_tiles=2, resolutions=((4, 4), (4, 8), (8, 4), (8, 8))
)
WINDOWS = Qwen25VLSplit(**SHARED, patch=2, frames=2, merge=2, window=2, least=16, most=64)


def square_tiles(count: int) -> np.ndarray[Any, Any]:
    return np.zeros((1, count, 3, 4, 4), np.uint8)


def patches_of(rows: int, columns: int) -> dict[str, np.ndarray[Any, Any]]:
    """A picture whose patch number n has the value n everywhere."""
    values = np.broadcast_to(np.arange(rows * columns, dtype=np.uint8)[:, None], (rows * columns, 24))
    return {"pixel_values": values, "image_grid_thw": np.array([[1, rows, columns]])}


# ---------------------------------------------------------------- Idefics3 and SmolVLM


def test_a_single_tile_stands_between_two_marks() -> None:
    """SmolVLM without splitting: the whole picture and nothing else."""
    expected = "<fake_token_around_image><global-img><i><i><fake_token_around_image>"
    assert expected == SQUARES.placeholder(2, (0, 0))


def test_tiles_are_named_by_row_and_column_with_the_whole_picture_last() -> None:
    """The language model was trained on these very words."""
    mark = "<fake_token_around_image>"
    expected = f"{mark}<row_1_col_1><i><i>{mark}<row_1_col_2><i><i>\n\n{mark}<global-img><i><i>{mark}"
    assert expected == SQUARES.placeholder(6, (1, 2))


def test_a_number_of_tokens_that_the_tiles_do_not_have_is_refused() -> None:
    """Else text tokens would be read as parts of the picture."""
    with pytest.raises(DoesNotFit, match="5 visual tokens for 1 x 2"):
        SQUARES.placeholder(5, (1, 2))


def test_tiles_come_as_bytes_with_the_colours_last() -> None:
    """As every other model here takes its pictures."""
    laid = SQUARES.lay({"pixel_values": square_tiles(3), "rows": np.array([[1]]), "cols": np.array([[2]])})
    assert ((3, 4, 4, 3), np.uint8) == (laid.inputs["images"].shape, laid.inputs["images"].dtype)
    assert (1, 2) == laid.grid


def test_pixels_that_were_already_normalised_are_refused() -> None:
    """The graph does that; done twice, a picture would turn grey without an error."""
    pixels = square_tiles(1) - np.float32(0.5)
    with pytest.raises(DoesNotFit, match="no whole numbers"):
        SQUARES.lay({"pixel_values": pixels, "rows": np.array([[0]]), "cols": np.array([[0]])})


# ---------------------------------------------------------------- LLaVA-OneVision


def test_the_resolution_keeps_most_of_the_picture_with_the_least_border() -> None:
    """A wide picture gets a wide grid of tiles."""
    assert (4, 8) == LINES.resolution(10, 20)
    assert (8, 4) == LINES.resolution(20, 10)
    assert (8, 8) == LINES.resolution(20, 20)
    assert (4, 4) == LINES.resolution(3, 3)


def test_each_line_of_a_picture_ends_with_a_newline() -> None:
    """Two tiles side by side: first the whole picture's four tokens, then two lines of four across both tiles."""
    sources, weights = LINES.reading_order(4, 8)
    newline = 3 * 4
    expected = [0, 1, 2, 3, 4, 5, 8, 9, newline, 6, 7, 10, 11, newline]
    assert expected == sources[:, 0].tolist()
    assert (weights == 1).all()


def test_what_only_filled_a_tile_up_is_not_read() -> None:
    """A flat picture on two tiles has a border above and below."""
    wide = LlavaOnevisionSplit(**SHARED, side=8, patches=8, most_tiles=9, resolutions=((8, 16),))
    read = len(wide.reading_order(2, 8)[0])
    assert 64 + 4 * (16 + 1) == read


def test_too_many_tokens_become_fewer_and_each_is_a_whole() -> None:
    """Four tiles where two are allowed: the weights of each new token sum to one."""
    tall = LlavaOnevisionSplit(**SHARED, side=4, patches=4, most_tiles=1, resolutions=((8, 8),))
    sources, weights = tall.reading_order(8, 8)
    assert (16 + 4 * (4 + 1), 4) == sources.shape
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)


# ---------------------------------------------------------------- Qwen2.5-VL


def test_windows_cover_a_picture_that_they_do_not_divide() -> None:
    """3 x 3 tokens in windows of 2 x 2: four windows, the last ones partly empty."""
    expected = [[0, 1, 3, 4], [2, NOTHING, 5, NOTHING], [6, 7, NOTHING, NOTHING], [8, *[NOTHING] * 3]]
    assert expected == WINDOWS.windows(3, 3).tolist()


def test_the_order_brings_tokens_back_into_reading_order() -> None:
    """What comes out window by window is read line by line."""
    laid = WINDOWS.lay(patches_of(6, 6))
    first_patches = laid.inputs["patches"].reshape(-1, 4, 12)[:, 0, 0]
    assert [4 * token for token in range(9)] == first_patches[laid.inputs["order"]].tolist()


def test_each_patch_keeps_its_row_and_column() -> None:
    """Patch 4 is the first of the second token: row 0, column 2."""
    laid = WINDOWS.lay(patches_of(4, 6))
    at = {int(p.flat[0]): place.tolist() for p, place, filled in _places(laid.inputs) if filled}
    assert 24 == len(at)
    assert ([0, 0], [0, 1], [1, 0], [0, 2]) == (at[0], at[1], at[2], at[4])


def _places(inputs: dict[str, Any]) -> Any:
    flat = (inputs[name].reshape(-1, *inputs[name].shape[2:]) for name in ("patches", "places", "filled"))
    return zip(*flat, strict=True)


def test_frames_that_differ_are_no_picture() -> None:
    """Only one of them would be sent."""
    picture = patches_of(2, 2)
    values = picture["pixel_values"].copy()
    values[0, 5] += 1
    with pytest.raises(DoesNotFit, match="frames of a picture differ"):
        WINDOWS.lay({**picture, "pixel_values": values})


def test_words_count_on_from_the_longer_side_of_a_picture() -> None:
    """A picture of 1 x 2 tokens between two words: it takes two places, not the two tokens' three axes."""
    text, frame, row, column = WINDOWS.positions([5, 9, 9, 6, 7], [(1, 2, 4)]).tolist()
    assert [0, 1, 2, 3, 4] == text
    assert [0, 1, 1, 3, 4] == frame
    assert [0, 1, 1, 3, 4] == row
    assert [0, 1, 2, 3, 4] == column


def test_two_pictures_lie_one_after_the_other() -> None:
    """The second begins where the words after the first ended."""
    positions = WINDOWS.positions([9, 9, 5, 9, 6], [(1, 4, 2), (1, 2, 2)])
    assert [[0, 0, 2, 3, 4], [0, 1, 2, 3, 4], [0, 0, 2, 3, 4]] == positions[1:].tolist()
