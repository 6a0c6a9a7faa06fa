"""The graph of a decoder in ONNX Runtime, and the caches of those who are being written.

A slot holds the keys and values of one request. The graph writes into them where they lie: nothing is copied from
step to step, and a slot that is free costs nothing. Not for more than one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from services.generator.prefix.constraint import Floats
from triton_models.vision_language import decoder_graph
from triton_models.vision_language.decoder_graph import DecoderFacts, Recipe

Ids = npt.NDArray[np.int64]
INPUTS = ("embeddings", "last", "total")


class Decoder:
    """`slots` requests of at most `tokens` tokens."""

    def __init__(
        self, session: Any, facts: DecoderFacts, embeddings: Floats, slots: int, tokens: int
    ) -> None:
        self.facts, self.slots, self.tokens = facts, slots, min(tokens, facts.positions)
        self._session, self._embeddings = session, embeddings
        # The system gives zeros out page by page: what no request has filled is not there yet.
        self._caches = np.zeros((facts.layers, 2, slots, facts.heads, self.tokens, facts.head), np.float32)
        self._steps: dict[int, _Step] = {}
        self._reads: dict[int, Any] = {}

    @classmethod
    def open(cls, serving: Path, recipe: Recipe, slots: int, tokens: int, threads: int = 1) -> Decoder:
        """`serving` is what decoder_graph.write wrote."""
        embeddings = np.load(serving / decoder_graph.EMBEDDINGS, mmap_mode="r")
        session = _session(decoder_graph.graph_file(serving, recipe), threads)
        return cls(session, decoder_graph.facts(serving), embeddings, slots, tokens)

    def embed(self, ids: Sequence[int] | Ids) -> Floats:
        """Ids [n] → [n, width]"""
        found: Floats = self._embeddings[np.asarray(ids, np.int64)]
        return found

    def read(self, slot: int, embeddings: Floats, past: int = 0) -> Floats:
        """Embeddings [s, width] behind `past` tokens that the slot holds already → logits [vocabulary] of the last."""
        logits = np.empty((1, self.facts.vocabulary), np.float32)
        total = past + len(embeddings)
        if slot not in self._reads:
            self._reads[slot] = self._bound(slot, 1)
        run = self._reads[slot]
        given = np.ascontiguousarray(embeddings[None], np.float32)
        inputs = (given, np.array([total - 1], np.int32), np.array(total, np.int32))
        for name, array in zip(INPUTS, inputs, strict=True):
            _give(run, name, array)
        _take(run, "logits", logits)
        self._session.run_with_iobinding(run)
        newest: Floats = logits[0]
        return newest

    def step(self, embeddings: Floats, lengths: Sequence[int]) -> Floats:
        """One token each of the first b slots, [b, width], behind `lengths` tokens [b] → logits [b, vocabulary].

        The answer is valid until the next step.
        """
        rows = len(lengths)
        if rows not in self._steps:
            self._steps[rows] = _Step(self._bound(0, rows), rows, self.facts)
        step = self._steps[rows]
        step.embeddings[:, 0] = embeddings
        step.last[:] = lengths
        step.total[...] = max(lengths) + 1
        self._session.run_with_iobinding(step.run)
        return step.logits

    def move(self, slot: int, to: int, length: int) -> None:
        self._caches[:, :, to, :, :length] = self._caches[:, :, slot, :, :length]

    def kept(self, slot: int, length: int) -> Floats:
        """A copy of the first `length` tokens' keys and values, for `lay`."""
        return self._caches[:, :, slot, :, :length].copy()

    def lay(self, slot: int, kept: Floats) -> None:
        self._caches[:, :, slot, :, : kept.shape[3]] = kept

    def _bound(self, slot: int, rows: int) -> Any:
        """A run that reads and writes the caches of slots `slot` to `slot + rows`."""
        run = self._session.io_binding()
        for layer in range(self.facts.layers):
            for place, what in enumerate(("key", "value")):
                cache = self._caches[layer, place, slot : slot + rows]
                _give(run, f"past.{layer}.{what}", cache)
                _take(run, f"present.{layer}.{what}", cache)
        return run


class _Step:
    """A step of so many rows, bound once to arrays that are filled anew each time."""

    def __init__(self, run: Any, rows: int, facts: DecoderFacts) -> None:
        self.run = run
        self.embeddings = np.empty((rows, 1, facts.width), np.float32)
        self.last = np.empty(rows, np.int32)
        self.total = np.array(0, np.int32)
        self.logits = np.empty((rows, facts.vocabulary), np.float32)
        for name in INPUTS:
            _give(run, name, getattr(self, name))
        _take(run, "logits", self.logits)


def _give(run: Any, name: str, array: npt.NDArray[Any]) -> None:
    """The caller keeps `array` alive until the run is over."""
    run.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


def _take(run: Any, name: str, array: npt.NDArray[Any]) -> None:
    run.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


def _session(graph: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it keeps a plan for each length of a prompt that there ever was
    options.log_severity_level = 3
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
