"""G4: what a stage's framework costs for an event, over the barest relay that can be written with aiokafka.

Both read the same records of `image-events` and write one for each: ours as a stage that decides nothing (checked
message in, checked message out, in order, acknowledged, committed), the bare one the same bytes. The clock begins when
a first lot has gone through, so that joining a group and starting a producer are in neither figure.
"""

from __future__ import annotations

import asyncio
import cProfile
import time
from collections.abc import AsyncIterator, Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from captionstream.bench.goals import BY_NAME, Found
from captionstream.bench.measuring import Spread, as_rows, ratios
from captionstream.bench.stacks import Stack, running
from captionstream.bench.workplace import workplace
from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.record import Record
from captionstream.contracts.topics import DEAD_LETTERS, IMAGE_EVENTS
from captionstream.contracts.values import ImageReference, PreparedImage, StageName
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.asking import as_record, submit
from captionstream.runtime.clock import utc_now
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.service import Service
from captionstream.runtime.stage import Delivery, carry
from captionstream.runtime.worker import Worker

RELAY_S = 120.0
WARM_UP = 100
"""Events that each side relays before its clock begins."""


class Passing:
    """The least that a stage can be: the same prepared image for every event."""

    name = StageName.INGEST

    def __init__(self, image: PreparedImage, count: int) -> None:
        self._image, self._count, self._passed = image, count, 0
        self.begun = 0.0
        self.done = asyncio.Event()

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        yield m.ImagePrepared(**carry(message, delivery), image=self._image)
        self._passed += 1
        if self._passed == WARM_UP:
            self.begun = time.process_time()
        if self._passed == WARM_UP + self._count:
            self.done.set()

    def refuse(self, refused: m.Refused) -> tuple[m.Message, ...]:
        return (refused,)


async def measure(count: int, rounds: int, tell: Callable[[str], None]) -> dict[str, Found]:
    """`count` events a round, each way once."""
    tell("framework over a bare relay")
    ours: list[float] = []
    bare: list[float] = []
    with workplace() as work:
        async with running(work, roles=("kafka",)) as stack:
            image = await prepared()
            await submit(stack.log, [event(number) for number in range(WARM_UP + count)])
            for number in range(rounds):
                bare.append(await bare_relay(stack, count, f"bare-{number}"))
                ours.append(await own_relay(stack, count, f"own-{number}", image))
            ratio = ratios(ours, bare)
            missed = BY_NAME["G4"].met_by(ratio.median) == "missed"
            profile = await where_it_goes(stack, count, image) if missed else ""
    details = {
        "ours_us": round(Spread.of(ours).median * 1e6), "bare_us": round(Spread.of(bare).median * 1e6),
        "checking_us": round(checking(count, image) * 1e6), "events": count, "warm_up": WARM_UP,
    }  # fmt: skip
    return {"G4": Found("G4", round(ratio.median, 1), ratio.range, rounds, details, profile=profile)}


async def where_it_goes(stack: Stack, count: int, image: PreparedImage) -> str:
    """Of our relay: its functions with most time of their own, waiting left out."""
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    await own_relay(stack, count, "profiled", image)
    profile.disable()
    return as_rows(profile)


def event(number: int) -> m.ImageSubmitted:
    return m.ImageSubmitted(
        id=f"framework-{number}", image=ImageReference(object_key=f"picture-{number}.jpg")
    )


async def prepared() -> PreparedImage:
    pixels = await PayloadStore.open("memory").put(bytes(300), "application/x-raw-rgb")
    return PreparedImage(
        digest="0" * 64, media_type="image/jpeg", original_width=10, original_height=10, width=10, height=10,
        pixels=pixels, notes=(),
    )  # fmt: skip


def checking(count: int, image: PreparedImage) -> float:
    """Processor seconds of an event for its messages alone: one read and checked, one written."""
    sent, now = as_record(event(0)), utc_now()
    incoming = Record(sent.topic, 0, 0, sent.key, sent.value, sent.headers, now)
    kept = m.ImagePrepared(**carry(event(0), Delivery(now, "0" * 64)), image=image)
    begun = time.process_time()
    for _ in range(count):
        codec.decode(incoming)
        codec.encode(kept, StageName.INGEST)
    return (time.process_time() - begun) / count


async def own_relay(stack: Stack, count: int, group: str, image: PreparedImage) -> float:
    """Processor seconds of this process for an event, once the first lot is through."""
    stage, stop = Passing(image, count), asyncio.Event()
    log = KafkaLog(stack.log.bootstrap)

    async def nothing() -> None: ...

    worker = Worker(Service(stage, nothing), log, prefix=group, probing=False)
    working = asyncio.create_task(worker.run(stop))
    try:
        async with asyncio.timeout(RELAY_S):
            await stage.done.wait()
        spent = time.process_time() - stage.begun
    finally:
        stop.set()
        await asyncio.wait([working], timeout=20)
        working.cancel()
        await log.close()
    return spent / count


async def bare_relay(stack: Stack, count: int, group: str) -> float:
    """Batches as they come; each is sent, awaited together and committed."""
    address = stack.log.bootstrap
    consumer = AIOKafkaConsumer(
        IMAGE_EVENTS.name, bootstrap_servers=address, group_id=group, enable_auto_commit=False,
        auto_offset_reset="earliest",
    )  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
    await asyncio.gather(consumer.start(), producer.start())
    try:
        async with asyncio.timeout(RELAY_S):
            warm = await relayed_all(consumer, producer, WARM_UP)
            begun, left = time.process_time(), WARM_UP + count - warm
            await relayed_all(consumer, producer, left)
        return (time.process_time() - begun) / left
    finally:
        await asyncio.gather(consumer.stop(), producer.stop())


async def relayed_all(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, least: int) -> int:
    done = 0
    while done < least:
        done += await relayed(consumer, producer)
    return done


async def relayed(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> int:
    found = await consumer.getmany(timeout_ms=500, max_records=WARM_UP)
    taken = [record for records in found.values() for record in records]
    sent = [await producer.send(DEAD_LETTERS.name, record.value, key=record.key) for record in taken]
    await asyncio.gather(*sent)
    if taken:
        await consumer.commit()
    return len(taken)
