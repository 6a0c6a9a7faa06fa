"""Options that several commands share, and the exit codes of all of them."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from captionstream.contracts.messages import Event
from captionstream.contracts.values import PageContext, Priority, Profile, Purpose


class Exit(IntEnum):
    """0 done · 1 some events were not answered as wanted · 2 wrong use · 3 a part of the stack is missing or away."""

    DONE = 0
    UNANSWERED = 1
    USAGE = 2
    AWAY = 3


class Output(StrEnum):
    TEXT = "text"
    JSONL = "jsonl"


SourcesArgument = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="Files, folders, URLs, object keys, or - for JSON lines."),
]
ProfileOption = Annotated[Profile, typer.Option("--profile", "-p", help="For whom the caption is written.")]
LanguageOption = Annotated[str, typer.Option("--lang", "-l", help="Language of the caption (BCP-47).")]
PurposeOption = Annotated[Purpose, typer.Option("--purpose", help="What the image does on its page.")]
ContextOption = Annotated[
    Path | None,
    typer.Option(
        "--context", help="JSON or YAML file: title, nearby_text, visible_caption, target.", dir_okay=False
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Lines for people or for programs.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds to wait for all answers.", min=0.1)]
KafkaOption = Annotated[
    str | None,
    typer.Option(
        "--kafka", help="host:port; by default the stack that `up` started.", envvar="CAPTIONSTREAM_KAFKA"
    ),
]
LineupOption = Annotated[
    Path | None,
    typer.Option(
        "--lineup", help="File of engines and routes (see `captionstream lineup`).",
        envvar="CAPTIONSTREAM_GENERATOR_LINEUP", dir_okay=False,
    ),
]  # fmt: skip
DirectoryOption = Annotated[
    Path,
    typer.Option(
        "--directory",
        "-C",
        help="Where the local stack keeps its files, split models too.",
        envvar="CAPTIONSTREAM_DIRECTORY",
    ),
]
DIRECTORY = Path(".captionstream")


def fail(message: str, code: Exit = Exit.USAGE) -> typer.Exit:
    """Say what is wrong on stderr; raise what this returns."""
    typer.secho(f"captionstream: {message}", err=True, fg=typer.colors.RED)
    return typer.Exit(code)


def request_fields(
    profile: Profile,
    language: str,
    purpose: Purpose = Purpose.INFORMATIVE,
    context: Path | None = None,
    stream_key: str | None = None,
    deadline: float | None = None,
    priority: Priority = Priority.NORMAL,
) -> dict[str, Any]:
    """What is asked for every event of one command, checked before anything is sent."""
    given = {
        "profile": profile, "language": language, "purpose": purpose, "context": read_context(context),
        "stream_key": stream_key, "deadline_s": deadline, "priority": priority,
    }  # fmt: skip
    try:
        Event.model_validate({"id": "check", **given})
    except ValidationError as bad:
        first = bad.errors(include_url=False)[0]
        raise fail(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return given


def read_context(path: Path | None) -> PageContext:
    if path is None:
        return PageContext()
    try:
        return PageContext.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, ValueError, yaml.YAMLError) as bad:
        raise fail(f"--context {path}: {str(bad).splitlines()[0]}") from None
