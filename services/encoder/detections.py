"""From a detector's anchors to objects: who is above the threshold, and who only repeats another."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from captionstream.contracts.evidence import Detection
from captionstream.contracts.values import Box
from services.encoder.views import Floats, Placement

THRESHOLD = 0.35
SAME_OBJECT = 0.5  # intersection over union above which two boxes of one class are one object
MOST_OBJECTS = 100
COCO_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's 80 classes in the order of the detector's scores."""


def objects(boxes: Floats, scores: Floats, placed: Placement) -> tuple[Detection, ...]:
    """Surest first, in shares of the image. `boxes` [A, 4] are in shares of the square, `scores` [A, 80]."""
    likely = np.flatnonzero(scores.max(1) >= THRESHOLD)
    boxes, scores = boxes[likely], scores[likely]
    classes, best = scores.argmax(1), scores.max(1)
    kept = distinct(boxes, best, classes)
    found = zip(placed.back(boxes[kept]), best[kept], classes[kept], strict=True)
    return tuple(detection(box, score, COCO_NAMES[name]) for box, score, name in found if extends(box))


def distinct(boxes: Floats, scores: Floats, classes: NDArray[np.intp]) -> list[int]:
    """Indices that stay after non-maximum suppression within each class, best score first."""
    if not len(boxes):
        return []
    corners, extents = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    rectangles = np.concatenate([corners, extents], 1).tolist()
    kept = cv2.dnn.NMSBoxesBatched(rectangles, scores.tolist(), classes.tolist(), THRESHOLD, SAME_OBJECT)
    return sorted((int(index) for index in kept), key=lambda index: -scores[index])[:MOST_OBJECTS]


def extends(box: Floats) -> bool:
    """Whether anything of the box lies inside the picture (some lie wholly in the letterbox's bars)."""
    return bool(box[2] > box[0] and box[3] > box[1])


def detection(box: Floats, score: np.float32, label: str) -> Detection:
    left, top, right, bottom = (round(float(side), 4) for side in box)
    place = Box(left=left, top=top, right=right, bottom=bottom)
    return Detection(label=label, score=round(float(score), 4), box=place)
