"""The language half as a graph for ONNX Runtime: what serves it needs neither torch nor transformers.

serving/decoder.json       what the graph takes and answers, and which recipes there are, the one to serve first
serving/embeddings.npy     fp32 [vocabulary, width], looked up outside of the graph and mapped, not read
serving/<recipe>/model.onnx, model.onnx.data
serving/probe.safetensors  what the weights say in fp32, by transformers (probe.py)

The graph reads embeddings [b, s, width] and answers with the logits of the last one, [b, vocabulary]. Its attention
is ONNX Runtime's GroupQueryAttention over caches that stay where they are, [b, heads, capacity, size] for each layer:
rows may be of different lengths, each is filled up at its end. A head is widened with zeros to a multiple of 16,
which that operator needs; zeros add nothing to any product.

Recipes. Weights in fp32 are the reference. `blocks8` keeps the weights in 8 bits in blocks of 32 with a scale each.
`dynamic8` multiplies in 8 bits, activations too, but for the projection back from the wide layer, whose few huge
activations leave no bits for the others. `broken8` is `dynamic8` without that exception, which says nonsense
without an error on most models: it is there so that a gate can be seen to refuse it.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from triton_models.vision_language import probe

FACTS = "decoder.json"
EMBEDDINGS = "embeddings.npy"
OPSET = 17
CLASSES = ("llama", "qwen2")
ROPES = ("default", "linear", "llama3")
MOST_TOKENS = 32_768
"""Positions that the tables of the rotary embedding are made for, at most."""

Recipe = Literal["fp32", "blocks8", "dynamic8", "broken8"]
Weights = Mapping[str, npt.NDArray[np.float32]]
Floats = npt.NDArray[np.float32]


class NotServable(Exception):
    """This class of language models has no graph here: transformers serves it."""


class DecoderFacts(BaseModel):
    """What a reader of the graph must know. `recipes` are tried in that order; fp32 is always the last.

    `heads` and `head` are of the key and value caches, `head` as widened; `positions` is how many there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    layers: int
    heads: int
    head: int
    width: int
    vocabulary: int
    positions: int
    recipes: tuple[Recipe, ...]


def graph_file(serving: Path, recipe: Recipe) -> Path:
    return serving / recipe / "model.onnx"


def facts(serving: Path) -> DecoderFacts:
    return DecoderFacts.model_validate_json((serving / FACTS).read_bytes())


def write(language: Path, serving: Path, recipe: Recipe = "blocks8") -> DecoderFacts:
    """`language` is a checkpoint of a decoder; `serving` must not be there yet. Needs torch, transformers and onnx.

    Writes the fp32 graph too: it is what remains when the other one is refused. Raises NotServable.
    """
    config = json.loads((language / "config.json").read_bytes())
    shape = Shape.of(config)
    weights = read_weights(language)
    serving.mkdir(parents=True)
    np.save(serving / EMBEDDINGS, weights["model.embed_tokens.weight"])
    _save(Graph(shape, weights).model(), graph_file(serving, "fp32"))
    recipes: tuple[Recipe, ...] = ("fp32",) if recipe == "fp32" else (recipe, "fp32")
    if recipe != "fp32":
        quantise(graph_file(serving, "fp32"), graph_file(serving, recipe), recipe)
    written = shape.facts(recipes)
    probe.write(language, serving)
    (serving / FACTS).write_text(written.model_dump_json(indent=1))
    return written


class Shape(BaseModel):
    """A decoder's configuration, as far as its graph depends on it."""

    model_config = ConfigDict(frozen=True)
    layers: int
    width: int
    inner: int
    queries: int
    heads: int
    size: int
    vocabulary: int
    epsilon: float
    positions: int
    tied: bool
    rope: dict[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Raises NotServable."""
        rope = _rope(config)
        _check(config, rope)
        queries = config["num_attention_heads"]
        return cls(
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            inner=config["intermediate_size"],
            queries=queries,
            heads=config.get("num_key_value_heads") or queries,
            size=config.get("head_dim") or config["hidden_size"] // queries,
            vocabulary=config["vocab_size"],
            epsilon=config["rms_norm_eps"],
            positions=min(MOST_TOKENS, config["max_position_embeddings"]),
            tied=config.get("tie_word_embeddings", False),
            rope=rope,
        )

    @property
    def head(self) -> int:
        """`size`, widened to a multiple of 16."""
        return -(-self.size // 16) * 16

    def facts(self, recipes: tuple[Recipe, ...]) -> DecoderFacts:
        return DecoderFacts(
            layers=self.layers,
            heads=self.heads,
            head=self.head,
            width=self.width,
            vocabulary=self.vocabulary,
            positions=self.positions,
            recipes=recipes,
        )


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary settings, in the form of today's checkpoints or in that of older ones."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    rope.setdefault("rope_type", rope.pop("type", "default"))
    return rope


def _check(config: Mapping[str, Any], rope: Mapping[str, Any]) -> None:
    wrong = {
        f"decoders of the class {config.get('model_type')}": config.get("model_type") not in CLASSES,
        "positions of several axes": "mrope_section" in rope,
        f"rotary positions of the type {rope['rope_type']}": rope["rope_type"] not in ROPES,
        "heads that are turned in part": rope.get("partial_rotary_factor", 1.0) != 1.0,
        f"the activation {config.get('hidden_act')}": config.get("hidden_act") != "silu",
        "sliding windows": bool(config.get("use_sliding_window")),
    }
    found = [what for what, is_so in wrong.items() if is_so]
    if found:
        raise NotServable(f"no graph for {found[0]}")


def read_weights(language: Path) -> dict[str, Floats]:
    """Every tensor of the checkpoint in fp32. Needs torch for those in bf16 only."""
    return {
        name: tensor for file in sorted(language.glob("*.safetensors")) for name, tensor in _tensors(file)
    }


def _tensors(file: Path) -> Iterator[tuple[str, Floats]]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118  # not a mapping
            yield name, opened.get_tensor(name).float().numpy()


# ---------------------------------------------------------------- rotary embedding


def turns(shape: Shape) -> tuple[Floats, Floats]:
    """Cosine and sine [positions, head / 2] of each position and pair of a head, 1 and 0 where it is widened."""
    angles = np.outer(np.arange(shape.positions, dtype=np.float32), _frequencies(shape))
    room = ((0, 0), (0, (shape.head - shape.size) // 2))
    return np.pad(np.cos(angles), room, constant_values=1), np.pad(np.sin(angles), room)


def _frequencies(shape: Shape) -> Floats:
    exponents = np.arange(0, shape.size, 2, dtype=np.float32) / shape.size
    frequencies = 1.0 / np.power(np.float32(shape.rope["rope_theta"]), exponents)
    if shape.rope["rope_type"] == "linear":
        frequencies = frequencies / shape.rope["factor"]
    if shape.rope["rope_type"] == "llama3":
        frequencies = _llama3(frequencies, shape.rope)
    return frequencies.astype(np.float32)


def _llama3(frequencies: npt.NDArray[Any], rope: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Long waves are stretched by `factor`, short ones stay, those between are mixed (Llama 3.1's rule)."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns_in_context = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    share = np.clip((turns_in_context - low) / (high - low), 0, 1)
    mixed: npt.NDArray[Any] = (1 - share) * frequencies / rope["factor"] + share * frequencies
    return mixed


# ---------------------------------------------------------------- weights as the graph takes them


def widened(weight: Floats, heads: int, size: int, head: int) -> Floats:
    """Rows [heads * size, ...] → [heads * head, ...]: each half of a head with zeros behind it.

    In halves, because the rotary embedding turns the first half of a head against the second.
    """
    halves = weight.reshape(heads, 2, size // 2, *weight.shape[1:])
    room = [(0, 0)] * halves.ndim
    room[2] = (0, (head - size) // 2)
    return np.ascontiguousarray(np.pad(halves, room).reshape(heads * head, *weight.shape[1:]))


class Graph:
    """One decoder, being written node by node."""

    def __init__(self, shape: Shape, weights: Weights) -> None:
        self._shape, self._weights = shape, weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def model(self) -> Any:
        from onnx import TensorProto, helper

        self._tables()
        hidden = self._layers()
        self._node(
            "MatMul", [hidden, self._transposed("lm_head", self._head_weight())], ["logits"], "lm_head"
        )
        floats, ints = TensorProto.FLOAT, TensorProto.INT32
        described = helper.make_tensor_value_info
        inputs = [
            described("embeddings", floats, ["b", "s", self._shape.width]),
            described("last", ints, ["b"]),
            described("total", ints, []),
            *self._caches("past"),
        ]
        outputs = [described("logits", floats, ["b", self._shape.vocabulary]), *self._caches("present")]
        graph = helper.make_graph(self._nodes, "decoder", inputs, outputs, self._constants)
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=8)

    def _caches(self, when: str) -> list[Any]:
        from onnx import TensorProto, helper

        shape = ["b", self._shape.heads, "capacity", self._shape.head]
        names = [f"{when}.{n}.{what}" for n in range(self._shape.layers) for what in ("key", "value")]
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]

    def _tables(self) -> None:
        cosine, sine = turns(self._shape)
        self._constant("cosine", cosine.astype(np.float32))
        self._constant("sine", sine.astype(np.float32))
        self._constant("newest", np.array(-1, np.int64))

    def _layers(self) -> str:
        """The last token's state [b, width] after the last norm."""
        first = self._constant("layers.0.input_norm", self._of(0, "input_layernorm.weight"))
        self._node(
            "SimplifiedLayerNormalization", ["embeddings", first], ["normed.0"], epsilon=self._shape.epsilon
        )
        stream, normed = "embeddings", "normed.0"
        for n in range(self._shape.layers):
            read = self._attention(n, normed)
            stream, normed = self._added(
                f"layers.{n}.read", stream, read, self._of(n, "post_attention_layernorm.weight")
            )
            written = self._mlp(n, normed)
            if n + 1 < self._shape.layers:
                stream, normed = self._added(
                    f"layers.{n}", stream, written, self._of(n + 1, "input_layernorm.weight")
                )
        stream, written = self._newest(stream, "stream"), self._newest(written, "written")
        return self._added("final", stream, written, self._weights["model.norm.weight"])[1]

    def _newest(self, name: str, kept: str) -> str:
        return self._node("Gather", [name, "newest"], [f"newest.{kept}"], axis=1)

    def _attention(self, n: int, normed: str) -> str:
        """Query, key and value are one product; the operator turns them, keeps them and attends."""
        shape, at = self._shape, f"layers.{n}"
        packed = self._packed(n, ".weight")
        if packed is None:
            raise NotServable(f"layer {n} has no projections of query, key and value")
        heads = self._node(
            "MatMul", [normed, self._transposed(f"{at}.qkv", packed)], [f"{at}.qkv"], f"{at}.qkv"
        )
        bias = self._packed(n, ".bias")
        if bias is not None:
            constant = self._constant(f"{at}.qkv.bias", bias)
            heads = self._node("Add", [heads, constant], [f"{at}.qkv.biased"])
        caches = [f"past.{n}.key", f"past.{n}.value"]
        attended = self._node(
            "GroupQueryAttention",
            [heads, "", "", *caches, "last", "total", "cosine", "sine"],
            [f"{at}.attended", f"present.{n}.key", f"present.{n}.value"],
            domain="com.microsoft",
            num_heads=shape.queries,
            kv_num_heads=shape.heads,
            scale=1 / math.sqrt(shape.size),
            do_rotary=1,
        )
        back = self._of(n, "self_attn.o_proj.weight").T
        wide = widened(back, shape.queries, shape.size, shape.head)
        return self._projected(f"{at}.o_proj", attended, wide, self._maybe(n, "self_attn.o_proj.bias"))

    def _packed(self, n: int, kind: str) -> Floats | None:
        shape, found = self._shape, []
        for name, heads in (("q", shape.queries), ("k", shape.heads), ("v", shape.heads)):
            tensor = self._maybe(n, f"self_attn.{name}_proj{kind}")
            if tensor is not None:
                found.append(widened(tensor, heads, shape.size, shape.head))
        return np.concatenate(found) if found else None

    def _mlp(self, n: int, normed: str) -> str:
        """down(silu(gate(x)) * up(x))"""
        at = f"layers.{n}"
        gate, up = (self._wide(n, normed, name) for name in ("gate_proj", "up_proj"))
        bent = self._node("Sigmoid", [gate], [f"{at}.sigmoid"])
        bent = self._node("Mul", [gate, bent], [f"{at}.silu"])
        inner = self._node("Mul", [bent, up], [f"{at}.inner"])
        weight = np.ascontiguousarray(self._of(n, "mlp.down_proj.weight").T)
        return self._projected(f"{at}.down_proj", inner, weight, self._maybe(n, "mlp.down_proj.bias"))

    def _wide(self, n: int, normed: str, name: str) -> str:
        weight = np.ascontiguousarray(self._of(n, f"mlp.{name}.weight").T)
        return self._projected(f"layers.{n}.{name}", normed, weight, self._maybe(n, f"mlp.{name}.bias"))

    # ---------------------------------------------------------------- the smallest parts

    def _projected(self, at: str, taken: str, weight: Floats, bias: Floats | None) -> str:
        made = self._node("MatMul", [taken, self._constant(f"{at}.weight", weight)], [at], at)
        if bias is None:
            return made
        return self._node("Add", [made, self._constant(f"{at}.bias", bias)], [f"{at}.biased"])

    def _added(self, at: str, stream: str, more: str, norm: Floats) -> tuple[str, str]:
        """The sum of both, and the same after the norm."""
        weight = self._constant(f"{at}.norm", norm)
        names = [f"{at}.normed", "", "", f"{at}.sum"]
        inputs = [stream, more, weight]
        self._node(
            "SkipSimplifiedLayerNormalization",
            inputs,
            names,
            domain="com.microsoft",
            epsilon=self._shape.epsilon,
        )
        return names[3], names[0]

    def _transposed(self, at: str, weight: Floats) -> str:
        return self._constant(f"{at}.weight", np.ascontiguousarray(weight.T))

    def _head_weight(self) -> Floats:
        name = "model.embed_tokens.weight" if self._shape.tied else "lm_head.weight"
        return self._weights.get("lm_head.weight", self._weights[name])

    def _of(self, n: int, name: str) -> Floats:
        return self._weights[f"model.layers.{n}.{name}"]

    def _maybe(self, n: int, name: str) -> Floats | None:
        return self._weights.get(f"model.layers.{n}.{name}")

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def _node(
        self, kind: str, inputs: list[str], outputs: list[str], name: str = "", domain: str = "", **more: Any
    ) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, outputs, name or outputs[0], domain=domain, **more))
        return outputs[0]


# ---------------------------------------------------------------- recipes


def quantise(fp32: Path, to: Path, recipe: Recipe) -> None:
    """Writes the graph of `fp32` by another recipe."""
    if recipe == "blocks8":
        _in_blocks(fp32, to)
    else:
        _dynamic(fp32, to, spare=recipe == "dynamic8")


def _in_blocks(fp32: Path, to: Path) -> None:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger(MatMulNBitsQuantizer.__module__).setLevel(logging.WARNING)  # it tells of every node
    quantizer = MatMulNBitsQuantizer(
        onnx.load(fp32), bits=8, block_size=32, is_symmetric=True, accuracy_level=4
    )
    quantizer.process()
    _save(quantizer.model.model, to)


def _dynamic(fp32: Path, to: Path, spare: bool) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(fp32)
    spared = [node.name for node in model.graph.node if spare and node.name.endswith("down_proj")]
    with tempfile.TemporaryDirectory() as work:
        made = Path(work, "model.onnx")
        quantize_dynamic(
            model,
            made,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=spare,
            reduce_range=spare,
            nodes_to_exclude=spared,
            use_external_data_format=True,
            extra_options={
                "DefaultTensorType": onnx.TensorProto.FLOAT
            },  # it cannot infer what attention gives
        )
        _save(onnx.load(made), to)


def _save(model: Any, file: Path) -> None:
    import onnx

    file.parent.mkdir()
    how = {"save_as_external_data": True, "location": "model.onnx.data", "size_threshold": 1024}
    onnx.save(model, str(file), **how)
