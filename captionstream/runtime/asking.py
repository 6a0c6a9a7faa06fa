"""Submit events to a log and wait for their answers: the same on Kafka and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.identity import caption_id
from captionstream.contracts.record import Outgoing
from captionstream.contracts.topics import CAPTIONS, Outsider
from captionstream.runtime.message_log import MessageLog


async def submit(log: MessageLog, events: Sequence[m.ImageSubmitted]) -> None:
    """Append the events; returns when the log has them all."""
    await log.publish([as_record(event) for event in events])


def as_record(event: m.ImageSubmitted) -> Outgoing:
    return codec.encode(event, Outsider.PUBLISHERS)


async def ask(
    log: MessageLog, events: Sequence[m.ImageSubmitted], timeout_s: float
) -> AsyncIterator[m.Answer]:
    """The first answer to each event, as they come. Raises TimeoutError when some have none in time.

    Events of one identity have one answer, however often they are submitted.
    """
    wanted = {caption_id(event.event) for event in events}
    if not wanted:
        return
    ends = await log.ends(CAPTIONS.name)
    await submit(log, events)
    async with asyncio.timeout(timeout_s), aclosing(log.read(CAPTIONS.name, ends)) as records:  # type: ignore[type-var]
        async for record in records:
            answer = codec.decode(record)
            if isinstance(answer, m.Answer) and answer.caption_id in wanted:
                wanted.discard(answer.caption_id)
                yield answer
            if not wanted:
                return
