"""Lines of text in a picture, by RapidOCR, whose models come with its package."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils
from rapidocr import RapidOCR

LONGEST_SIDE = 960
"""Text is looked for in the picture scaled to this; recognition reads each line from the full picture."""
SMALL = 480
"""Pictures smaller than this are read at twice their size: a 384-pixel page goes from two lines in three to
all.
"""

SETTINGS = {
    "Global.log_level": "critical",
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    "Det.limit_type": "max",
    "Det.limit_side_len": LONGEST_SIDE,
}


class TritonPythonModel:
    """`images` uint8 [1,H,W,3] RGB → `texts` BYTES [L], `scores` FP32 [L], `boxes` FP32 [L,4,2] in its
    pixels.
    """

    def initialize(self, args: dict[str, str]) -> None:
        self._reader = RapidOCR(params=SETTINGS)
        self._read(np.zeros((64, 64, 3), np.uint8))

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        del self._reader

    def _answer(self, request: Any) -> Any:
        try:
            images = pb_utils.get_input_tensor_by_name(request, "images").as_numpy()
            outputs = self._read(one_picture(images))
        except Exception as error:  # whatever the reader raises belongs to this request alone
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{type(error).__name__}: {error}"))
        names = ("texts", "scores", "boxes")
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(n, o) for n, o in zip(names, outputs, strict=True)]
        )

    def _read(self, picture: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
        factor = 2 if max(picture.shape) < SMALL else 1
        found: Any = self._reader(enlarged(np.ascontiguousarray(picture[:, :, ::-1]), factor))
        if found is None or found.txts is None:
            return no_lines()
        texts = np.array([text.encode() for text in found.txts], np.object_)
        return texts, np.asarray(found.scores, np.float32), corners(found.boxes) / factor


def one_picture(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The only picture of the request. Raises ValueError for another number of pictures."""
    if images.ndim != 4 or images.shape[0] != 1 or images.shape[3] != 3:
        raise ValueError(f"images must be [1,H,W,3], not {list(images.shape)}")
    picture: np.ndarray[Any, Any] = images[0]
    return picture


def enlarged(picture: np.ndarray[Any, Any], factor: int) -> np.ndarray[Any, Any]:
    if factor == 1:
        return picture
    larger: np.ndarray[Any, Any] = cv2.resize(
        picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC
    )
    return larger


def corners(boxes: Any) -> np.ndarray[Any, Any]:
    quadrangles: np.ndarray[Any, Any] = np.asarray(boxes, np.float32).reshape(-1, 4, 2)
    return quadrangles


def no_lines() -> tuple[np.ndarray[Any, Any], ...]:
    return np.empty(0, np.object_), np.empty(0, np.float32), np.empty((0, 4, 2), np.float32)
