"""The models on NVIDIA Triton: the only file that knows its client.

connection refused · UNAVAILABLE · DEADLINE_EXCEEDED       Unavailable
NOT_FOUND: a model is not loaded                           Unavailable
INTERNAL because a model's process is gone                 Unavailable
INTERNAL, UNKNOWN, and the model does not answer zeros     Unavailable
an output that is missing, empty, of another shape         Unavailable
another model version than the recorded one                Unavailable
INTERNAL, UNKNOWN, but the model answers zeros             RejectedByModel: this picture, a defect
INVALID_ARGUMENT and the rest                              RejectedByModel: our request, a defect
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from captionstream.contracts.evidence import EncoderFingerprint
from captionstream.runtime.errors import Unavailable
from captionstream.telemetry import metrics, names, tracing
from services.encoder.seer import Inputs, blank
from services.encoder.shared_memory import Region, remove_leftovers
from services.encoder.views import DETECTOR_SIDE, SCREEN_SIDE, TAGGER_SIDE, Floats, Pixels
from services.encoder.vision import (
    CLASSES,
    FEATURES,
    OBJECT_CLASSES,
    ReadLine,
    RejectedByModel,
    ask_all,
    sound,
)
from triton_models.registry import SplitModel
from triton_models.vision_language.split import OUTPUT

ENGINE = "triton"
TELL_S = 2.0  # for a request that concerns a region
AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED", "ABORTED", "NOT_FOUND")
GONE = ("Stub process", "is not healthy", "is not ready", "has exited")
CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),  # a restarted server is found at once, not after two minutes
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
ZEROS: Mapping[str, tuple[int, ...]] = {
    "vision_encoder": (1, TAGGER_SIDE, TAGGER_SIDE, 3),
    "object_detector": (1, DETECTOR_SIDE, DETECTOR_SIDE, 3),
    "text_reader": (1, 64, 64, 3),
    "content_screen": (1, SCREEN_SIDE, SCREEN_SIDE, 3),
}
CALL: Mapping[str, str | int] = {
    names.RPC_SYSTEM: "grpc",
    names.RPC_METHOD: "inference.GRPCInferenceService/ModelInfer",
}
log = structlog.get_logger()


class Request(NamedTuple):
    """What is asked of one model, but for the values."""

    model: str
    outputs: tuple[str, ...]
    timeout_s: float
    headers: Mapping[str, str]


class Said(NamedTuple):
    """The version of the model that answered, and its outputs, each an array or None."""

    version: str
    outputs: list[Any]


class SharedInputs:
    """A region of ours, and whether the server knows it. It forgets it when it restarts."""

    def __init__(self, client: InferenceServerClient, region: Region) -> None:
        self.region = region
        self._client = client
        self._known = False
        self._refused = False
        self._times_told = 0
        self._telling: asyncio.Task[None] | None = None

    async def ready(self) -> int | None:
        """How often the server was told, if it knows the region now; None when inputs must go another way."""
        if not self._known and not self._refused:
            self._telling = self._telling or asyncio.ensure_future(self._tell())
            await asyncio.shield(self._telling)
        return self._times_told if self._known else None

    def forgotten(self, times_told: int) -> None:
        """The server does not know the region; said by a request of that time, not of an earlier one."""
        if times_told == self._times_told:
            self._known = False

    async def close(self) -> None:
        if self._telling:
            self._telling.cancel()
        await forget(self._client, self.region.name)
        self.region.close()

    async def _tell(self) -> None:
        name, size = self.region.name, self.region.size
        try:
            await self._client.register_system_shared_memory(name, f"/{name}", size, client_timeout=TELL_S)
            self._known = True
        except InferenceServerException as failure:
            self._known = code(failure) == "ALREADY_EXISTS"
            self._refused = not self._known and code(failure) not in AWAY
            if self._refused:
                log.warning("shared memory is not used", reason=failure.message()[:200])
        self._times_told += self._known
        self._telling = None


async def forget(client: InferenceServerClient, *regions: str) -> None:
    """Lets the server unmap regions; that it cannot is no trouble of ours."""
    for region in regions:
        with suppress(InferenceServerException):
            await client.unregister_system_shared_memory(region, client_timeout=TELL_S)


class TritonServer:
    """One server and its models; `shared` is None where memory is not shared."""

    def __init__(self, client: InferenceServerClient, shared: SharedInputs | None = None) -> None:
        self._client = client
        self._shared = shared

    async def ask(
        self, model: str, inputs: Inputs, outputs: Sequence[str], blank: Inputs, timeout_s: float
    ) -> Said:
        """The named outputs. `blank` is what the model answers if it works at all. Raises as in the table above."""
        told: tracing.Attributes = {**CALL, names.MODEL: model, names.BATCH: len(next(iter(inputs.values())))}
        with (
            tracing.asking(f"infer {model}", told) as span,
            metrics.ENGINE_SECONDS.labels(ENGINE, model).time(),
        ):
            request = Request(model, tuple(outputs), timeout_s, tracing.headers_of(span))
            try:
                result = await self._inferred(request, inputs)
            except InferenceServerException as failure:
                raise await self._meaning(request, blank, failure) from failure
        return Said(result.get_response().model_version, [tensor(result, name) for name in outputs])

    async def _inferred(self, request: Request, inputs: Inputs) -> InferResult:
        """By shared memory where that works, else with the values in the request."""
        shared = self._shared
        if shared is not None and (told := await shared.ready()) is not None:
            try:
                with ExitStack() as held:
                    places = {
                        name: held.enter_context(shared.region.holding(v)) for name, v in inputs.items()
                    }
                    given = at(shared.region, places, inputs)
                    if given is not None:
                        return await self._request(request, given)
            except InferenceServerException as failure:
                if not unknown(failure, shared.region.name):
                    raise
                shared.forgotten(told)  # the server was restarted: it is told again with the next request
        return await self._request(request, inside(inputs))

    async def _request(self, request: Request, given: list[InferInput]) -> InferResult:
        wanted = [InferRequestedOutput(name) for name in request.outputs]
        return await self._client.infer(
            request.model,
            given,
            outputs=wanted,
            client_timeout=request.timeout_s,
            headers=dict(request.headers),
        )

    async def _meaning(self, request: Request, blank: Inputs, failure: InferenceServerException) -> Exception:
        """What a failed request says about the server, see the table above."""
        detail = f"{request.model}: {code(failure)} {failure.message()}"[:300]
        if code(failure) in AWAY or any(sign in failure.message() for sign in GONE):
            return Unavailable(ENGINE, detail)
        if code(failure) in ("INTERNAL", "UNKNOWN") and not await self._answers(request, blank):
            return Unavailable(ENGINE, detail)
        return RejectedByModel(detail)

    async def _answers(self, request: Request, blank: Inputs) -> bool:
        """Whether the model works at all: tells a picture that it cannot take from a model that is broken."""
        try:
            await self._client.infer(request.model, inside(blank), client_timeout=request.timeout_s)
        except InferenceServerException:
            return False
        return True


class TritonVision:
    """`versions` are the recorded versions by model."""

    def __init__(
        self,
        server: TritonServer,
        fingerprint: EncoderFingerprint,
        versions: Mapping[str, str],
        timeout_s: float,
    ) -> None:
        self._server = server
        self._fingerprint = fingerprint
        self._versions = versions
        self._timeout_s = timeout_s

    @property
    def fingerprint(self) -> EncoderFingerprint:
        return self._fingerprint

    async def classify(self, views: Pixels) -> tuple[Floats, Floats]:
        logits, embedding = await self._ask("vision_encoder", views, "class_logits", "embedding")
        count = len(views)
        return (
            sound(ENGINE, "class_logits", logits, count, CLASSES),
            sound(ENGINE, "embedding", embedding, count, FEATURES),
        )

    async def detect(self, image: Pixels) -> tuple[Floats, Floats]:
        boxes, scores = await self._ask("object_detector", image[None], "boxes", "scores")
        scores = sound(ENGINE, "scores", scores, 1, None, OBJECT_CLASSES)
        return sound(ENGINE, "boxes", boxes, 1, scores.shape[1], 4)[0], scores[0]

    async def read(self, image: Pixels) -> list[ReadLine]:
        texts, scores, boxes = await self._ask("text_reader", image[None], "texts", "scores", "boxes")
        if not isinstance(texts, np.ndarray) or texts.ndim != 1:
            raise Unavailable(ENGINE, "text_reader answered without texts")
        if not len(texts):
            return []
        scores = sound(ENGINE, "scores", scores, len(texts))
        quads = sound(ENGINE, "boxes", boxes, len(texts), 4, 2)
        found = zip(texts.tolist(), scores.tolist(), quads, strict=True)
        return [ReadLine(text.decode("utf-8", "replace"), score, quad) for text, score, quad in found]

    async def screen(self, image: Pixels) -> float:
        (score,) = await self._ask("content_screen", image[None], "score")
        return float(sound(ENGINE, "score", score, 1, 1)[0, 0])

    async def probe(self) -> None:
        await ask_all(self)

    async def _ask(self, model: str, images: Pixels, *outputs: str) -> list[Any]:
        """The named outputs, each an array or None."""
        zeros = {"images": np.zeros(ZEROS[model], np.uint8)}
        said = await self._server.ask(model, {"images": images}, outputs, zeros, self._timeout_s)
        self._check_version(model, said.version)
        return said.outputs

    def _check_version(self, model: str, version: str) -> None:
        recorded = self._versions.get(model, version)
        if version != recorded:
            raise Unavailable(ENGINE, f"{model} is version {version}, recorded is {recorded}")


@dataclass(frozen=True, slots=True)
class TritonEyes:
    """The vision halves of split models: each is served under the name of its own digest."""

    server: TritonServer
    timeout_s: float

    async def look(self, model: SplitModel, inputs: Inputs) -> object:
        """Raises as in the table above. A model that was unloaded is Unavailable."""
        zeros = blank(model.halves.split)
        said = await self.server.ask(model.triton_name, inputs, [OUTPUT], zeros, self.timeout_s)
        return said.outputs[0]


def code(failure: InferenceServerException) -> str:
    """`UNAVAILABLE` out of `StatusCode.UNAVAILABLE`."""
    return str(failure.status()).rpartition(".")[2]


def unknown(failure: InferenceServerException, region: str) -> bool:
    """Whether the server says that it does not know the region."""
    return region in failure.message() and "shared memory region" in failure.message()


def inside(inputs: Inputs) -> list[InferInput]:
    """The values in the request."""
    given = [described(name, values) for name, values in inputs.items()]
    for one, values in zip(given, inputs.values(), strict=True):
        one.set_data_from_numpy(np.ascontiguousarray(values))
    return given


def at(region: Region, places: Mapping[str, int | None], inputs: Inputs) -> list[InferInput] | None:
    """The values at their places in shared memory; None if there was no room for one of them."""
    given = []
    for name, values in inputs.items():
        place = places[name]
        if place is None:
            return None
        one = described(name, values)
        one.set_shared_memory(region.name, values.nbytes, place)
        given.append(one)
    return given


def described(name: str, values: npt.NDArray[Any]) -> InferInput:
    return InferInput(name, values.shape, np_to_triton_dtype(values.dtype))


def tensor(result: InferResult, name: str) -> Any:
    """The output as an array; None when it is missing or its bytes do not fill its shape."""
    try:
        return result.as_numpy(name)
    except ValueError:
        return None


def on_this_host(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def reserved(size: int) -> Region | None:
    """Shared memory of that size, if this machine has it."""
    try:
        return Region(size)
    except OSError as refused:
        log.warning("shared memory is not used", reason=str(refused))
        return None


@asynccontextmanager
async def reached(address: str, shared_bytes: int) -> AsyncIterator[TritonServer]:
    """A client of the server at `address` (host:port of gRPC), which may start later."""
    client = InferenceServerClient(address, channel_args=CHANNEL)
    region = reserved(shared_bytes) if shared_bytes else None
    shared = SharedInputs(client, region) if region else None
    try:
        if shared:
            await forget(client, *remove_leftovers())
        yield TritonServer(client, shared)
    finally:
        if shared:
            await shared.close()
        await client.close()
