"""`captionstream caption`: the four stages in one process, no broker, no server."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from captionstream.cli.answers import as_json, in_full
from captionstream.cli.options import (
    DIRECTORY,
    ContextOption,
    DirectoryOption,
    Exit,
    LanguageOption,
    LineupOption,
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
from captionstream.cli.stack import models_folder
from captionstream.contracts.values import Profile, Purpose
from captionstream.local.installed import MissingPart
from captionstream.local.supervisor import StartFailed
from captionstream.runtime.asking import ask
from captionstream.runtime.errors import Misconfigured
from captionstream.telemetry import logs

Show = Callable[[str], None]


def caption(
    sources: SourcesArgument,
    writer: Annotated[str, typer.Option(help="plain (no model), or llm (a small language model).")] = "plain",
    lineup: LineupOption = None,
    profile: ProfileOption = Profile.ALT,
    language: LanguageOption = "en",
    purpose: PurposeOption = Purpose.INFORMATIVE,
    context: ContextOption = None,
    output: OutputOption = Output.TEXT,
    timeout: TimeoutOption = 300.0,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """Caption pictures here and now, in one process: no broker, no server.

    Example: captionstream caption photo.jpg -o jsonl
    """
    if writer not in ("plain", "llm"):
        raise fail(f"--writer {writer}: it is plain or llm")
    logs.configure("caption", "CRITICAL")
    with tempfile.TemporaryDirectory(prefix="captionstream-") as folder:
        made = Sources(Path(folder), request_fields(profile, language, purpose, context))
        try:
            submissions = list(made.submissions(sources, sys.stdin))
        except BadSource as bad:
            raise fail(str(bad)) from None
        try:
            asked = (submissions, Path(folder), writer, output, timeout)
            answering = embedded_answers(*asked, typer.echo, lineup, models_folder(directory))
            code = asyncio.run(answering)
        except Misconfigured as wrong:
            raise fail(str(wrong)) from None
        except (MissingPart, StartFailed) as missing:
            raise fail(str(missing), Exit.AWAY) from None
    sys.stdout.flush()
    os._exit(code)  # engines keep threads that would only delay the end


@asynccontextmanager
async def language_model(
    folder: Path, writer: str, lineup: Path | None = None
) -> AsyncIterator[dict[str, Any]]:
    """What the generator must be told: nothing, or where a language model answers, started here if none is named.

    A lineup needs one if it names `llm`. Raises BadLineup.
    """
    from captionstream.local.language_model import language_model_part
    from captionstream.local.ports import choose_port
    from captionstream.local.stack import USUAL_PORTS
    from captionstream.local.supervisor import Supervisor
    from services.generator.lineup import LanguageModel
    from services.generator.lineup_file import load

    engines = load(lineup).engines.values() if lineup else ()
    needed = any(isinstance(engine, LanguageModel) for engine in engines) if lineup else writer == "llm"
    if not needed or "CAPTIONSTREAM_LANGUAGE_MODEL" in os.environ:
        yield {}
        return
    part = language_model_part(folder, choose_port(USUAL_PORTS["language-model"]))
    async with Supervisor(folder, [part]):
        yield {"language_model": f"http://127.0.0.1:{part.port}/v1"}


async def embedded_answers(
    submissions: list[Submission],
    objects: Path,
    writer: str,
    output: Output,
    timeout: float,
    show: Show,
    lineup: Path | None,
    models: Path,
) -> Exit:
    """Every answer shown as it comes. UNANSWERED if one did not come in time."""
    from services.encoder.settings import EncoderSettings, Engine
    from services.generator.settings import GeneratorSettings, WriterKind
    from services.ingest.settings import IngestSettings
    from services.pipeline import embedded

    named = {submission.event.id: submission.source for submission in submissions}
    form = as_json if output is Output.JSONL else in_full
    ingest = IngestSettings(objects=str(objects))
    async with (
        language_model(objects, writer, lineup) as told,
        embedded(
            ingest=ingest,
            encoder=EncoderSettings(engine=Engine.ONNX, models=models),
            generator=GeneratorSettings(writer=WriterKind(writer), lineup=lineup, models=models, **told),
        ) as log,
    ):
        try:
            async for answer in ask(log, [submission.event for submission in submissions], timeout):
                show(form(answer, named[answer.event.id]))
        except TimeoutError:
            typer.echo(f"captionstream: some answers did not come within {timeout:g} s", err=True)
            return Exit.UNANSWERED
    return Exit.DONE
