"""Models as the registry knows them, without weights: files of a few bytes under true digests."""

from __future__ import annotations

from pathlib import Path

from captionstream.contracts.identity import sha256_hex
from triton_models.registry import CARD, PARITY, Registry, SplitModel, folder_name, write_ready
from triton_models.vision_language.card import Parity, ParityRow, SeenImage
from triton_models.vision_language.checkpoint import CheckpointRecord, recorded
from triton_models.vision_language.halves import FACTS, Halves
from triton_models.vision_language.idefics3 import Idefics3Split

COMMIT = "4bd64b1f2a8e0c0d9a3f5b7c6d8e9f0a1b2c3d4e"
SPLIT = Idefics3Split(
    width=8,
    image_token="<image>",
    image_token_id=3,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    scale=1 / 255,
    resample=1,
    side=32,
    tokens_a_tile=4,
    longest=96,
    tiled=True,
)
PARITY_TOLD = Parity(
    rows=(
        ParityRow(
            decoding="greedy", case="1", tokens=20, same_prompts=True, same_fp32=20, same_fp16=19,
            same_torchvision=20, proved=True,
        ),
    ),
    questions=4,
    blind=0,
    different=9,
    images=(SeenImage(width=640, height=480, tokens=64, size=1104, inline=True),),
    not_servable="",
    versions={"torch": "2"},
)  # fmt: skip


def ready_model(
    models: Path, name: str, weights: str = "", revision: str = COMMIT, serving: bool = True
) -> SplitModel:
    """A model in the registry of that folder; other `weights` make another digest."""
    made = models / f".making-{name}"
    for file in ("vision/model.onnx", "language/model.safetensors", "language/config.json"):
        (made / file).parent.mkdir(parents=True, exist_ok=True)
        (made / file).write_text(f"{file} {name} {weights}")
    if serving:
        (made / "serving").mkdir()
        (made / "serving" / "decoder.json").write_text("{}")
    source = CheckpointRecord(
        architecture="Idefics3ForConditionalGeneration",
        model_type="idefics3",
        licence="apache-2.0",
        revision=revision,
        files=(),
    )
    kept = ("language/config.json", "language/model.safetensors", "vision/model.onnx")
    files = tuple(recorded(made, file) for file in kept)
    told = Halves(split=SPLIT, source=source, files=files, made_with={"opset": "17"})
    (made / FACTS).write_text(told.model_dump_json())
    (made / PARITY).write_text(PARITY_TOLD.model_dump_json())
    (made / CARD).write_text("<!doctype html>")
    ready = write_ready(made, name, "owner/model")
    made.rename(models / folder_name(name, ready.digest))
    return Registry(models).model(ready.digest)


def flip(file: Path) -> None:
    """One bit in the middle of a file."""
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
    file.write_bytes(changed)


def nobody(seed: str) -> str:
    """The digest of a model that is not there."""
    return sha256_hex(seed.encode())
