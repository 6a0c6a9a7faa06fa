"""Prepared images and a vision engine that tells what was asked of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Event, ImagePrepared
from captionstream.contracts.values import PreparedImage
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from captionstream.runtime.stage import Delivery
from services.encoder.scripted import ScriptedVision
from services.encoder.views import Floats, Pixels
from triton_models.registry import Registry, folder_name, write_ready
from triton_models.vision_language.checkpoint import CheckpointRecord, names_in, recorded
from triton_models.vision_language.halves import FACTS, Halves
from triton_models.vision_language.idefics3 import Idefics3Split

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DELIVERY = Delivery(NOW, "0" * 64)


async def prepared(pixels: Pixels, payloads: PayloadStore, name: str = "e-1") -> ImagePrepared:
    """The message that ingest would send for these pixels."""
    height, width = pixels.shape[:2]
    data = pixels.tobytes()
    image = PreparedImage(
        digest=sha256_hex(b"original" + data), media_type="image/png", original_width=width,
        original_height=height, width=width, height=height,
        pixels=await payloads.put(data, "application/octet-stream"),
    )  # fmt: skip
    return ImagePrepared(event=Event(id=name), event_digest="0" * 64, accepted_at=NOW, image=image)


class AwayThenBack(ScriptedVision):
    """Fails the first `failures` times."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self._failures = failures

    async def classify(self, views: Pixels) -> tuple[Floats, Floats]:
        await asyncio.sleep(0)
        self._failures -= 1
        if self._failures >= 0:
            raise Unavailable("triton", "not there")
        return await super().classify(views)


def solid(colour: tuple[int, int, int], width: int = 120, height: int = 90) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


def registry_with(folder: Path, *names: str, width: int = 8) -> Registry:
    """A registry of models that are ready but for their graphs, which are not looked into here."""
    for name in names:
        write_model(folder, name, width)
    return Registry(folder)


def write_model(folder: Path, name: str, width: int) -> None:
    """One square of 16 pixels a picture, four tokens of `width` values."""
    made = folder / "made"
    (made / "vision").mkdir(parents=True)
    (made / "vision" / "model.onnx").write_bytes(name.encode())
    (made / "vision" / "preprocessor_config.json").write_text("{}")
    files = tuple(recorded(made, file) for file in names_in(made))
    split = Idefics3Split(
        width=width, image_token="<image>", image_token_id=3, mean=(0.5,) * 3, std=(0.5,) * 3, scale=1 / 255,
        resample=1, side=16, tokens_a_tile=4, longest=16, tiled=False,
    )  # fmt: skip
    source = CheckpointRecord(
        architecture="Tiny", model_type="smolvlm", licence="apache-2.0", revision="sha256:0", files=()
    )
    told = Halves(split=split, source=source, files=files, made_with={})
    (made / FACTS).write_text(told.model_dump_json())
    ready = write_ready(made, name, "a test")
    made.rename(folder / folder_name(name, ready.digest))
