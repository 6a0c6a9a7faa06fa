"""The log on a real Apache Kafka behaves as a log must."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics, describe_topics
from tests.contract.log_behaviour import LogBehaviour

pytestmark = pytest.mark.stack


class TestKafkaLog(LogBehaviour):
    @pytest.fixture
    async def log(self, kafka: str) -> AsyncIterator[KafkaLog]:
        await create_topics(kafka)
        log = KafkaLog(kafka)
        yield log
        await log.close()


async def test_topics_are_made_once_from_the_table(kafka: str) -> None:
    """A second run creates nothing, and every topic has the table's partitions."""
    await create_topics(kafka)
    assert [] == await create_topics(kafka)
    assert {8} == {topic.partitions for topic in await describe_topics(kafka)}
