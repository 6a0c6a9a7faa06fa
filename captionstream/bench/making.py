"""The bench's model, made once in the models' environment: `python -m captionstream.bench.making FOLDER GRAPH`.

An eye (ViT-S/14, the back half of a published ONNX file), a connector drawn from a seed, and SmolLM2-135M. What it
says of a picture means nothing: it costs what such a model costs, and both sides of a comparison have its weights.

    eye/            the ViT as transformers' Dinov2Model
    connector.npz   weight [576, 1536], bias
    vision.onnx     uint8 [1, 224, 224, 3] → visual tokens [64, 576], and vision8.onnx with its products in 8 bits
    language/       SmolLM2 without an end token, so that every caption has the same length; a template with an image
    serving/        its graphs, by triton_models.vision_language.decoder_graph
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

SIDE, PATCH, WIDTH = 224, 14, 384
SHUFFLE = 2
"""Patches of a square this wide become one visual token."""
LANGUAGE_WIDTH = 576
TOKENS = (SIDE // PATCH // SHUFFLE) ** 2
SEED = 20
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_TOKEN = "<file_sep>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}" + IMAGE_TOKEN + "{% else %}"
    "{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RENAMED = {
    "attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj",
}  # fmt: skip
RECIPES = ("dynamic8", "blocks8", "broken8")


def main() -> None:
    folder, graph = Path(sys.argv[1]), Path(sys.argv[2])
    smollm2 = Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    eye = eye_of(graph)
    eye.save_pretrained(folder / "eye")
    connector = connector_weights()
    np.savez(folder / "connector.npz", **connector)  # type: ignore[arg-type]
    write_vision(eye, connector, folder)
    write_language(smollm2, folder / "language")
    write_serving(folder)
    (folder / "made.json").write_text(json.dumps({"seed": SEED, "tokens": TOKENS}))


# ---------------------------------------------------------------- the eye


def eye_of(graph: Path) -> Any:
    """The ViT of an ONNX file that was exported from transformers, as transformers' model again."""
    from transformers import Dinov2Config, Dinov2Model

    weights = backbone_weights(graph)
    made = Dinov2Model(
        Dinov2Config(hidden_size=WIDTH, num_attention_heads=6, image_size=518, patch_size=PATCH)
    )
    missing, unexpected = made.load_state_dict(weights, strict=False)
    if set(missing) - {"embeddings.mask_token"} or unexpected:
        raise ValueError(f"the graph is another one: {missing[:3]} {unexpected[:3]}")
    return made.eval()


def backbone_weights(graph: Path) -> dict[str, Any]:
    """Names of transformers → tensors. Products keep their weight transposed and without a name: the node has it."""
    import onnx
    import torch
    from onnx import numpy_helper

    model = onnx.load(graph).graph
    tensors = {item.name: numpy_helper.to_array(item) for item in model.initializer}
    found = {name.removeprefix("backbone."): value for name, value in tensors.items() if "backbone." in name}
    for node in model.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            found[f"{module_of(node.name)}.weight"] = tensors[node.input[1]].T
    patches = next(value for value in tensors.values() if value.shape == (1, 37 * 37, WIDTH))
    first = next(value for name, value in tensors.items() if name.startswith("onnx::Concat"))
    found["embeddings.position_embeddings"] = np.concatenate([first, patches], axis=1)
    return {of_today(name): torch.tensor(np.ascontiguousarray(value)) for name, value in found.items()}


def module_of(node: str) -> str:
    """`/backbone/encoder/layer.0/mlp/fc1/MatMul` → `encoder.layer.0.mlp.fc1`"""
    return re.sub(r"^/backbone/|/MatMul$", "", node).replace("/", ".")


def of_today(name: str) -> str:
    """Transformers 5 calls the projections otherwise than the version that the file was exported with."""
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


def connector_weights() -> dict[str, np.ndarray[Any, Any]]:
    """Drawn from the seed, so that tokens are about as long as the embeddings of words."""
    inputs = WIDTH * SHUFFLE**2
    drawn = np.random.default_rng(SEED).normal(0, 0.12 / np.sqrt(inputs), (LANGUAGE_WIDTH, inputs))
    return {"weight": drawn.astype(np.float32), "bias": np.zeros(LANGUAGE_WIDTH, np.float32)}


def tower_of(eye: Any, connector: dict[str, Any]) -> Any:
    """uint8 [1, 224, 224, 3] → [64, 576]"""
    import torch
    from torch import nn

    class Tower(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.eye = eye
            self.mean = nn.Buffer(torch.tensor(MEAN).view(1, 3, 1, 1) * 255)
            self.std = nn.Buffer(torch.tensor(STD).view(1, 3, 1, 1) * 255)
            self.connector = nn.Linear(WIDTH * SHUFFLE**2, LANGUAGE_WIDTH)
            self.connector.weight.data = torch.from_numpy(connector["weight"])
            self.connector.bias.data = torch.from_numpy(connector["bias"])

        def forward(self, pixels: Any) -> Any:
            values = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
            seen = self.eye(values).last_hidden_state[:, 1:]
            return self.connector(shuffled(seen)[0])

    return Tower().eval()


def shuffled(seen: Any) -> Any:
    """[1, 256, 384] → [1, 64, 1536]: squares of patches side by side."""
    side, less = SIDE // PATCH, SIDE // PATCH // SHUFFLE
    squares = seen.reshape(1, less, SHUFFLE, less, SHUFFLE, WIDTH).permute(0, 1, 3, 2, 4, 5)
    return squares.reshape(1, side * side // SHUFFLE**2, WIDTH * SHUFFLE**2)


def write_vision(eye: Any, connector: dict[str, Any], folder: Path) -> None:
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    tower, file = tower_of(eye, connector), folder / "vision.onnx"
    with torch.no_grad():
        torch.onnx.export(
            tower, (torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8),), str(file),
            input_names=["pixels"], output_names=["visual_tokens"], opset_version=17, dynamo=False,
        )  # fmt: skip
    quantize_dynamic(
        file, folder / "vision8.onnx", op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8,
        per_channel=True, reduce_range=True,
    )  # fmt: skip


# ---------------------------------------------------------------- the language model


def write_language(smollm2: Path, folder: Path) -> None:
    """The same files, but for an end token, which there is none of, and a template that knows of images."""
    folder.mkdir(exist_ok=True)
    for file in smollm2.iterdir():
        target = folder / file.name
        target.unlink(missing_ok=True)
        os.link(file, target)
    for name, text in (("chat_template.jinja", TEMPLATE), ("generation_config.json", "{}")):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text)
    told = json.loads((folder / "config.json").read_text())
    for name in ("quantization_config", "eos_token_id"):
        told.pop(name, None)
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(told, indent=1))


def write_serving(folder: Path) -> None:
    from triton_models.vision_language import decoder_graph

    serving = folder / "serving"
    decoder_graph.write(folder / "language", serving, "fp32")
    reference = decoder_graph.graph_file(serving, "fp32")
    for recipe in RECIPES:
        decoder_graph.quantise(reference, decoder_graph.graph_file(serving, recipe), recipe)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
