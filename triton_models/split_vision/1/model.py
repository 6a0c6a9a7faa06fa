"""The eye of a split vision-language model; its graph stands beside this file where it is served."""

from onnx_session import OnnxModel


class TritonPythonModel(OnnxModel):
    """The name Triton looks for."""
