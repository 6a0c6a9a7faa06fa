"""The log on a real Apache Kafka behaves as a log must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from captionstream.contracts.topics import IMAGE_EVENTS
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics, describe_topics
from captionstream.runtime.message_log import Lane, Subscription
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


class SawNoTopic(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """What a leader does whose broker did not tell it of the topic yet: everybody gets nothing."""

    @classmethod
    def assign(cls, cluster: Any, members: dict[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        return {member: ConsumerProtocolMemberAssignment(cls.version, [], b"") for member in members}


async def test_a_member_whose_group_once_assigned_nothing_gets_its_partitions(kafka: str) -> None:
    """The group stores its last assignment and gives it to a static member that comes back."""
    await create_topics(kafka)
    group, slot = "stored-nothing", "stored-nothing-0"
    before = AIOKafkaConsumer(
        IMAGE_EVENTS.name, bootstrap_servers=kafka, group_id=group, group_instance_id=slot,
        partition_assignment_strategy=(SawNoTopic,),
    )  # fmt: skip
    await before.start()
    assert set() == before.assignment()
    await before.stop()

    log, stop, owned = KafkaLog(kafka), asyncio.Event(), asyncio.Event()

    async def rest(lane: Lane) -> None:
        await stop.wait()

    def assigned(partitions: frozenset[int]) -> None:
        if partitions:
            owned.set()

    working = asyncio.create_task(
        log.work(Subscription(IMAGE_EVENTS.name, group, slot), rest, stop, assigned)
    )
    try:
        await asyncio.wait_for(owned.wait(), 30)
    finally:
        stop.set()
        await working
        await log.close()
