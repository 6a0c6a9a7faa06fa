"""`captionstream submit`: image events to a running stack, and their answers."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from aiokafka.errors import KafkaError

from captionstream.cli.answers import as_json, as_text
from captionstream.cli.options import (
    DIRECTORY,
    ContextOption,
    DirectoryOption,
    Exit,
    KafkaOption,
    LanguageOption,
    Output,
    OutputOption,
    ProfileOption,
    PurposeOption,
    SourcesArgument,
    TimeoutOption,
    fail,
    request_fields,
)  # fmt: skip
from captionstream.cli.sources import BadSource, Sources, Submission
from captionstream.cli.stack import kafka_of
from captionstream.contracts.clean import one_line
from captionstream.contracts.identity import caption_id
from captionstream.contracts.values import Priority, Profile, Purpose
from captionstream.runtime.asking import ask
from captionstream.runtime.asking import submit as send
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.telemetry import logs
from captionstream.telemetry.exporting import exporting


def submit(
    sources: SourcesArgument,
    profile: ProfileOption = Profile.ALT,
    language: LanguageOption = "en",
    purpose: PurposeOption = Purpose.INFORMATIVE,
    context: ContextOption = None,
    stream_key: Annotated[
        str | None, typer.Option(help="Camera or sensor: its events stay in order.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds from acceptance; later answers are refusals.")
    ] = None,
    priority: Annotated[Priority, typer.Option(help="Carried to consumers.")] = Priority.NORMAL,
    wait: Annotated[
        bool, typer.Option("--wait", help="Print each answer: exactly one line an event.")
    ] = False,
    timeout: TimeoutOption = 120.0,
    output: OutputOption = Output.TEXT,
    kafka: KafkaOption = None,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """Publish image events on Kafka; with --wait print their answers.

    Example: captionstream submit photos/ --profile product --wait -o jsonl
    """
    logs.configure("submit", "CRITICAL")
    bootstrap = kafka_of(directory, kafka)
    request = request_fields(profile, language, purpose, context, stream_key, deadline, priority)
    try:
        submissions = list(Sources(directory / "objects", request).submissions(sources, sys.stdin))
    except BadSource as bad:
        raise fail(str(bad)) from None
    try:
        with exporting("publisher"):
            code = asyncio.run(publish(bootstrap, submissions, timeout if wait else None, output))
    except (KafkaError, LookupError, ValueError) as away:
        raise fail(f"Kafka at {bootstrap}: {away or type(away).__name__}", Exit.AWAY) from None
    raise typer.Exit(code)


async def publish(
    bootstrap: str, submissions: list[Submission], timeout: float | None, output: Output
) -> Exit:
    """Send all; wait for the answers if there is a `timeout`."""
    log = KafkaLog(bootstrap)
    events = [submission.event for submission in submissions]
    try:
        if timeout is not None:
            return await show_answers(log, submissions, timeout, output)
        await send(log, events)
        for submission in submissions:
            typer.echo(one_line(submission.event.id))
        typer.echo(f"{len(events)} published", err=True)
        return Exit.DONE
    finally:
        await log.close()


async def show_answers(log: KafkaLog, submissions: list[Submission], timeout: float, output: Output) -> Exit:
    """One line for every submission, also when two of them are one event."""
    named: dict[str, list[str]] = {}
    for submission in submissions:
        named.setdefault(caption_id(submission.event.event), []).append(submission.source)
    form = as_json if output is Output.JSONL else as_text
    try:
        async for answer in ask(log, [submission.event for submission in submissions], timeout):
            for source in named.pop(answer.caption_id):
                typer.echo(form(answer, source))
    except TimeoutError:
        missing = ", ".join(source for sources in named.values() for source in sources)
        typer.echo(one_line(f"captionstream: no answer within {timeout:g} s: {missing}"), err=True)
        return Exit.UNANSWERED
    return Exit.DONE
