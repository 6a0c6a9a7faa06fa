"""A tower as an ONNX file, and the call that makes a TensorRT plan of it.

Names, types and free dimensions are those of `Split.tensors`; there is one output, `visual_tokens` [tokens, width] in
fp32. The opset is fixed, so that the same checkpoint gives the same graph.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from triton_models.vision_language.split import OUTPUT, Array, Split, Tensor

OPSET = 17
REACH = {"tiles": (1, 1, 37), "windows": (1, 25, 256), "tokens": (1, 400, 16384), "parts": (1, 1, 4)}
"""Of a plan: the least, the usual and the most of each free dimension."""


def write(tower: Any, split: Split, file: Path) -> None:
    """`tower` is of `towers.tower_of`."""
    import torch

    free = {t.name: {n: d for n, d in enumerate(t.dims) if isinstance(d, str)} for t in split.tensors}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is traced is checked by `parity`, number by number
        torch.onnx.export(
            tower,
            tuple(torch.from_numpy(example(tensor)) for tensor in split.tensors),
            file,
            input_names=[tensor.name for tensor in split.tensors],
            output_names=[OUTPUT],
            dynamic_axes={**free, OUTPUT: {0: "tokens"}},
            opset_version=OPSET,
            dynamo=False,
        )


def example(tensor: Tensor) -> Array:
    """Some value of an input: free dimensions of 2, first places, everything filled."""
    shape = [2 if isinstance(length, str) else length for length in tensor.dims]
    return np.full(shape, tensor.datatype == "bool", tensor.datatype)


def plan_command(split: Split, graph: Path) -> list[str]:
    """The call of NVIDIA's `trtexec` that builds `model.plan` beside the graph, on the GPU that will serve it.

    Written to its published interface and not yet run: no plan was built of these graphs.
    """

    def shapes(size: int) -> str:
        return ",".join(
            f"{tensor.name}:"
            + "x".join(str(REACH[d][size] if isinstance(d, str) else d) for d in tensor.dims)
            for tensor in split.tensors
        )

    return [
        "trtexec",
        f"--onnx={graph}",
        f"--saveEngine={graph.with_suffix('.plan')}",
        "--fp16",
        *(f"--{which}Shapes={shapes(size)}" for size, which in enumerate(("min", "opt", "max"))),
    ]
