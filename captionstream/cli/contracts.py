"""`captionstream contracts`: what outsiders need to publish and consume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captionstream.cli.options import Exit, fail
from captionstream.contracts.clean import one_line
from captionstream.contracts.description import advice, asyncapi, documents
from captionstream.contracts.description.schemas import MESSAGES, schema_of

contracts = typer.Typer(
    help="JSON Schema, AsyncAPI and a page for those who publish and consume.", no_args_is_help=True
)
BY_NAME = {message.__name__: message for message in MESSAGES}


@contracts.command("write")
def contracts_write(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False)] = Path("docs/contracts"),
) -> None:
    """Write the page, the AsyncAPI document and a schema of each message to a folder.

    Example: captionstream contracts write contracts
    """
    changed = documents.write(folder)
    typer.echo("\n".join(str(folder / name) for name in changed) or "all is as it was", err=not changed)


@contracts.command("show")
def contracts_show(message: Annotated[str, typer.Argument(metavar="MESSAGE")]) -> None:
    """Print the JSON Schema of a message.

    Example: captionstream contracts show CaptionPublished
    """
    if message not in BY_NAME:
        hint = advice.nearest(message, BY_NAME)
        raise fail(f"there is no message {message}{hint}; there are {', '.join(BY_NAME)}")
    typer.echo(documents.as_json(schema_of(BY_NAME[message])), nl=False)


@contracts.command("asyncapi")
def contracts_asyncapi() -> None:
    """Print the AsyncAPI 3.0.0 document: topics, messages, headers, examples.

    Example: captionstream contracts asyncapi
    """
    typer.echo(documents.as_json(asyncapi.document()), nl=False)


@contracts.command("check")
def contracts_check(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(metavar="FILE.jsonl", help="One image event a line; - for stdin."),
    ],
) -> None:
    """Say for each line whether it is an image event, and if not, why. 1 when any line is none.

    Example: echo '{"id": "a", "image": {"ulr": "x"}}' | captionstream contracts check -
    """
    name = getattr(file, "name", "-")
    read = broken = 0
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        read += 1
        wrong = advice.faults(line)
        broken += bool(wrong)
        for sentence in (*wrong, *advice.ignored(line)):
            typer.echo(one_line(f"{name}:{number}: {sentence}"))
    typer.echo(f"{read - broken} of {read} are image events", err=True)
    if broken:
        raise typer.Exit(Exit.UNANSWERED)
