"""The encoder as a service: settings in, a stage with its engine out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

import cv2

from captionstream.contracts.evidence import ImageEvidence
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.once import Once
from captionstream.runtime.service import Service
from services.encoder.appearance import nearest_anchors
from services.encoder.fingerprint import recorded_fingerprint, served_versions
from services.encoder.seer import RegistrySeer, Seer
from services.encoder.settings import EncoderSettings, Engine, SharedMemory
from services.encoder.small_picture import SmallPicture, payload_bytes
from services.encoder.stage import EncoderStage
from services.encoder.vision import Vision
from services.encoder.visual import Visual, prefix_bytes
from triton_models.registry import Registry
from triton_models.repository import load_manifest, model_path

Value = TypeVar("Value")
KEPT_S = 6 * 3600.0
"""What lies in the payload store is deleted there after two days: a copy that is kept must be far from that."""


class Sight(NamedTuple):
    """The vision models and the split models of one engine."""

    vision: Vision
    seer: Seer

    async def probe(self) -> None:
        await self.vision.probe()
        await self.seer.probe()


@asynccontextmanager
async def open_encoder(
    payloads: PayloadStore, settings: EncoderSettings | None = None
) -> AsyncIterator[Service]:
    """The encoder's service. Its probe is a real inference of every model that is in use."""
    told = settings or EncoderSettings()
    cv2.setNumThreads(1)  # images are worked on side by side; threads inside one would only get in their way
    await asyncio.to_thread(nearest_anchors)
    async with ENGINES[told.engine](told) as sight:
        yield Service(stage_of(sight, payloads, told), sight.probe, told.images_at_once)


def stage_of(sight: Sight, payloads: PayloadStore, told: EncoderSettings) -> EncoderStage:
    def memory(work: str, size: Callable[[Value], int], max_age_s: float = float("inf")) -> Once[Value]:
        return Once(work, size, told.cache_bytes, told.cache_entries, max_age_s)

    side = told.picture_side
    return EncoderStage(
        sight.vision,
        payloads,
        memory("encoding", published_bytes),
        told.looking,
        Visual(sight.seer, payloads, memory("visual tokens", prefix_bytes, KEPT_S), told.visual_precision),
        SmallPicture(side, payloads, memory("small picture", payload_bytes, KEPT_S)) if side else None,
    )


def published_bytes(evidence: ImageEvidence) -> int:
    return len(evidence.model_dump_json())


@asynccontextmanager
async def open_onnx(told: EncoderSettings) -> AsyncIterator[Vision]:
    """The models load in the background; a question that comes earlier waits for its own model only."""
    from services.encoder.onnx import OnnxVision

    names = ("vision_encoder", "object_detector", "content_screen")
    vision = OnnxVision({name: model_path(name) for name in names}, recorded_fingerprint(), told.threads)
    warming = asyncio.create_task(vision.warm())
    try:
        yield vision
    finally:
        warming.cancel()
        vision.close()


@asynccontextmanager
async def onnx_sight(told: EncoderSettings) -> AsyncIterator[Sight]:
    from services.encoder.onnx import OnnxEyes

    eyes = OnnxEyes()
    try:
        async with open_onnx(told) as vision:
            yield Sight(vision, RegistrySeer(Registry(told.models), eyes))
    finally:
        eyes.close()


@asynccontextmanager
async def scripted_sight(told: EncoderSettings) -> AsyncIterator[Sight]:
    from services.encoder.scripted import ScriptedSeer, ScriptedVision

    work_ms = told.scripted_work_ms
    yield Sight(ScriptedVision(work_ms), ScriptedSeer(Registry(told.models), work_ms))


@asynccontextmanager
async def triton_sight(told: EncoderSettings) -> AsyncIterator[Sight]:
    """Inputs go by shared memory when the server is on this host."""
    from services.encoder.triton import TritonEyes, TritonVision, on_this_host, reached

    shared = told.shared_memory is SharedMemory.AUTO and on_this_host(told.triton)
    async with reached(told.triton, told.shared_memory_bytes if shared else 0) as server:
        versions = served_versions(load_manifest())
        vision = TritonVision(server, recorded_fingerprint(), versions, told.request_seconds)
        eyes = TritonEyes(server, told.visual_seconds)
        yield Sight(vision, RegistrySeer(Registry(told.models), eyes))


ENGINES = {Engine.TRITON: triton_sight, Engine.ONNX: onnx_sight, Engine.SCRIPTED: scripted_sight}
