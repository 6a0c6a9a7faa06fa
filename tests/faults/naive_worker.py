"""A worker as tutorials write it: offsets are committed by a timer, whatever became of the work. A control only.

`python -m tests.faults.naive_worker BOOTSTRAP GROUP`
"""

from __future__ import annotations

import asyncio
import io
import sys

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from PIL import Image

from captionstream.contracts import messages as m
from services.encoder.scripted import read_plate

READS, WRITES = "image-events", "captions"


async def main(bootstrap: str, group: str) -> None:
    consumer = AIOKafkaConsumer(
        READS,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        auto_commit_interval_ms=200,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await consumer.start()
    await producer.start()
    async for message in consumer:
        asyncio.create_task(answer(producer, message.value))  # noqa: RUF006  (as the tutorials do)


async def answer(producer: AIOKafkaProducer, value: bytes) -> None:
    event = m.ImageSubmitted.model_validate_json(value)
    await asyncio.sleep(0.3)
    pixels = np.asarray(Image.open(io.BytesIO(event.image.inline or b"")))
    await producer.send_and_wait(WRITES, f"{event.id} {read_plate(pixels):06d}".encode())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
