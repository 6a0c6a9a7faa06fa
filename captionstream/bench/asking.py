"""How long the first released text of one event takes, and its answer."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.identity import caption_id
from captionstream.contracts.topics import CAPTION_DELTAS, CAPTIONS
from captionstream.contracts.values import StageTiming
from captionstream.runtime.asking import submit
from captionstream.runtime.message_log import MessageLog


@dataclass(frozen=True, slots=True)
class Heard:
    """Seconds from publishing to the first released text (None: there was none) and to the answer."""

    first_s: float | None
    whole_s: float
    timings: tuple[StageTiming, ...]


async def first_text(log: MessageLog, event: m.ImageSubmitted, timeout_s: float = 120.0) -> Heard:
    ends = {topic: await log.ends(topic) for topic in (CAPTION_DELTAS.name, CAPTIONS.name)}
    seen: dict[str, tuple[float, m.Message]] = {}
    wanted = caption_id(event.event)

    async def watch(topic: str) -> None:
        async with aclosing(log.read(topic, ends[topic])) as records:  # type: ignore[type-var]
            async for record in records:
                message = codec.decode(record)
                ended = isinstance(message, m.CaptionDelta) and message.status is not m.DeltaStatus.PARTIAL
                if getattr(message, "caption_id", "") == wanted and not ended:
                    seen[topic] = (record.appended_at.timestamp(), message)
                    return

    watching = [asyncio.create_task(watch(topic)) for topic in ends]
    await asyncio.sleep(0.2)  # both readers are at their place
    begun = time.time()
    await submit(log, [event])
    try:
        async with asyncio.timeout(timeout_s):
            await watching[1]
    finally:
        for task in watching:
            task.cancel()
    first, (last, answer) = seen.get(CAPTION_DELTAS.name), seen[CAPTIONS.name]
    timings = answer.timings if isinstance(answer, m.Carried) else ()
    return Heard(None if first is None else first[0] - begun, last - begun, timings)
