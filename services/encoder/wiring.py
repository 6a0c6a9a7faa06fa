"""The encoder as a service: settings in, a stage with its engine out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cv2

from captionstream.contracts.evidence import ImageEvidence
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.once import Once
from captionstream.runtime.service import Service
from services.encoder.appearance import nearest_anchors
from services.encoder.fingerprint import recorded_fingerprint, served_versions
from services.encoder.settings import EncoderSettings, Engine, SharedMemory
from services.encoder.stage import EncoderStage
from services.encoder.vision import Vision
from triton_models.repository import load_manifest, model_path


@asynccontextmanager
async def open_encoder(
    payloads: PayloadStore, settings: EncoderSettings | None = None
) -> AsyncIterator[Service]:
    """The encoder's service. Its probe is a real inference of every model."""
    told = settings or EncoderSettings()
    cv2.setNumThreads(1)  # images are worked on side by side; threads inside one would only get in their way
    await asyncio.to_thread(nearest_anchors)
    async with ENGINES[told.engine](told) as vision:
        once = Once("encoding", published_bytes, told.cache_bytes, told.cache_entries)
        stage = EncoderStage(vision, payloads, once, told.looking)
        yield Service(stage, vision.probe, told.images_at_once)


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
async def open_scripted(told: EncoderSettings) -> AsyncIterator[Vision]:
    from services.encoder.scripted import ScriptedVision

    yield ScriptedVision(told.scripted_work_ms)


@asynccontextmanager
async def open_triton(told: EncoderSettings) -> AsyncIterator[Vision]:
    """Inputs go by shared memory when the server is on this host."""
    from services.encoder.triton import connected, on_this_host

    shared = told.shared_memory is SharedMemory.AUTO and on_this_host(told.triton)
    async with connected(
        told.triton,
        recorded_fingerprint(),
        served_versions(load_manifest()),
        told.request_seconds,
        told.shared_memory_bytes if shared else 0,
    ) as vision:
        yield vision


ENGINES = {Engine.TRITON: open_triton, Engine.ONNX: open_onnx, Engine.SCRIPTED: open_scripted}
