"""Print every answer as it comes: python consume.py [KAFKA]"""

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer


async def main(kafka: str = "127.0.0.1:9092") -> None:
    how = {"group_id": "example", "auto_offset_reset": "earliest", "isolation_level": "read_committed"}
    async with AIOKafkaConsumer("captions", bootstrap_servers=kafka, **how) as captions:
        async for record in captions:
            kind = dict(record.headers)["ce_type"].decode().split(".")[-2]  # published, held or refused
            answer = json.loads(record.value)
            print(answer["event"]["id"], kind, answer.get("text", answer.get("reason")), flush=True)


asyncio.run(main(*sys.argv[1:]))
