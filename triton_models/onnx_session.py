"""What Triton's python backend runs for a model that is one ONNX file.

Triton imports it from beside `model.py`, where `repository.render` puts it: the backend's interpreter does
not know this package. Input and output names come from the model's own configuration.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class OnnxModel:
    """One ONNX Runtime session of one thread for each instance; as many instances as cores is the fast way.

    Requests are answered one by one: on a CPU a batch costs as much as its pictures one after another.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the weights and runs them once; the model does not become ready if that raises."""
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._session = one_thread(Path(args["model_repository"], args["model_version"], "model.onnx"))
        self._run({i.name: first(i.type, i.shape) for i in self._session.get_inputs()})

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        del self._session

    def _answer(self, request: Any) -> Any:
        try:
            given = {n: pb_utils.get_input_tensor_by_name(request, n).as_numpy() for n in self._inputs}
            outputs = self._run(given)
        except Exception as error:  # whatever the engine raises belongs to this request alone
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{type(error).__name__}: {error}"))
        tensors = [pb_utils.Tensor(n, o) for n, o in zip(self._outputs, outputs, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _run(self, inputs: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        outputs: list[np.ndarray[Any, Any]] = self._session.run(self._outputs, inputs)
        return outputs


def one_thread(weights: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])


TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
    "tensor(float)": np.float32,
    "tensor(bool)": np.bool_,
}


def first(kind: str, shape: list[int | str]) -> np.ndarray[Any, Any]:
    """A black picture of this type and shape, one in the batch: named dimensions count as 1.

    What says which places are filled says that all are: a mean over none of them is no number.
    """
    sides = [d if isinstance(d, int) else 1 for d in shape]
    return np.full(sides, kind == "tensor(bool)", TYPES[kind])
