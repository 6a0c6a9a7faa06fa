"""The border to Faust: what is written decodes as every message does, and only to the monitor's own topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.record import Record
from captionstream.contracts.topics import ALERTS, CAPTION_RATES, NoSuchRoute, Topic
from captionstream.serve import ServeSettings
from services.monitor.app import Messages, Monitoring, new_app
from services.monitor.watch import Watch
from services.monitor.wiring import until_stopped
from tests.builders import NOON
from tests.unit.monitor.builders import on_log, published, refused


def changes() -> tuple[m.CaptionRates, m.Anomaly]:
    seen = Watch(clock=lambda: NOON)
    made = seen.take(on_log([refused(f"event-{place}") for place in range(40)]))
    return made.rows[0], made.anomalies[0]


def written(topic: Topic, value: Any) -> Record:
    bytes_, headers = Messages().dumps_value(None, value, headers=None)
    return Record(topic.name, 0, 0, value.key, bytes_, tuple(headers), NOON)


def test_what_is_written_is_decoded_by_the_codec() -> None:
    """Rates and alerts are messages like all others, with their type in the headers."""
    row, anomaly = changes()
    assert row == codec.decode(written(CAPTION_RATES, row))
    assert anomaly == codec.decode(written(ALERTS, anomaly))


def test_the_monitor_cannot_write_an_answer() -> None:
    """Nor anything else that consumers read."""
    with pytest.raises(NoSuchRoute):
        written(ALERTS, published("a"))


def test_the_app_makes_no_topics_and_no_web_server(tmp_path: Path) -> None:
    """Its topics are rows of the table of topics; the probes are ours."""
    conf = new_app(ServeSettings(slot="0"), tmp_path).conf
    assert (False, True, False) == (conf.topic_allow_declare, conf.topic_disable_leader, conf.web_enabled)
    assert "monitor-0" == conf.consumer_group_instance_id


def test_it_is_not_ready_before_it_has_read_back_and_owns_all(tmp_path: Path) -> None:
    """Made, not started: nothing is connected, nothing is claimed."""
    monitoring = Monitoring(ServeSettings(), Watch(), tmp_path, lambda failure: None)
    assert not monitoring.ready
    assert {"caption-rates", "alerts"} == monitoring.app.tables.changelog_topics


async def test_what_is_read_back_later_is_known_too(tmp_path: Path) -> None:
    """While a predecessor still runs, Faust gives its successor only some of the partitions."""
    row, anomaly = changes()
    monitoring = Monitoring(ServeSettings(), Watch(clock=lambda: NOON), tmp_path, lambda failure: None)
    tables: Any = monitoring.app.tables
    await tables[CAPTION_RATES.name].call_recover_callbacks()
    tables[CAPTION_RATES.name].data[row.key] = row
    tables[ALERTS.name].data[anomaly.key] = anomaly
    await tables[CAPTION_RATES.name].call_recover_callbacks()
    assert ({row.key: row}, {anomaly.key: anomaly}) == (monitoring.watch.rows, monitoring.watch.standing)


class BrokenStream:
    """Gives the agent something that it cannot read."""

    async def take_events(self, most: int, within: float) -> AsyncIterator[list[object]]:
        yield [object()]


async def test_a_failure_while_counting_ends_the_process(tmp_path: Path) -> None:
    """Faust would start the agent again behind our back, with the batch acknowledged."""
    failures: list[BaseException] = []
    monitoring = Monitoring(ServeSettings(), Watch(), tmp_path, failures.append)
    await monitoring._count(BrokenStream())
    assert [AttributeError] == [type(failure) for failure in failures]


async def test_a_crash_of_the_app_ends_the_process(tmp_path: Path) -> None:
    """Whatever of Faust breaks: its reason is raised, and the supervisor starts the process again."""
    monitoring = Monitoring(ServeSettings(), Watch(), tmp_path, lambda failure: None)
    starting = asyncio.create_task(asyncio.sleep(60))
    monitoring.app._crash(ConnectionError("gone"))
    with pytest.raises(ConnectionError, match="gone"):
        await until_stopped(monitoring, asyncio.Event(), starting)
    starting.cancel()
