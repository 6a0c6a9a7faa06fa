"""The topics on a cluster: made from the table, described beside it."""

from __future__ import annotations

from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from captionstream.contracts.topics import PARTITIONS, TOPICS


@dataclass(frozen=True, slots=True)
class TopicState:
    name: str
    partitions: int  # 0: the topic is not there


async def create_topics(bootstrap: str, *, replication: int = 1) -> list[str]:
    """Create what the table has and the cluster lacks; the names created. Raises KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        wanted = [
            NewTopic(topic.name, PARTITIONS, replication, topic_configs=topic.kafka_settings())
            for topic in TOPICS
        ]
        answer = await admin.create_topics(wanted)
        return [name for name, code, reason in answer.topic_errors if created(name, code, reason)]
    finally:
        await admin.close()


def created(name: str, code: int, reason: str | None) -> bool:
    """The client does not raise on refusals: it returns their codes."""
    if code == TopicAlreadyExistsError.errno:
        return False
    if code:
        raise for_code(code)(f"topic {name}: {reason or 'refused'}")
    return True


async def describe_topics(bootstrap: str) -> list[TopicState]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        found = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        return [TopicState(topic.name, found.get(topic.name, 0)) for topic in TOPICS]
    finally:
        await admin.close()
