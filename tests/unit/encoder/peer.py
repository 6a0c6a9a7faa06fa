"""A peer that speaks Triton's protocol over a real socket and does on command what a real one does rarely."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

Answer = Callable[["Peer", Any, Any], Awaitable[None]]

OUTPUTS: dict[str, dict[str, tuple[int, ...]]] = {
    "vision_encoder": {"class_logits": (1000,), "embedding": (1280,)},
    "object_detector": {"boxes": (3549, 4), "scores": (3549, 80)},
    "content_screen": {"score": (1,)},
}


class Peer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Fills outputs of the right shapes with the mean of the pixels that it was sent, over 255."""

    def __init__(self) -> None:
        self.version = "1"
        self.before: Answer | None = None
        """Runs before every inference; may refuse it."""
        self.empty = False
        self.outputs = OUTPUTS
        self.regions: dict[str, str] = {}
        self.takes_regions = True
        self.times_told = 0
        self.by_region = 0
        self.inside = 0

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        if self.before is not None:
            await self.before(self, request, context)
        pixels = await self._pixels(request, context)
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version=self.version)
        for name, shape in self.outputs[request.model_name].items():
            values = np.full((len(pixels), *shape), pixels.mean() / 255, np.float32)
            response.outputs.add(name=name, datatype="FP32", shape=values.shape)
            response.raw_output_contents.append(b"" if self.empty else values.tobytes())
        return response

    async def _pixels(self, request: Any, context: Any) -> Any:
        given = request.inputs[0]
        region = given.parameters["shared_memory_region"].string_param
        if not region:
            self.inside += 1
            return np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(given.shape)
        if region not in self.regions:
            told = f"Unable to find shared memory region: '{region}'"
            await context.abort(grpc.StatusCode.NOT_FOUND, told)
        self.by_region += 1
        size = given.parameters["shared_memory_byte_size"].int64_param
        offset = given.parameters["shared_memory_offset"].int64_param
        memory = Path("/dev/shm", self.regions[region].lstrip("/")).read_bytes()
        return np.frombuffer(memory[offset : offset + size], np.uint8).reshape(given.shape)

    async def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        self.times_told += 1
        if not self.takes_regions:
            told = f"Unable to open shared memory region: '{request.key}'"
            await context.abort(grpc.StatusCode.INTERNAL, told)
        if request.name in self.regions:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "already in manager")
        self.regions[request.name] = request.key
        return service_pb2.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:
        self.regions.pop(request.name, None)
        return service_pb2.SystemSharedMemoryUnregisterResponse()


def refusing(code: grpc.StatusCode, message: str, times: int = 1_000_000) -> Answer:
    """Refuses the first `times` inferences with this code and message."""
    left = times

    async def refuse(peer: Peer, request: Any, context: Any) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            await context.abort(code, message)

    return refuse


async def forever(peer: Peer, request: Any, context: Any) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def listening(peer: Peer, port: int = 0) -> AsyncIterator[int]:
    """The port on 127.0.0.1 at which `peer` answers."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(peer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)
