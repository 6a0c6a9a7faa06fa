"""Events in, answers out, on a reader that stays: what the log adds is measured, not the start of a consumer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.identity import caption_id
from captionstream.contracts.topics import CAPTION_DELTAS, CAPTIONS, Outsider
from captionstream.runtime.message_log import MessageLog


async def publish(log: MessageLog, events: Sequence[m.ImageSubmitted]) -> None:
    await log.publish([codec.encode(event, Outsider.PUBLISHERS) for event in events])


async def answers(
    log: MessageLog, events: Sequence[m.ImageSubmitted], timeout_s: float
) -> AsyncIterator[m.Answer]:
    """The first answer to each event, all published at once. Raises TimeoutError."""
    wanted = {caption_id(event.event) for event in events}
    ends = await log.ends(CAPTIONS.name)
    await publish(log, events)
    async with asyncio.timeout(timeout_s), aclosing(log.read(CAPTIONS.name, ends)) as records:  # type: ignore[type-var]
        async for record in records:
            answer = codec.decode(record)
            if isinstance(answer, m.Answer) and answer.caption_id in wanted:
                wanted.discard(answer.caption_id)
                yield answer
                if not wanted:
                    return


async def first_text(
    log: MessageLog, event: m.ImageSubmitted, timeout_s: float = 120.0
) -> tuple[float | None, float]:
    """Seconds from publishing to the first released text (None: there was none) and to the answer."""
    ends = {topic: await log.ends(topic) for topic in (CAPTION_DELTAS.name, CAPTIONS.name)}
    seen: dict[str, float] = {}
    wanted = caption_id(event.event)

    async def watch(topic: str) -> None:
        async with aclosing(log.read(topic, ends[topic])) as records:  # type: ignore[type-var]
            async for record in records:
                message = codec.decode(record)
                ended = isinstance(message, m.CaptionDelta) and message.status is not m.DeltaStatus.PARTIAL
                if getattr(message, "caption_id", "") == wanted and not ended:
                    seen[topic] = record.appended_at.timestamp()
                    return

    watching = [asyncio.create_task(watch(topic)) for topic in ends]
    await asyncio.sleep(0.2)  # both readers are at their place
    begun = time.time()
    await publish(log, [event])
    try:
        async with asyncio.timeout(timeout_s):
            await watching[1]
    finally:
        for task in watching:
            task.cancel()
    first, last = seen.get(CAPTION_DELTAS.name), seen[CAPTIONS.name]
    return (None if first is None else first - begun), last - begun
