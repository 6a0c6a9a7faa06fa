"""Ask for the caption of a picture: python publish.py PICTURE [KAFKA]"""

import asyncio
import base64
import json
import sys
from pathlib import Path

from aiokafka import AIOKafkaProducer


async def main(picture: str, kafka: str = "127.0.0.1:9092") -> None:
    image = {"inline": base64.b64encode(Path(picture).read_bytes()).decode()}  # or {"url": ...}
    event = {"id": Path(picture).name, "source": "https://shop.example", "image": image, "profile": "alt"}
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        await producer.send_and_wait("image-events", json.dumps(event).encode(), key=event["id"].encode())


asyncio.run(main(*sys.argv[1:]))
