"""The vision half under ONNX Runtime: one laid picture → its visual tokens. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from triton_models.vision_language.split import OUTPUT, DoesNotFit, Laid, Split
from triton_models.vision_language.visual_tokens import VisualTokens


class Eye:
    """One session with one thread, as tritonserver runs it on a CPU."""

    def __init__(self, split: Split, graph: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._split = split
        self._check_names()

    def see(self, laid: Laid) -> VisualTokens:
        """`values` fp32 [n, width]."""
        (values,) = self._session.run([OUTPUT], laid.inputs)
        return VisualTokens(values, laid.grid)

    def _check_names(self) -> None:
        expected = [tensor.name for tensor in self._split.tensors]
        found = [given.name for given in self._session.get_inputs()]
        if sorted(found) != sorted(expected):
            raise DoesNotFit(f"the graph takes {found}, its class says {expected}")
