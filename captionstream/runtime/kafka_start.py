"""Where a reader of a topic begins, and whether it has come to an end that it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from captionstream.runtime.message_log import Start

Offsets = Mapping[TopicPartition, int]
TAKE_MS = 500
FURTHER = 4
"""Times as far back a second look begins, where the first one met too many ends of transactions."""


async def seek(consumer: AIOKafkaConsumer, start: Start, ends: Offsets) -> None:
    """Put the reader of every partition in `ends` to its place."""
    for place, offset in (await _offsets(consumer, start, ends)).items():
        consumer.seek(place, offset)


async def behind(consumer: AIOKafkaConsumer, ends: Offsets) -> bool:
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
    """The offset of the last record but `count` of each partition. Offsets cannot be counted back: transactions end
    on some of them, and some records were never committed."""
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
    while await behind(consumer, ends):
        for place, messages in (await consumer.getmany(timeout_ms=TAKE_MS)).items():
            found[place] += [message.offset for message in messages if message.offset < ends[place]]
    return found
