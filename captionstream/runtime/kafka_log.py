"""The log on Apache Kafka, by aiokafka. The order of the steps is what keeps the promises; do not rearrange them.

Idempotent form: output is acknowledged before its input is committed; static members come back without a rebalance.
Transactional form: one producer per owned partition. Its start fences the former owner and aborts what that one had
open; only then is the committed offset read. The fence of the partition gives the guarantee, not group membership.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import ConsumerStoppedError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import LARGEST_RECORD
from captionstream.runtime.answers import HORIZON, Answers
from captionstream.runtime.errors import LostPartition, first_cause
from captionstream.runtime.kafka_reading import TAKE_MS, on_and_on, seek, until
from captionstream.runtime.message_log import Lag, Lane, Progress, Start, Subscription
from captionstream.telemetry import tracing

SESSION_MS = 10_000
TRANSACTION_MS = 10_000
DRAIN_S = 12.0  # work in hand may take this long when a partition is taken away
START_S = 30.0
LAG_S = 3.0  # a broker that takes longer to name an end is taken for away
MARKERS_READ = 2 * HORIZON  # offsets; every transaction takes one more for its own end


class KafkaLog:
    """A connection to one cluster. Producers and consumers are made as they are needed."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._producer: AIOKafkaProducer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._starting = asyncio.Lock()

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        await append(await self.producer(), outgoing)

    async def read(self, topic: str, start: Start = "start", *, follow: bool = True) -> AsyncIterator[Record]:
        consumer = self._reader(topic)
        try:
            await consumer.start()
            places = sorted(consumer.assignment())  # without a group, a reader is given every partition
            if not places:
                raise LookupError(f"there is no topic {topic} on {self.bootstrap}")
            ends = await consumer.end_offsets(places)
            await seek(consumer, start, ends)
            async for message in on_and_on(consumer) if follow else until(consumer, ends):
                yield record_of(message)
        finally:
            await consumer.stop()

    async def ends(self, topic: str) -> Mapping[int, int]:
        consumer = self._reader(topic)
        try:
            await consumer.start()
            ends = await consumer.end_offsets(sorted(consumer.assignment()))
            return {place.partition: offset for place, offset in ends.items()}
        finally:
            await consumer.stop()

    async def work(
        self,
        subscription: Subscription,
        through: Callable[[Lane], Awaitable[None]],
        stop: asyncio.Event,
        assigned: Callable[[frozenset[int]], None] = lambda partitions: None,
    ) -> None:
        member = Member(self, subscription, through, assigned)
        await member.run(stop)

    async def close(self) -> None:
        for client in (self._producer, self._admin):
            if client is not None:
                await (client.stop() if isinstance(client, AIOKafkaProducer) else client.close())
        self._producer = self._admin = None

    async def producer(self) -> AIOKafkaProducer:
        """The shared idempotent producer, started on first use."""
        async with self._starting:
            if self._producer is None:
                producer = new_producer(self.bootstrap)
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def committed(self, group: str, place: TopicPartition) -> tuple[int | None, Progress]:
        """The group's committed offset and what is noted beside it. Raises on any answer that is not one."""
        async with self._starting:
            if self._admin is None:
                admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
                await admin.start()
                self._admin = admin
        found = await self._admin.list_consumer_group_offsets(group, partitions=[place])
        kept = found.get(place)
        if kept is None or kept.offset < 0:
            return None, Progress()
        return kept.offset, Progress(**json.loads(kept.metadata)) if kept.metadata else Progress()

    def _reader(self, *topics: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            *topics,
            bootstrap_servers=self.bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )

    async def read_markers(self, topic: str, partition: int, answers: Answers) -> None:
        """Read what is answered, to the present end. Raises TimeoutError when the broker gives none."""
        place = TopicPartition(topic, partition)
        consumer = self._reader()
        await consumer.start()
        try:
            consumer.assign([place])
            ends = await consumer.end_offsets([place])
            first = (await consumer.beginning_offsets([place]))[place]
            consumer.seek(place, max(first, ends[place] - MARKERS_READ))
            async for message in until(consumer, ends):
                answers.add_marker(message.key, message.value)
        finally:
            await consumer.stop()


class Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """A member of a consumer group: opens a lane for each partition it is given, closes it when it is taken."""

    def __init__(
        self,
        log: KafkaLog,
        subscription: Subscription,
        through: Callable[[Lane], Awaitable[None]],
        assigned: Callable[[frozenset[int]], None],
    ) -> None:
        self.log = log
        self.subscription = subscription
        self._through = through
        self._assigned = assigned
        self._lanes: dict[KafkaLane, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ends: asyncio.Future[Mapping[TopicPartition, int]] | None = None
        self._stopped = False
        self._asked_again = False
        self.consumer = self._new_consumer()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, then clean up; or until anything fails, which is raised at once and cleans up nothing."""
        self._subscribe()
        await self.consumer.start()
        stopping: asyncio.Future[bool] = asyncio.ensure_future(stop.wait())
        watched: set[asyncio.Future[Any]] = {stopping, self._failed}
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self._stopped = True
        if self._failed.done():
            await self._abandon()
            self._failed.result()
        await self._close_lanes()
        await self.consumer.stop()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Only starts the lanes: they fence, read and seek on their own, so that heartbeats go on meanwhile."""
        if self._stopped:
            return
        self.consumer.pause(*assigned)
        for place in sorted(assigned):
            lane = KafkaLane(self, place)
            task = asyncio.create_task(self._run_lane(lane), name=f"{place.topic}-{place.partition}")
            self._lanes[lane] = task
        if not assigned:
            self._tell()
            self._ask_again()

    def _ask_again(self) -> None:
        """A static member that comes back is given what its group stored, be it nothing because the leader of that
        time did not see the topic yet. Asked again, the group assigns anew. Only once: there may be more members
        than partitions."""
        if not self._asked_again:
            self._asked_again = True
            asyncio.get_running_loop().call_soon(self._subscribe)

    def _subscribe(self) -> None:
        if not self._stopped:
            self.consumer.subscribe([self.subscription.topic], listener=self)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if self._stopped:
            return
        try:
            await self._close_lanes()
        except BaseException as failure:
            self._fail(failure)

    async def _run_lane(self, lane: KafkaLane) -> None:
        try:
            await lane.open()
            self._tell()
            await self._through(lane)
        except asyncio.CancelledError:
            raise
        except BaseException as failure:
            self._fail(first_cause(failure))

    async def _abandon(self) -> None:
        """Take no further step: no commit, no end of a transaction. The successor's fence settles what is open."""
        for task in self._lanes.values():
            task.cancel()
        with suppress(Exception):
            await asyncio.wait_for(self.consumer.stop(), timeout=2)

    async def _close_lanes(self) -> None:
        lanes, self._lanes = self._lanes, {}
        for lane in lanes:
            lane.stop.set()
        if lanes:
            _, late = await asyncio.wait(lanes.values(), timeout=DRAIN_S)
            if late:
                raise LostPartition(f"work in hand did not end within {DRAIN_S:g} s")
        await asyncio.gather(*(lane.close() for lane in lanes))
        self._tell()

    async def ends(self) -> Mapping[TopicPartition, int]:
        """Of all lanes, by one request for all that ask at once."""
        if self._ends is None or self._ends.done():
            places = [lane.place for lane in self._lanes]
            asked = asyncio.wait_for(self.consumer.end_offsets(places), LAG_S)
            self._ends = asyncio.ensure_future(asked)
            self._ends.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        return await asyncio.shield(self._ends)

    def _tell(self) -> None:
        self._assigned(frozenset(lane.partition for lane in self._lanes if lane.opened))

    def _fail(self, failure: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(failure)

    def _new_consumer(self) -> AIOKafkaConsumer:
        member = {"group_instance_id": self.subscription.slot} if self.subscription.slot else {}
        return AIOKafkaConsumer(
            bootstrap_servers=self.log.bootstrap,
            group_id=self.subscription.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=1_000 if self.subscription.transactional else 3_000,
            rebalance_timeout_ms=20_000,
            # The client would leave the group for good after so long without a fetch: a member without partitions
            # never fetches, and records that wait for an engine hold the others up. The watchdog ends what hangs.
            max_poll_interval_ms=7 * 24 * 3_600_000,
            **member,
        )


class KafkaLane:
    """One partition in the hands of one member. `open` before use."""

    def __init__(self, member: Member, place: TopicPartition) -> None:
        self._member = member
        self._log = member.log
        self._consumer = member.consumer
        self._subscription = member.subscription
        self.place = place
        self._transactions: AIOKafkaProducer | None = None
        self._producer: AIOKafkaProducer | None = None
        self.stop = asyncio.Event()
        self.opened = False
        self.progress = Progress()
        self.answers = Answers()
        self._in_hand: deque[tuple[int, datetime]] = deque()  # offset and append of what is not acknowledged

    @property
    def partition(self) -> int:
        return int(self.place.partition)

    @property
    def stopping(self) -> bool:
        return self.stop.is_set()

    async def open(self) -> None:
        """Fence, then read the offset, then the markers, then seek. In this order."""
        self._producer = await self._log.producer()
        if self._subscription.transactional:
            self._transactions = new_producer(
                self._log.bootstrap,
                transactional_id=f"{self._subscription.group}-{self.place.topic}-{self.partition}",
                transaction_timeout_ms=TRANSACTION_MS,
            )
            await self._transactions.start()
        offset, self.progress = await self._log.committed(self._subscription.group, self.place)
        if self._subscription.markers is not None:
            await self._log.read_markers(self._subscription.markers, self.partition, self.answers)
        if offset is None:
            offset = (await self._consumer.beginning_offsets([self.place]))[self.place]
        if not self.stopping:
            self._consumer.seek(self.place, offset)
            self._consumer.resume(self.place)
        self.opened = True

    async def close(self) -> None:
        if self._transactions is not None:
            await asyncio.wait_for(self._transactions.stop(), START_S)

    async def take(self, limit: int) -> Sequence[Record]:
        """`getmany` ignores its timeout during a rebalance, so it is cancelled when the lane stops."""
        fetching = asyncio.ensure_future(
            self._consumer.getmany(self.place, timeout_ms=TAKE_MS, max_records=limit)
        )
        stopped = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait({fetching, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self.stopping:
            fetching.cancel()
            with suppress(asyncio.CancelledError):
                await fetching
            return ()
        records = [record_of(message) for message in fetching.result().get(self.place, ())]
        self._in_hand.extend((record.offset, record.appended_at) for record in records)
        return records

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        assert self._producer is not None
        await append(self._producer, outgoing)

    async def commit(self, outgoing: Sequence[Outgoing], next_offset: int) -> None:
        await self._commit(outgoing, next_offset, "")

    async def mark(self, offset: int, progress: Progress) -> None:
        noted = {"begun": progress.begun, "alone": progress.alone}
        await self._commit((), offset, json.dumps(noted, separators=(",", ":")))

    async def lag(self) -> Lag | None:
        """By the stable end, as a read_committed reader sees it; the position is past the ends of transactions."""
        try:
            async with asyncio.timeout(LAG_S):
                ends = await self._member.ends()
                position = await self._consumer.position(self.place)
        except (KafkaError, ConsumerStoppedError, TimeoutError):
            return None
        if self.place not in ends:
            return None
        oldest = self._in_hand[0][1] if self._in_hand else None
        return Lag(max(0, ends[self.place] - position) + len(self._in_hand), oldest)

    async def _commit(self, outgoing: Sequence[Outgoing], offset: int, note: str) -> None:
        offsets = {self.place: OffsetAndMetadata(offset, note)}
        if self._transactions is None:
            await self.send(outgoing)
            await self._consumer.commit(offsets)
        else:
            async with self._transactions.transaction():
                await append(self._transactions, outgoing, self.partition)
                await self._transactions.send_offsets_to_transaction(offsets, self._subscription.group)
        while self._in_hand and self._in_hand[0][0] < offset:
            self._in_hand.popleft()


def new_producer(bootstrap: str, **transactional: Any) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        request_timeout_ms=30_000,
        max_request_size=LARGEST_RECORD,
        **transactional,
    )


async def append(
    producer: AIOKafkaProducer, outgoing: Sequence[Outgoing], partition: int | None = None
) -> None:
    """Hand all records over, then await their acknowledgements together: one by one would be 30 times slower."""
    with tracing.sending(outgoing) as records:
        acknowledged = [
            await producer.send(
                item.topic, item.value, key=item.key, partition=partition, headers=list(item.headers)
            )
            for item in records
        ]
        await asyncio.gather(*acknowledged)


def record_of(message: Any) -> Record:
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value or b"",
        headers=tuple(message.headers),
        appended_at=datetime.fromtimestamp(message.timestamp / 1000, UTC),
    )
