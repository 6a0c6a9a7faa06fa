"""G4: what a stage's framework costs for an event, over the barest relay that can be written with aiokafka.

Both read the same records of `image-events` and write one for each: ours as a stage that decides nothing (checked
message in, checked message out, in order, acknowledged, committed), the bare one the same bytes.
"""

from __future__ import annotations

import asyncio
import cProfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from captionstream.bench.goals import BY_NAME, Found
from captionstream.bench.measuring import Spread, as_rows, ratios
from captionstream.bench.stacks import Stack, running
from captionstream.contracts import messages as m
from captionstream.contracts.topics import DEAD_LETTERS, IMAGE_EVENTS
from captionstream.contracts.values import ImageReference, PreparedImage, StageName
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.asking import submit
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.service import Service
from captionstream.runtime.stage import Delivery, carry
from captionstream.runtime.worker import Worker

RELAY_S = 120.0


class Passing:
    """The least that a stage can be: the same prepared image for every event."""

    name = StageName.INGEST

    def __init__(self, image: PreparedImage, count: int) -> None:
        self._image, self._left = image, count
        self.done = asyncio.Event()

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        yield m.ImagePrepared(**carry(message, delivery), image=self._image)
        self._left -= 1
        if not self._left:
            self.done.set()

    def refuse(self, refused: m.Refused) -> tuple[m.Message, ...]:
        return (refused,)


async def measure(count: int, rounds: int, tell: Callable[[str], None]) -> dict[str, Found]:
    """`count` events a round, each way once."""
    tell("framework over a bare relay")
    ours: list[float] = []
    bare: list[float] = []
    with TemporaryDirectory(prefix="captionstream-bench-") as work:
        async with running(Path(work), roles=("kafka",)) as stack:
            image = await prepared()
            await submit(stack.log, [event(number) for number in range(count)])
            for number in range(rounds):
                bare.append(await bare_relay(stack, count, f"bare-{number}"))
                ours.append(await own_relay(stack, count, f"own-{number}", image))
            ratio = ratios(ours, bare)
            missed = BY_NAME["G4"].met_by(ratio.median) == "missed"
            profile = await where_it_goes(stack, count, image) if missed else ""
    details = {
        "ours_us": round(Spread.of(ours).median * 1e6), "bare_us": round(Spread.of(bare).median * 1e6),
        "events": count,
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


async def own_relay(stack: Stack, count: int, group: str, image: PreparedImage) -> float:
    """Processor seconds of this process for an event, from the start of the member on."""
    stage, stop = Passing(image, count), asyncio.Event()
    log = KafkaLog(stack.log.bootstrap)

    async def nothing() -> None: ...

    worker = Worker(Service(stage, nothing), log, prefix=group, probing=False)
    begun = time.process_time()
    working = asyncio.create_task(worker.run(stop))
    try:
        async with asyncio.timeout(RELAY_S):
            await stage.done.wait()
        spent = time.process_time() - begun
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
    begun, left = time.process_time(), count
    await asyncio.gather(consumer.start(), producer.start())
    try:
        async with asyncio.timeout(RELAY_S):
            while left > 0:
                left -= await relayed(consumer, producer)
        return (time.process_time() - begun) / count
    finally:
        await asyncio.gather(consumer.stop(), producer.stop())


async def relayed(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> int:
    taken = [record for records in (await consumer.getmany(timeout_ms=500)).values() for record in records]
    sent = [await producer.send(DEAD_LETTERS.name, record.value, key=record.key) for record in taken]
    await asyncio.gather(*sent)
    if taken:
        await consumer.commit()
    return len(taken)
