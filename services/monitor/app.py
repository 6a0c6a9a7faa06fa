"""The engine: a Faust app that reads `captions`, and whose tables are the monitor's own two topics.

A table's changelog is the topic itself: writing a row publishes it, and a restart reads it back. Both topics are in
the table of topics, so Faust is forbidden to create any. Faust's faults are met here: an exception in an agent
acknowledges the batch and starts the agent again, so `failed` ends the process first; records that were not
committed in the end are read too, so the watch knows answers by id; there is one process, because keys are spread
over all partitions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faust
from aiokafka.partitioner import DefaultPartitioner
from faust.types import EventT

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.record import Record
from captionstream.contracts.topics import (
    ALERTS,
    CAPTION_RATES,
    CAPTIONS,
    PARTITIONS,
    Topic,
    Watcher,
    topic_for,
)
from captionstream.serve import ServeSettings
from services.monitor import figures
from services.monitor.watch import Changes, Watch

MOST_AT_ONCE = 500
AT_LEAST_EVERY_S = 1.0  # so that a row is written once a second and profile, not once an answer
Failed = Callable[[BaseException], None]


class Bytes(faust.Schema[Any, Any]):
    """Records as they are: the watch decodes them, and a malformed one stops nothing."""

    allow_empty = True

    def loads_key(self, app: Any, message: Any, **how: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **how: Any) -> Any:
        return message.value


class Messages(Bytes):
    """Our messages as values of a table, with the headers that name their type; None for one that is malformed."""

    def loads_value(self, app: Any, message: Any, **how: Any) -> m.Message | None:
        try:
            return codec.decode(record_of(message))
        except codec.Malformed:
            return None

    def dumps_key(self, app: Any, key: Any, *, headers: Any, **how: Any) -> tuple[bytes, Any]:
        return key, headers

    def dumps_value(self, app: Any, value: Any, *, headers: Any, **how: Any) -> tuple[bytes, Any]:
        topic_for(Watcher.MONITOR, type(value))
        return value.model_dump_json(exclude_none=True).encode(), cloud_event_headers(value)


class Spread(faust.Table[bytes, m.Message]):
    """A table whose keys lie where every Kafka client would put them. Faust knows only the event's partition, or
    asks a producer that has not heard of the topic before its first record."""

    def partition_for_key(self, key: bytes) -> int:
        partitions = list(range(PARTITIONS))
        return int(DefaultPartitioner()(key, partitions, partitions))


class Monitoring:
    """The app and its tables, around one watch. `failed` is called with what must end the process."""

    def __init__(self, settings: ServeSettings, watch: Watch, folder: Path, failed: Failed) -> None:
        self.watch = watch
        self.taken = 0
        self._failed = failed
        self._restored = False
        self.app = new_app(settings, folder)
        self._rates = table(self.app, CAPTION_RATES, self._restore)
        self._standing = table(self.app, ALERTS, None)
        captions = self.app.topic(CAPTIONS.name, schema=Bytes(), allow_empty=True)
        self.app.agent(captions, name="count")(self._count)

    @property
    def ready(self) -> bool:
        """Whether the tables are read back and every partition of the captions is ours."""
        owned = {
            place.partition for place in self.app.assignor.assigned_actives() if place.topic == CAPTIONS.name
        }
        return self._restored and not self.app.rebalancing and len(owned) == PARTITIONS

    async def _count(self, stream: Any) -> None:
        batches: AsyncIterator[Sequence[EventT[Any]]] = stream.take_events(
            MOST_AT_ONCE, within=AT_LEAST_EVERY_S
        )
        try:
            async for batch in batches:
                if not self._restored:
                    await self._restore()
                self.taken += len(batch)
                self._write(self.watch.take([record_of(event.message) for event in batch]))
                await self.app.producer.flush()  # only then is the batch acknowledged
        except Exception as failure:
            self._failed(failure)

    def _write(self, changes: Changes) -> None:
        for row in changes.rows:
            self._rates[row.key] = row
        for anomaly in changes.anomalies:
            self._standing[anomaly.key] = anomaly
        for key in set(self._rates.data) - set(self.watch.rows):
            del self._rates.data[key]  # of the store, not of the table: the topic forgets by its retention
        figures.show(changes, self.watch)

    async def _restore(self) -> None:
        """When tables are read back, which is again when partitions come that another process held at first.
        What is known already stays. Faust swallows what its callbacks raise."""
        try:
            rows, standing = self._rates.data.values(), self._standing.data.values()
            self.watch.restore(
                [row for row in rows if row is not None],
                [anomaly for anomaly in standing if anomaly is not None],
            )
            self._restored = True
            figures.show(Changes(), self.watch)
        except Exception as failure:
            self._failed(failure)


def new_app(settings: ServeSettings, folder: Path) -> faust.App:
    """`folder` is where Faust makes its (empty) directories."""
    return faust.App(
        f"{settings.group_prefix}-monitor",
        broker=f"kafka://{settings.kafka.replace(',', ';kafka://')}",
        broker_client_id="captionstream-monitor",
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
        broker_rebalance_timeout=20.0,
        broker_request_timeout=30.0,
        producer_request_timeout=30.0,
        consumer_group_instance_id=None if settings.slot is None else f"monitor-{settings.slot}",
        Table=Spread,
        store="memory://",
        table_standby_replicas=0,
        topic_partitions=PARTITIONS,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        datadir=folder,
    )


def table(app: faust.App, topic: Topic, on_recover: Callable[[], Any] | None) -> Any:
    schema = Messages()
    changes = app.topic(
        topic.name, schema=schema, partitions=PARTITIONS, allow_empty=True, acks=False, internal=True
    )
    return app.Table(
        topic.name, schema=schema, changelog_topic=changes, partitions=PARTITIONS, on_recover=on_recover
    )


def record_of(message: Any) -> Record:
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value or b"",
        headers=tuple(message.headers or ()),
        appended_at=datetime.fromtimestamp(message.timestamp, UTC),
    )


def cloud_event_headers(message: m.Message) -> list[tuple[str, bytes]]:
    """CloudEvents binary mode, as on every topic. The id is the same for a repeat of one onset."""
    subject = message.key.decode()  # type: ignore[attr-defined]
    moment = f"/{message.at.isoformat()}" if isinstance(message, m.Anomaly) else ""
    headers = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": f"{subject}{moment}",
        "ce_source": f"captionstream/{Watcher.MONITOR}",
        "ce_type": message.ce_type,
        "ce_time": datetime.now(UTC).isoformat(),
        "ce_subject": subject,
    }
    return [(name, value.encode()) for name, value in headers.items()]
