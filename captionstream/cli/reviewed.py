"""`captionstream reviewed`: what people said of pictures, made into a memory for similar ones."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from captionstream.cli.options import Exit, fail
from captionstream.contracts.clean import one_line
from captionstream.runtime.errors import Unavailable
from captionstream.telemetry import logs

reviewed = typer.Typer(
    help="A memory of reviewed pictures: the next similar one gets the name that a person gave.",
    no_args_is_help=True,
)


@reviewed.command("build")
def reviewed_build(
    reviews: Annotated[
        Path,
        typer.Argument(metavar="REVIEWED.jsonl", help='{"picture": FILE, "subject": NOUN} a line.',
                       exists=True, dir_okay=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The memory.", dir_okay=False)],
) -> None:  # fmt: skip
    """Encode reviewed pictures into a memory for CAPTIONSTREAM_GENERATOR_REVIEWED.

    Subjects are common nouns: a word of the vocabulary, or lower-case words. A picture that shows a person is taken
    for words like person only. Optional: plural, synset (n02123045), kind (animal, plant, food, artifact, place).

    Example: captionstream reviewed build reviewed.jsonl --out memory.safetensors
    """
    logs.configure("reviewed", "CRITICAL")
    console = Console(stderr=True)
    try:
        code = asyncio.run(build(reviews, out, console))
    except KeyboardInterrupt:
        raise fail("interrupted; nothing was written", Exit.UNANSWERED) from None
    except OSError as unreadable:
        raise fail(f"{unreadable.filename}: {unreadable.strerror}") from None
    except Unavailable as missing:
        raise fail(str(missing), Exit.AWAY) from None
    os._exit(code)  # engines keep threads that would only delay the end


@reviewed.command("show")
def reviewed_show(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
) -> None:
    """List what a memory holds: how many pictures of what.

    Example: captionstream reviewed show memory.safetensors
    """
    from services.encoder.fingerprint import recorded_fingerprint
    from services.generator.reviewed import BadMemory, ReviewedMemory
    from services.generator.vocabulary import Vocabulary

    try:
        memory = ReviewedMemory.load(file, Vocabulary.load())
    except BadMemory as bad:
        raise fail(str(bad)) from None
    for shows, count in sorted(Counter(memory.rows).items(), key=lambda item: (-item[1], item[0].noun)):
        typer.echo("\t".join([str(count), shows.noun, shows.kind, shows.synset or "-", shows.plural or "-"]))
    fits = memory.encoder == recorded_fingerprint().digest
    whose = "the encoder of this copy" if fits else "ANOTHER ENCODER than that of this copy: build it again"
    typer.echo(f"{len(memory.rows)} pictures, digest {memory.digest[:12]}, {whose}", err=True)


async def build(reviews: Path, out: Path, console: Console) -> Exit:
    """One picture after the other; a line that cannot be taken is named, and the next one goes on."""
    from captionstream.cli.remembering import BadLine, Building, open_eyes
    from services.generator.vocabulary import Vocabulary

    lines = [
        (number, line) for number, line in enumerate(reviews.read_bytes().splitlines(), 1) if line.strip()
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with open_eyes() as eyes:
        building = Building(reviews.parent, eyes, Vocabulary.load())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            for number, line in progress.track(lines, description="pictures"):
                try:
                    await building.add(number, line)
                except BadLine as bad:
                    typer.secho(one_line(f"line {number}: {bad}"), err=True, fg=typer.colors.YELLOW)
    taken = len(building.rows)
    if taken:
        written(out, building.as_file())
    where = f"in {out}" if taken else "and nothing was written"
    typer.echo(f"{taken} of {len(lines)} pictures are remembered, {where}", err=True)
    return Exit.DONE if taken == len(lines) and taken else Exit.UNANSWERED


def written(out: Path, data: bytes) -> None:
    """All of it or nothing: a generator may start meanwhile."""
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(out)
