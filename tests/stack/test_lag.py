"""How far a worker is behind, measured on a real Apache Kafka: 0 when it has caught up, whatever lies between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from captionstream.contracts.codec import marker
from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import CAPTION_MARKERS, CAPTIONS, CAPTIONS_DRAFTED, IMAGE_EVENTS
from captionstream.contracts.values import StageName
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics
from captionstream.runtime.message_log import Lane, Subscription
from captionstream.runtime.ordering import Handling, publish, relay
from tests.contract.log_behaviour import event, names, nothing_poisoned, subscription, work_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]


@pytest.fixture
async def log(kafka: str) -> AsyncIterator[KafkaLog]:
    await create_topics(kafka)
    log = KafkaLog(kafka)
    yield log
    await log.close()


class Watched:
    """Lanes at work, held back until `go`; what they lag by in all."""

    def __init__(self, form: Callable[[Lane, Handling], Awaitable[None]]) -> None:
        self.form = form
        self.go = asyncio.Event()
        self.lanes: list[Lane] = []

    async def through(self, lane: Lane) -> None:
        self.lanes.append(lane)
        await self.form(lane, Handling(self.work, nothing_poisoned, bound=4))

    async def work(self, record: Record) -> AsyncIterator[Outgoing]:
        await self.go.wait()
        if record.topic == CAPTIONS_DRAFTED.name:
            yield event((record.key or b"").decode(), topic=CAPTIONS.name)
            yield marker("ab" * 32, "cd" * 32, StageName.SAFETY)

    async def behind(self) -> tuple[int, bool]:
        """Records, and whether the age of the oldest is known; -1 while not all lanes are there."""
        lags = [await lane.lag() for lane in self.lanes]
        known = [lag for lag in lags if lag is not None]
        if len(known) < 8:
            return -1, False
        return sum(lag.records for lag in known), any(lag.oldest is not None for lag in known)


async def seen(log: KafkaLog, reads: Subscription, watched: Watched) -> tuple[int, int, bool]:
    """The greatest lag while work was held back, the last one after it was let go, and whether an age is left."""
    most, last, aged = 0, -1, True

    async def caught_up() -> bool:
        nonlocal most, last, aged
        last, aged = await watched.behind()
        if not watched.go.is_set():
            most = max(most, last)
            if most >= 20:
                watched.go.set()
        return watched.go.is_set() and last == 0 and not aged

    await work_until(log, reads, watched.through, caught_up)
    return most, last, aged


async def test_lag_is_what_is_not_acknowledged_and_ends_at_none(log: KafkaLog) -> None:
    """Twenty events and more wait, among them those in hand; when all are done there are none."""
    await log.publish([event(name) for name in names(20)])
    most, last, aged = await seen(log, subscription(IMAGE_EVENTS.name), Watched(relay))
    assert most >= 20
    assert (0, False) == (last, aged)


async def test_the_publisher_has_no_lag_when_all_is_answered(log: KafkaLog) -> None:
    """The transactional form."""
    await log.publish([event(name, topic=CAPTIONS_DRAFTED.name) for name in names(20)])
    reads = subscription(CAPTIONS_DRAFTED.name, transactional=True, markers=CAPTION_MARKERS.name)
    most, last, aged = await seen(log, reads, Watched(publish))
    assert most >= 20
    assert (0, False) == (last, aged)


async def test_ends_of_transactions_are_no_lag(log: KafkaLog) -> None:
    """The topic of answers ends in the mark of a transaction, which no reader is ever given."""
    await log.publish([event(name, topic=CAPTIONS_DRAFTED.name) for name in names(20)])
    drafts = subscription(CAPTIONS_DRAFTED.name, transactional=True, markers=CAPTION_MARKERS.name)
    await seen(log, drafts, Watched(publish))
    most, last, aged = await seen(log, subscription(CAPTIONS.name), Watched(relay))
    assert most >= 20
    assert (0, False) == (last, aged)
