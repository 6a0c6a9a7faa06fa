"""COCO boxes and scores of NanoDet, not yet suppressed; see the weights beside this file."""

from onnx_session import OnnxModel


class TritonPythonModel(OnnxModel):
    """The name Triton looks for."""
