"""Class logits, embedding and feature grid of EfficientNet-Lite; see the weights beside this file."""

from onnx_session import OnnxModel


class TritonPythonModel(OnnxModel):
    """The name Triton looks for."""
