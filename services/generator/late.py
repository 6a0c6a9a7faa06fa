"""A writer that is opened when it is first asked: what nobody asks costs neither memory nor time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field

from captionstream.contracts.messages import Decoding, Usage
from captionstream.contracts.values import ModelReference
from services.generator.writer import Explains, Piece, Seen, Task, Writer

Opening = Callable[[], AbstractAsyncContextManager[Writer]]


@dataclass
class LateWriter:
    """`opening` may raise what a writer's `model` raises; the next task then tries again."""

    decoding: Decoding
    opening: Opening
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack, repr=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _writer: Writer | None = field(default=None, repr=False)

    async def opened(self) -> Writer:
        async with self._lock:
            if self._writer is None:
                self._writer = await self._stack.enter_async_context(self.opening())
            return self._writer

    async def model(self, task: Task | None = None) -> ModelReference:
        return await (await self.opened()).model(task)

    async def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        async with aclosing((await self.opened()).write(task)) as pieces:
            async for piece in pieces:
                yield piece

    def why(self, seen: Seen) -> str:
        """As Explains.why; empty before it was opened."""
        return self._writer.why(seen) if isinstance(self._writer, Explains) else ""

    async def probe(self) -> None:
        await (await self.opened()).probe()

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def late(decoding: Decoding, opening: Opening) -> AsyncIterator[LateWriter]:
    """The writer, closed at the end if it was ever opened."""
    writer = LateWriter(decoding, opening)
    try:
        yield writer
    finally:
        await writer.close()
