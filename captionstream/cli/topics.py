"""`captionstream watch | topics | dead-letters`: looking at the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from captionstream.cli.answers import as_text
from captionstream.cli.options import (
    DIRECTORY,
    DirectoryOption,
    Exit,
    KafkaOption,
    Output,
    OutputOption,
    fail,
)
from captionstream.cli.stack import kafka_of
from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.clean import one_line
from captionstream.contracts.record import Record
from captionstream.contracts.topics import BY_NAME, DEAD_LETTERS, TOPICS
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics, describe_topics
from captionstream.runtime.message_log import Start
from captionstream.telemetry import logs

topics = typer.Typer(help="The topics: the table, and what the cluster has of it.", no_args_is_help=True)
dead_letters = typer.Typer(help="What broke, with its bytes.", no_args_is_help=True)


def watch(
    topic: Annotated[str, typer.Argument(help="A topic of the table.")] = "captions",
    start: Annotated[
        str, typer.Option("--from", help="start, end, -N (the last N of each partition) or @TIME.")
    ] = "end",
    follow: Annotated[
        bool, typer.Option(help="Go on as records come; --no-follow ends at the present end.")
    ] = True,
    output: OutputOption = Output.TEXT,
    kafka: KafkaOption = None,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """Print the messages of a topic, committed ones only; Ctrl-C ends it.

    Example: captionstream watch captions --from -10 -o jsonl
    """
    if topic not in BY_NAME:
        raise fail(f"there is no topic {topic}; there are {', '.join(BY_NAME)}")
    form = record_json if output is Output.JSONL else record_text
    show(kafka_of(directory, kafka), topic, parse_start(start), follow, form)


def show(bootstrap: str, topic: str, start: Start, follow: bool, form: Any) -> None:
    logs.configure("watch", "CRITICAL")

    async def run() -> None:
        async for record in records(bootstrap, topic, start, follow):
            typer.echo(form(record))

    run_against(bootstrap, run())


def run_against(bootstrap: str, work: Any) -> None:
    """Run; Ctrl-C ends quietly, a broker that is away is said in one line."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(Exit.DONE) from None
    except (KafkaError, LookupError, TimeoutError, ValueError) as away:
        raise fail(f"Kafka at {bootstrap}: {away or type(away).__name__}", Exit.AWAY) from None


async def records(bootstrap: str, topic: str, start: Start, follow: bool) -> AsyncIterator[Record]:
    log = KafkaLog(bootstrap)
    try:
        async for record in log.read(topic, start, follow=follow):
            yield record
    finally:
        await log.close()


def parse_start(text: str) -> Start:
    """rpk's grammar of offsets."""
    if text in ("start", "end"):
        return "start" if text == "start" else "end"
    if text.startswith("-") and text[1:].isdigit():
        return int(text[1:])
    if text.startswith("@"):
        try:
            at = (
                datetime.fromtimestamp(int(text[1:]) / 1000, UTC)
                if text[1:].isdigit()
                else datetime.fromisoformat(text[1:])
            )
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError, OSError):
            pass
    raise fail(f"--from {text}: it is start, end, -N, or @TIME (ISO 8601 or milliseconds)")


def record_json(record: Record) -> str:
    try:
        message = codec.decode(record)
    except codec.Malformed as malformed:
        return json.dumps({"topic": record.topic, "offset": record.offset, "malformed": str(malformed)})
    place = {
        "topic": record.topic, "partition": record.partition, "offset": record.offset,
        "appended_at": record.appended_at.isoformat(), "type": message.ce_type,
    }  # fmt: skip
    return json.dumps(
        {**place, "message": message.model_dump(mode="json", exclude_none=True)}, ensure_ascii=False
    )


def record_text(record: Record) -> str:
    place = f"{record.appended_at:%H:%M:%S} {record.partition}:{record.offset}"
    try:
        message = codec.decode(record)
    except codec.Malformed as malformed:
        return f"{place} malformed: {malformed}"
    return one_line(f"{place} {describe(message)}")


def describe(message: m.Message) -> str:
    match message:
        case m.Answer():
            return as_text(message, message.event.id)
        case m.CaptionDelta():
            return f"{message.event.id}: {message.status} {message.text}"
        case m.DraftDelta():
            return f"{message.event.id}: draft {message.text}"
        case m.DeadLetter():
            return f"{message.event.id}: {message.stage} {message.reason} {message.detail}"
        case m.CaptionMarker():
            return "answered"
        case m.Anomaly():
            measured = f"{message.value:g} (from {message.threshold:g} on)"
            return f"{type(message).__name__} {message.kind} of {message.profile}: {measured}"
        case m.CaptionRates():
            return f"{message.minute:%H:%M} {message.profile}: {message.answers} answers"
        case _:
            event = getattr(message, "event", None)
            return f"{getattr(event, 'id', '?')}: {type(message).__name__}"


@topics.command("create")
def topics_create(kafka: KafkaOption = None, directory: DirectoryOption = DIRECTORY) -> None:
    """Create the topics that the cluster lacks, from the table.

    Example: captionstream topics create --kafka broker:9092
    """
    bootstrap = kafka_of(directory, kafka)

    async def run() -> None:
        made = await create_topics(bootstrap)
        typer.echo("\n".join(made) or "all topics are there", err=not made)

    run_against(bootstrap, run())


@topics.command("describe")
def topics_describe(kafka: KafkaOption = None, directory: DirectoryOption = DIRECTORY) -> None:
    """The table of topics: who writes, who reads, the key, the retention, and why.

    Example: captionstream topics describe
    """
    bootstrap = kafka_of(directory, kafka)

    async def run() -> None:
        found = {state.name: state.partitions for state in await describe_topics(bootstrap)}
        table = Table(
            "topic", "partitions", "writers", "readers", "key", "kept", "why", box=None, pad_edge=False
        )
        for topic in TOPICS:
            kept = f"{topic.retention_ms / 86_400_000:g} d" + (", compacted" if topic.compacted else "")
            table.add_row(
                topic.name, str(found[topic.name] or "absent"), " ".join(topic.writers), " ".join(topic.readers),
                topic.key, kept, topic.why,
            )  # fmt: skip
        Console(width=180).print(table)

    run_against(bootstrap, run())


@dead_letters.command("list")
def dead_letters_list(
    output: OutputOption = Output.TEXT, kafka: KafkaOption = None, directory: DirectoryOption = DIRECTORY
) -> None:
    """All dead letters: which event, which stage, why.

    Example: captionstream dead-letters list -o jsonl
    """
    form = record_json if output is Output.JSONL else record_text
    show(kafka_of(directory, kafka), DEAD_LETTERS.name, "start", False, form)


@dead_letters.command("show")
def dead_letters_show(
    event_id: Annotated[str, typer.Argument(help="Id of the event.")],
    kafka: KafkaOption = None,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """One event's dead letters in full, with the original bytes (base64) and the traceback.

    Example: captionstream dead-letters show 3f2a
    """
    bootstrap = kafka_of(directory, kafka)
    logs.configure("dead-letters", "CRITICAL")
    found: list[m.DeadLetter] = []

    async def run() -> None:
        async for record in records(bootstrap, DEAD_LETTERS.name, "start", False):
            letter = codec.decode(record)
            if isinstance(letter, m.DeadLetter) and letter.event.id == event_id:
                found.append(letter)
                typer.echo(
                    json.dumps(
                        letter.model_dump(mode="json", exclude_none=True), indent=1, ensure_ascii=False
                    )
                )

    run_against(bootstrap, run())
    if not found:
        raise fail(f"there is no dead letter of event {event_id}", Exit.UNANSWERED)
