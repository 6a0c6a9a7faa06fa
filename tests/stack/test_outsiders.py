"""Outsiders with their own tools: Kafka's console consumer, the AsyncAPI parser, the README's two scripts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.description.asyncapi import document
from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.topics import CAPTIONS, TOPICS
from captionstream.contracts.values import StageName
from captionstream.local.installed import Installed
from captionstream.local.jars import Jar, fetch
from captionstream.local.kafka import java
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics
from tests.builders import NOON
from tests.npm_packages import NODE, npm_packages
from tests.stack.conftest import Stack

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = Jar(
    "org.apache.kafka",
    "kafka-tools",
    "4.4.0",
    "4eb9a7fbfd63badfd8d1a677aa2d54b47b2b2d442ff7d68fd223972afea1954c",
)

# ---------------------------------------------------------------- the console consumer


@pytest.fixture(scope="session")
def console_class_path() -> str:
    """Kafka's tools: one jar beside those of the broker, fetched once."""
    installed = Installed.here()
    folder = installed.home / "kafka-tools"
    fetch([CONSOLE], folder)
    return f"{installed.kafka_jars}/*:{folder}/*"


def console_consumer(class_path: str, bootstrap: str, isolation: str, start: int, count: int) -> list[str]:
    """What Kafka's console consumer prints of a partition of `captions` from `start` on: headers, key, value."""
    done = subprocess.run(
        [
            str(java()), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            "-cp", class_path, "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "--bootstrap-server", bootstrap, "--topic", CAPTIONS.name,
            "--partition", "0", "--offset", str(start),
            "--isolation-level", isolation, "--max-messages", str(count), "--timeout-ms", "45000",
            "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if "\t" in line]


async def write_answer(producer: AIOKafkaProducer, answer: Outgoing, commit: bool) -> None:
    """One transaction, which is ended or taken back."""
    await producer.begin_transaction()
    await producer.send_and_wait(
        answer.topic, answer.value, key=answer.key, partition=0, headers=list(answer.headers)
    )
    await (producer.commit_transaction() if commit else producer.abort_transaction())


def answer(event_id: str) -> Outgoing:
    """The example of a published caption, about another event."""
    path = Path(codec.__file__).parent / "examples" / CAPTIONS.name / "CaptionPublished.json"
    example = json.loads(path.read_text("utf-8"))
    published = m.CaptionPublished.model_validate_json(json.dumps(example["value"]))
    event = published.event.model_copy(update={"id": event_id})
    return codec.encode(published.model_copy(update={"event": event}), StageName.SAFETY)


async def test_javas_console_consumer_sees_what_was_committed_and_nothing_else(
    kafka: str, console_class_path: str
) -> None:
    """With read_committed an aborted answer is not there; without it is, which is why everyone must ask for it."""
    await create_topics(kafka)
    first = answer("first")
    start = await end_of_partition(kafka)
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id="outsiders") as producer:
        await write_answer(producer, first, commit=True)
        await write_answer(producer, answer("never-was"), commit=False)
        await write_answer(producer, answer("last"), commit=True)
    lines, all_lines = await asyncio.gather(
        asyncio.to_thread(console_consumer, console_class_path, kafka, "read_committed", start, 2),
        asyncio.to_thread(console_consumer, console_class_path, kafka, "read_uncommitted", start, 3),
    )
    assert ["first", "last"] == [key_of(line) for line in lines]
    assert ["first", "never-was", "last"] == [key_of(line) for line in all_lines]
    headers, key, value = lines[0].split("\t")
    assert f"ce_type:{m.CaptionPublished.ce_type}" in headers.split(",")
    shown = tuple(tuple(pair.split(":", 1)) for pair in headers.split(","))
    record = Record(
        CAPTIONS.name, 0, 0, key.encode(), value.encode(), tuple((n, v.encode()) for n, v in shown), NOON
    )
    assert first.value == codec.encode(codec.decode(record), StageName.SAFETY).value


async def end_of_partition(kafka: str) -> int:
    """Where the next answer of partition 0 will lie; other tests have written there, too."""
    log = KafkaLog(kafka)
    ends = await log.ends(CAPTIONS.name)
    await log.close()
    return ends[0]


def key_of(line: str) -> str:
    return line.split("\t")[1]


# ---------------------------------------------------------------- the AsyncAPI parser


def parsed(*documents: dict[str, Any]) -> list[dict[str, Any]]:
    """What the AsyncAPI initiative's own parser makes of each document."""
    script = str(ROOT / "tests" / "validate_asyncapi.mjs")
    done = subprocess.run(
        [NODE, script, str(npm_packages())],
        input=json.dumps(documents), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_asyncapi_parser_takes_our_document() -> None:
    """No error and no warning; the one remark is that a later version of AsyncAPI exists."""
    [made] = parsed(document())
    assert made["parsed"]
    assert [topic.name for topic in TOPICS] == made["channels"]
    assert ["asyncapi-latest-version"] == [found["code"] for found in made["found"]]


def planted() -> Iterator[dict[str, Any]]:
    """Our document with one fault each."""
    counts, actions, references, types = document(), document(), document(), document()
    counts["channels"]["captions"]["bindings"]["kafka"]["partitions"] = "eight"
    del actions["operations"]["ingest-receive-image-events"]["action"]
    references["components"]["messages"]["CaptionHeld"]["payload"]["$ref"] = "#/components/schemas/Gone"
    types["components"]["schemas"]["Event"]["properties"]["id"]["type"] = "strnig"
    yield from (counts, actions, references, types)


def test_the_parser_finds_planted_faults() -> None:
    """The control: the check can fail, for each of four faults of different kinds."""
    errors = [
        [found["path"] for found in made["found"] if found["severity"] == 0] for made in parsed(*planted())
    ]
    assert 4 == len(errors)
    assert [] == [number for number, paths in enumerate(errors) if not paths]


# ---------------------------------------------------------------- the README's scripts


@pytest.mark.timeout(300)
def test_the_scripts_of_the_readme_get_a_caption(stack: Stack, photographs: Path, tmp_path: Path) -> None:
    """Forty lines with nothing of ours: a picture goes in, and its caption is printed."""
    picture = tmp_path / "my-coffee.png"
    picture.write_bytes(next(photographs.rglob("coffee.png")).read_bytes())
    consumer = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "consume.py"), stack.kafka],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        subprocess.run(
            [sys.executable, str(ROOT / "examples" / "publish.py"), str(picture), stack.kafka],
            check=True,
            timeout=30,
        )
        assert consumer.stdout is not None
        line = next(line for line in consumer.stdout if line.startswith(f"{picture.name} "))
    finally:
        consumer.kill()
        consumer.wait()
    _, kind, text = line.split(maxsplit=2)
    assert "published" == kind
    assert len(text.split()) > 1
