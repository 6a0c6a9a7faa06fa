"""Decoding, from outside: children that can be lost, one image at a time each."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol

from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.values import SuppliedMetadata
from captionstream.runtime.errors import Unavailable, Unprocessable
from captionstream.telemetry import metrics
from services.ingest.decode_pipe import ChildLimits, prefix, read_prefixed

LONGEST_HEAD = 1024 * 1024  # bytes; supplied metadata is bounded far below
PIPE_SIZE = 1024 * 1024  # bytes; what Linux lets an ordinary user have
OUT_OF_MEMORY = "the image exceeded the decoder's memory"


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image in its normal form: `pixels` is uint8, height x width x 3, sRGB, upright, opaque."""

    pixels: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    media_type: str
    notes: tuple[str, ...]
    supplied: SuppliedMetadata


class Decoder(Protocol):
    async def decode(self, data: bytes) -> Decoded:
        """Raises Unprocessable (not an image, too large, too slow) or Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a child says of one image: its head as JSON, and pixels unless it refused."""

    head: dict[str, Any]
    pixels: bytes

    @property
    def out_of_memory(self) -> bool:
        return self.head.get("refused") == "memory"


class ChildDied(Exception):
    """A child ended in the middle of an image. `how` is for the publisher."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class DecoderPool:
    """At most `children` processes. One that dies, hangs or has served `images` is replaced when needed."""

    def __init__(
        self, limits: ChildLimits, *, children: int, images: int, module: str = "services.ingest.decode_child"
    ) -> None:
        self._limits = limits
        self._module = module
        self._images = images
        self._turns = asyncio.Semaphore(children)
        self._threads = ThreadPoolExecutor(children, thread_name_prefix="decoder")
        self._idle: list[Child] = []
        self.deaths = 0

    async def decode(self, data: bytes) -> Decoded:
        """See Decoder. An image whose child died is tried once more: its death may have had another cause."""
        async with self._turns:
            try:
                reply = await self._attempt(data)
            except ChildDied:
                reply = await self._last_attempt(data)
        return understood(reply)

    async def aclose(self) -> None:
        """End all children. Work in hand is cut off."""
        while self._idle:
            self._idle.pop().end()
        self._threads.shutdown(wait=False)

    def pids(self) -> tuple[int, ...]:
        """Of the children that wait for work."""
        return tuple(child.pid for child in self._idle)

    async def _last_attempt(self, data: bytes) -> Reply:
        try:
            return await self._attempt(data)
        except ChildDied as died:
            raise Unprocessable(RefusalReason.UNDECODABLE, died.how) from None

    async def _attempt(self, data: bytes) -> Reply:
        child = self._idle.pop() if self._idle else Child(self._module, self._limits)
        healthy = False
        try:
            reply = await self._within_time(child, data)
            healthy = not reply.out_of_memory and child.served < self._images
            return reply
        except ChildDied:
            self.deaths += 1
            metrics.DECODER_DEATHS.inc()
            raise
        finally:
            if healthy:
                self._idle.append(child)
            else:
                child.end()

    async def _within_time(self, child: Child, data: bytes) -> Reply:
        """The child's reply. The exchange blocks, so it has a thread; only the child's end interrupts it."""
        exchange = asyncio.get_running_loop().run_in_executor(self._threads, child.exchange, data)
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await asyncio.shield(exchange)
        except (TimeoutError, asyncio.CancelledError) as interrupted:
            child.end()
            await asyncio.wait({exchange})
            exchange.exception()
            if isinstance(interrupted, asyncio.CancelledError):
                raise
            detail = f"decoding took more than {self._limits.seconds:g} s"
            raise Unprocessable(RefusalReason.UNDECODABLE, detail) from None


class Child:
    """One decoding process and its pipes. All of it blocks."""

    def __init__(self, module: str, limits: ChildLimits) -> None:
        """Start it, with nothing of our environment but where to find modules. Raises Unavailable."""
        self.served = 0
        self._largest = 3 * limits.long_side**2
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(asdict(limits))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=child_environment(),
            )
        except OSError as away:
            raise Unavailable("image decoder", type(away).__name__) from away
        self._widen_pipes()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exchange(self, data: bytes) -> Reply:
        """The reply to one image. Raises ChildDied, also for a reply that makes no sense."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None and replies is not None
        self.served += 1
        try:
            requests.write(prefix(data))
            requests.write(data)
            requests.flush()
            return self._reply(replies)
        except (OSError, ValueError, TypeError, KeyError):
            raise ChildDied(self._end_of_it()) from None

    def _reply(self, replies: IO[bytes]) -> Reply:
        """Bounded: hostile bytes may have taken the child over. Raises ValueError, TypeError, KeyError."""
        head = json.loads(read_prefixed(replies.read, LONGEST_HEAD) or b"")
        if "refused" in head:
            return Reply(head, b"")
        size = 3 * head["width"] * head["height"]
        pixels = replies.read(size) if 0 < size <= self._largest else b""
        if not pixels or len(pixels) != size:
            raise ValueError("pixels that do not fit their size")
        return Reply(head, pixels)

    def _end_of_it(self) -> str:
        try:
            return how_it_ended(self._process.wait(timeout=1))
        except subprocess.TimeoutExpired:
            return "the decoder gave no usable answer"

    def _widen_pipes(self) -> None:
        """Images are megabytes: a wide pipe takes a third off the time of passing them."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # a system may allow less
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)  # type: ignore[arg-type]

    def end(self) -> None:
        """Kill it and wait, so that nothing is left behind."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not sent yet has nowhere to go
                pipe.close()  # type: ignore[union-attr]


def child_environment() -> dict[str, str]:
    """Where to find modules, and nothing else of ours.

    Freed memory goes back to the system at once: 30 MB instead of 70 at rest, for a tenth more time on an image.
    """
    paths = os.pathsep.join(filter(None, sys.path))
    return {"PYTHONPATH": paths, "LC_ALL": "C.UTF-8", "MALLOC_TRIM_THRESHOLD_": "1048576"}


def how_it_ended(returncode: int) -> str:
    """A kill that was not ours is the system's, for memory."""
    if returncode == -signal.SIGKILL:
        return OUT_OF_MEMORY
    name = signal.Signals(-returncode).name if returncode < 0 else f"status {returncode}"
    return f"the decoder ended on this image ({name})"


def understood(reply: Reply) -> Decoded:
    """Raises Unprocessable if it is a refusal."""
    head = reply.head
    if reply.out_of_memory:
        raise Unprocessable(RefusalReason.UNDECODABLE, OUT_OF_MEMORY)
    if "refused" in head:
        raise Unprocessable(RefusalReason(head["refused"]), head["detail"])
    return Decoded(
        pixels=reply.pixels,
        width=head["width"],
        height=head["height"],
        original_width=head["original_width"],
        original_height=head["original_height"],
        media_type=head["media_type"],
        notes=tuple(head["notes"]),
        supplied=SuppliedMetadata.model_validate(head["supplied"]),
    )
