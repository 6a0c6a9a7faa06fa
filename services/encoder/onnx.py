"""The vision models in this process, by ONNX Runtime and RapidOCR: no server, the same numbers."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime

from captionstream.contracts.evidence import EncoderFingerprint
from captionstream.runtime.errors import Unavailable
from captionstream.telemetry import metrics
from services.encoder.seer import Inputs
from services.encoder.views import Floats, Pixels
from services.encoder.vision import CLASSES, FEATURES, OBJECT_CLASSES, ReadLine, ask_all, sound
from triton_models.registry import SplitModel
from triton_models.repository import ModelFileChanged, read_halves
from triton_models.vision_language.eye import Eye
from triton_models.vision_language.split import Laid

ENGINE = "onnx"
PROVIDERS = ["CPUExecutionProvider"]
Result = TypeVar("Result")
READER_SETTINGS = {
    "Global.log_level": "critical",
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    "Det.limit_type": "max",
    "Det.limit_side_len": 960,
}
"""The same as in triton_models/text_reader: text is looked for at 960 pixels, read from the full picture."""


class Session:
    """One ONNX model, loaded when it is first asked or warmed."""

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        self._path = path
        self._outputs = list(outputs)
        self._loading = threading.Lock()
        self._session: Any = None

    def warm(self) -> None:
        with self._loading:
            if self._session is None:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = options.inter_op_num_threads = 1
                options.enable_cpu_mem_arena = False  # 100 MB less, no slower
                options.log_severity_level = 3
                self._session = onnxruntime.InferenceSession(self._path, options, providers=PROVIDERS)

    def run(self, images: Pixels) -> list[Any]:
        self.warm()
        return list(self._session.run(self._outputs, {"images": np.ascontiguousarray(images)}))


class Reader:
    """RapidOCR, one picture at a time: its stages keep state between calls."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._engine: Any = None

    def warm(self) -> None:
        with self._one:
            self._load()

    def _load(self) -> None:
        if self._engine is None:
            from rapidocr import RapidOCR  # takes a second; not needed before there is a picture

            self._engine = RapidOCR(params=READER_SETTINGS)

    def run(self, image: Pixels) -> list[ReadLine]:
        with self._one:
            self._load()
            found = self._engine(np.ascontiguousarray(image[..., ::-1]))
        if found.txts is None:
            return []
        quads = np.asarray(found.boxes, np.float32).reshape(-1, 4, 2)
        return [ReadLine(*line) for line in zip(found.txts, map(float, found.scores), quads, strict=True)]


class OnnxVision:
    """`weights` names the file of `vision_encoder`, `object_detector` and `content_screen`."""

    def __init__(
        self, weights: Mapping[str, Path], fingerprint: EncoderFingerprint, threads: int = 0
    ) -> None:
        self._tagger = Session(weights["vision_encoder"], ("class_logits", "embedding"))
        self._detector = Session(weights["object_detector"], ("boxes", "scores"))
        self._screen = Session(weights["content_screen"], ("score",))
        self._reader = Reader()
        self._fingerprint = fingerprint
        self._threads = ThreadPoolExecutor(threads or os.cpu_count(), thread_name_prefix="vision")

    @property
    def fingerprint(self) -> EncoderFingerprint:
        return self._fingerprint

    async def warm(self) -> None:
        """Loads the models side by side, the slowest first."""
        loads = (self._reader.warm, self._tagger.warm, self._detector.warm, self._screen.warm)
        await asyncio.gather(*(self._threaded(load) for load in loads))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def classify(self, views: Pixels) -> tuple[Floats, Floats]:
        logits, embedding = await self._timed("vision_encoder", partial(self._tagger.run, views))
        count = len(views)
        return (
            sound(ENGINE, "class_logits", logits, count, CLASSES),
            sound(ENGINE, "embedding", embedding, count, FEATURES),
        )

    async def detect(self, image: Pixels) -> tuple[Floats, Floats]:
        boxes, scores = await self._timed("object_detector", partial(self._detector.run, image[None]))
        anchors = np.shape(boxes)[1]
        return (
            sound(ENGINE, "boxes", boxes, 1, anchors, 4)[0],
            sound(ENGINE, "scores", scores, 1, anchors, OBJECT_CLASSES)[0],
        )

    async def read(self, image: Pixels) -> list[ReadLine]:
        return await self._timed("text_reader", partial(self._reader.run, image))

    async def screen(self, image: Pixels) -> float:
        (score,) = await self._timed("content_screen", partial(self._screen.run, image[None]))
        return float(sound(ENGINE, "score", score, 1, 1)[0, 0])

    async def probe(self) -> None:
        await ask_all(self)

    async def _timed(self, model: str, work: Callable[[], Result]) -> Result:
        return await self._threaded(partial(timed, model, work))

    async def _threaded(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


MOST_EYES = 3
"""Production, canary, and what was production before: a record that waited may still be looked at with it."""


class OnnxEyes:
    """The vision halves of split models in this process, each loaded when it is first asked."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="eyes")
        self._eyes: OrderedDict[str, Eye] = OrderedDict()

    async def look(self, model: SplitModel, inputs: Inputs) -> object:
        """Raises Unavailable when its files are not the recorded ones."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(self._looked, model, inputs)
        )

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _looked(self, model: SplitModel, inputs: Inputs) -> object:
        eye = self._eye(model)
        return timed(model.triton_name, lambda: eye.see(Laid(dict(inputs), ())).values)

    def _eye(self, model: SplitModel) -> Eye:
        if model.digest not in self._eyes:
            self._eyes[model.digest] = opened(model)
        self._eyes.move_to_end(model.digest)
        while len(self._eyes) > MOST_EYES:
            self._eyes.popitem(last=False)
        return self._eyes[model.digest]


def opened(model: SplitModel) -> Eye:
    try:
        read_halves(model.folder)
    except ModelFileChanged as changed:
        raise Unavailable(ENGINE, f"{model.triton_name} is not what was proved") from changed
    return Eye(model.halves.split, model.graph)


def timed(model: str, work: Callable[[], Result]) -> Result:
    """Without the wait for a thread."""
    with metrics.ENGINE_SECONDS.labels(ENGINE, model).time():
        return work()
