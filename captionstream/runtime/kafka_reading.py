"""Reading a topic without a group: where a reader begins, and how it comes to an end that it knows."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from captionstream.runtime.message_log import Start

Offsets = Mapping[TopicPartition, int]
TAKE_MS = 500
QUIET_S = 30.0  # without a record before a known end, the broker is taken for away
FURTHER = 4
"""Times as far back the next look begins, where ends of transactions took the place of records."""


async def seek(consumer: AIOKafkaConsumer, start: Start, ends: Offsets) -> None:
    """Put the reader of every partition in `ends` to its place. Raises TimeoutError."""
    for place, offset in (await _offsets(consumer, start, ends)).items():
        consumer.seek(place, offset)


async def on_and_on(consumer: AIOKafkaConsumer) -> AsyncIterator[Any]:
    """The committed records from where the reader is, and all that come, as aiokafka has them."""
    while True:
        for messages in (await consumer.getmany(timeout_ms=TAKE_MS)).values():
            for message in messages:
                yield message


async def until(consumer: AIOKafkaConsumer, ends: Offsets) -> AsyncIterator[Any]:
    """The committed records before `ends`, as aiokafka has them. Raises TimeoutError when none comes any more."""
    last = time.monotonic()
    while await _behind(consumer, ends):
        batches = await consumer.getmany(timeout_ms=TAKE_MS)
        for place, messages in batches.items():
            for message in messages:
                if message.offset < ends[place]:
                    yield message
        if batches:
            last = time.monotonic()
        elif time.monotonic() - last > QUIET_S:
            raise TimeoutError(f"no record came for {QUIET_S:.0f} s")


async def _behind(consumer: AIOKafkaConsumer, ends: Offsets) -> bool:
    """Whether any partition has committed records before its end that were not read yet."""
    return any([await consumer.position(place) < end for place, end in ends.items()])


async def _offsets(consumer: AIOKafkaConsumer, start: Start, ends: Offsets) -> Offsets:
    if start == "end":
        return ends
    if isinstance(start, datetime):
        return await _since(consumer, start, ends)
    first = await consumer.beginning_offsets([*ends])
    if isinstance(start, Mapping):
        return {place: start.get(place.partition, first[place]) for place in ends}
    return first if start == "start" else await _last(consumer, start, first, ends)


async def _since(consumer: AIOKafkaConsumer, moment: datetime, ends: Offsets) -> Offsets:
    found = await consumer.offsets_for_times({place: int(moment.timestamp() * 1000) for place in ends})
    return {place: found[place].offset if found.get(place) else end for place, end in ends.items()}


async def _last(consumer: AIOKafkaConsumer, count: int, first: Offsets, ends: Offsets) -> Offsets:
    """Where the last `count` records of each partition begin. Offsets cannot be counted back: transactions end on
    some of them, and some records were never committed."""
    back = count
    while True:
        begin = {place: max(first[place], end - back) for place, end in ends.items()}
        there = await _between(consumer, begin, ends)
        if all(len(there[place]) >= count or begin[place] == first[place] for place in ends):
            return {place: [*there[place], end][-count - 1 :][0] for place, end in ends.items()}
        back *= FURTHER


async def _between(
    consumer: AIOKafkaConsumer, begin: Offsets, ends: Offsets
) -> Mapping[TopicPartition, Sequence[int]]:
    """The offsets of the committed records from `begin` to `ends`."""
    found: dict[TopicPartition, list[int]] = {place: [] for place in ends}
    for place, offset in begin.items():
        consumer.seek(place, offset)
    async for message in until(consumer, ends):
        found[TopicPartition(message.topic, message.partition)].append(message.offset)
    return found
