"""`captionstream eval`: how good the captions are, on pictures that people have labelled."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from captionstream import __version__
from captionstream.cli.caption import language_model
from captionstream.cli.options import DIRECTORY, DirectoryOption, Exit, fail, request_fields
from captionstream.cli.stack import kafka_of
from captionstream.contracts.clean import one_line
from captionstream.contracts.values import Profile
from captionstream.evaluation.captioning import Captioning
from captionstream.evaluation.judgement import Examiner, Judgement, Outcome
from captionstream.evaluation.judging import Judge
from captionstream.evaluation.measures import differences, figures
from captionstream.evaluation.nouns import Nouns
from captionstream.evaluation.page import Illustrated, page
from captionstream.evaluation.pictures import Packages
from captionstream.evaluation.references import BUNDLED, Half, Reference, chosen
from captionstream.evaluation.run import BadRun, Run
from captionstream.evaluation.sentences import NoScorer, sentence_scores
from captionstream.evaluation.sets import BadSet, EvaluationSet, open_set
from captionstream.evaluation.tables import as_text, differences_as_text
from captionstream.local.installed import MissingPart
from captionstream.local.state import read_state
from captionstream.local.supervisor import StartFailed
from captionstream.runtime.asking import ask
from captionstream.runtime.errors import Misconfigured
from captionstream.runtime.message_log import MessageLog
from captionstream.telemetry import logs
from services.safety.lexicons import NoLexicon

SERVICES = ("ingest", "encoder", "generator", "safety", "triton", "language-model")


@dataclass
class Evaluated:
    """A set with what came of it."""

    of: EvaluationSet
    judgements: list[Judgement] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        left_out = self.missing or self.of.unknown
        return not left_out and all(j.outcome is not Outcome.UNANSWERED for j in self.judgements)


@dataclass(frozen=True)
class Means:
    """How pictures become judgements: the same for every set of a run."""

    captioning: Captioning
    examiner: Examiner
    cpu: Callable[[], Mapping[str, float]]
    progress: Progress


def evaluate(
    sets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SET]...", help=f"{', '.join(BUNDLED)}, or a file: JSON lines, COCO, Flickr30k."
        ),
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", help="text or json")] = "text",
    half: Annotated[Half, typer.Option(help="Tune thresholds on one half, report the other.")] = Half.ALL,
    limit: Annotated[int | None, typer.Option(help="A sample of that many pictures.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of the sample and of the bootstrap.")] = 0,
    language: Annotated[
        str, typer.Option("--language", "--lang", "-l", help="Language of the captions (BCP-47).")
    ] = "en",
    writer: Annotated[
        str, typer.Option(help="plain (no model), or llm; not with --through stack.")
    ] = "plain",
    through: Annotated[
        str, typer.Option(help="embedded (here, in one process) or stack (the running one).")
    ] = "embedded",
    pictures: Annotated[
        Path | None, typer.Option(help="Where a file's pictures are.", file_okay=False)
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Keep every judgement, for --against.", dir_okay=False)
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="A saved run: what changed, with 95 % intervals.", dir_okay=False)
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="One HTML page with the pictures that went wrong.", dir_okay=False)
    ] = None,
    in_flight: Annotated[int, typer.Option(help="Pictures under way at once.", min=1, max=64)] = 8,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for a picture's answer.", min=1)] = 300.0,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """Measure captions on labelled pictures: names, confidence, claims, alt-text rules, time.

    Named means right and specific: the word of a label, a kind of it, or at most two steps above it. With labels
    in English only; in other languages the text's rules and its language are measured. Without SET: all bundled sets.

    Example: captionstream eval tuxpaint --half held-out --limit 20
    """
    check_choice("--output", output, "text", "json")
    check_choice("--writer", writer, "plain", "llm")
    check_choice("--through", through, "embedded", "stack")
    request_fields(Profile.ALT, language)
    logs.configure("eval", "CRITICAL")
    console = Console(stderr=True)
    with away(), tempfile.TemporaryDirectory(prefix="captionstream-eval-") as folder:
        before = Run.read(against) if against else None
        packages = Packages.here(lambda line: console.print(line, style="dim"))
        opened = [open_set(name, packages, pictures) for name in dict.fromkeys(sets or BUNDLED)]
        nouns = Nouns.read(packages.wordnet())
        opened = [read_labels(each, nouns, console) for each in opened]
        working = through_stack(directory) if through == "stack" else embedded(Path(folder), writer)
        wanted = {each.name: chosen(each.references, half, limit, seed) for each in opened}
        done = asyncio.run(
            run_all(opened, wanted, Judge(nouns), working, console, language, in_flight, timeout)
        )
        told = {each.of.name: all_figures(each, half, console) for each in done}
        run = Run(made_by=f"captionstream {__version__}, writer {writer}, {through}", half=half,
                  sets={each.of.name: tuple(each.judgements) for each in done})  # fmt: skip
        if save:
            run.save(save)
        if report:
            report.write_text(page(run, told, illustrated(done)), "utf-8")
            console.print(f"report: {report}", style="dim")
    typer.echo(shown(done, told, before, output, seed))
    code = Exit.DONE if all(each.complete for each in done) else Exit.UNANSWERED
    sys.stdout.flush()
    os._exit(code)  # engines keep threads that would only delay the end


def check_choice(option: str, given: str, *choices: str) -> None:
    if given not in choices:
        raise fail(f"{option} {given}: it is {' or '.join(choices)}")


@contextmanager
def away() -> Iterator[None]:
    """What a person can mend becomes a sentence and an exit code."""
    try:
        yield
    except (BadSet, BadRun, Misconfigured) as bad:
        raise fail(str(bad)) from None
    except (MissingPart, StartFailed) as missing:
        raise fail(str(missing), Exit.AWAY) from None
    except NoLexicon as unserved:
        raise fail(f"--language: {unserved}") from None
    except KeyboardInterrupt:
        typer.echo("\ncaptionstream: interrupted; nothing was written", err=True)
        sys.stderr.flush()
        os._exit(130)
    except OSError as unwritable:
        raise fail(f"{unwritable.filename}: {unwritable.strerror}") from None


def read_labels(opened: EvaluationSet, nouns: Nouns, console: Console) -> EvaluationSet:
    """Without labels that WordNet lacks: each is told, before any picture is captioned, and counted."""
    known = opened.with_known_labels(nouns.has)
    for unknown in known.unknown:
        line = f"label left out: {one_line(unknown)}: WordNet 3.0 has no such noun sense"
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    return known


# ---------------------------------------------------------------- the pipeline, here or in the stack


@dataclass(frozen=True)
class Pipeline:
    """A log that services work on, where their originals lie, and what each process has cost."""

    log: MessageLog
    objects: Path
    cpu: Callable[[], Mapping[str, float]]


@asynccontextmanager
async def embedded(folder: Path, writer: str) -> AsyncIterator[Pipeline]:
    from services.generator.settings import GeneratorSettings, WriterKind
    from services.ingest.settings import IngestSettings
    from services.pipeline import embedded as in_process

    own = psutil.Process()
    async with (
        language_model(folder, writer) as told,
        in_process(
            ingest=IngestSettings(objects=str(folder)),
            generator=GeneratorSettings(writer=WriterKind(writer), **told),
        ) as log,
    ):
        yield Pipeline(log, folder, lambda: {"process": family_cpu_s(own)})


@asynccontextmanager
async def through_stack(directory: Path) -> AsyncIterator[Pipeline]:
    from captionstream.runtime.kafka_log import KafkaLog

    log = KafkaLog(kafka_of(directory, None))
    try:
        yield Pipeline(log, directory / "objects", lambda: stack_cpu_s(directory))
    finally:
        await log.close()


def family_cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process and its children, those included that have ended."""
    try:
        own = process.cpu_times()
        living = (child.cpu_times() for child in process.children(recursive=True))
        total = own.user + own.system + own.children_user + own.children_system
        return float(total + sum(times.user + times.system for times in living))
    except psutil.Error:
        return 0.0


def stack_cpu_s(directory: Path) -> dict[str, float]:
    """CPU seconds so far of each part, its replicas together."""
    state, found = read_state(directory), dict[str, float]()
    for part in state.parts if state else ():
        if part.pid and part.role in SERVICES and psutil.pid_exists(part.pid):
            found[part.role] = found.get(part.role, 0.0) + family_cpu_s(psutil.Process(part.pid))
    return found


# ---------------------------------------------------------------- the work


async def run_all(
    opened: Sequence[EvaluationSet],
    wanted: Mapping[str, Sequence[Reference]],
    judge: Judge,
    working: Any,
    console: Console,
    language: str,
    in_flight: int,
    timeout: float,
) -> list[Evaluated]:
    """One set after the other, on one pipeline."""
    examiner = await asyncio.to_thread(Examiner.of, judge, language)
    async with working as pipeline:
        captioning = Captioning(
            lambda events, seconds: ask(pipeline.log, events, seconds),
            pipeline.objects,
            language,
            in_flight,
            timeout,
        )
        with bar(console) as progress:
            means = Means(captioning, examiner, pipeline.cpu, progress)
            return [await run_set(each, wanted[each.name], means) for each in opened]


def bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


async def run_set(opened: EvaluationSet, references: Sequence[Reference], means: Means) -> Evaluated:
    done, task = Evaluated(opened), means.progress.add_task(opened.name, total=len(references))
    means.progress.console.print(f"{opened.name}: {len(references)} pictures", style="dim", highlight=False)
    begun, cpu = time.monotonic(), means.cpu()

    def lost(what: str) -> None:
        done.missing.append(what)
        means.progress.console.print(f"missing picture: {one_line(what)}", style="yellow", markup=False)
        means.progress.advance(task)

    async for asked in means.captioning.answers(references, opened.pictures, lost):
        done.judgements.append(await asyncio.to_thread(means.examiner.examine, asked))
        means.progress.advance(task)
    done.seconds = time.monotonic() - begun
    done.cpu_s = {name: round(used - cpu.get(name, 0.0), 2) for name, used in means.cpu().items()}
    return done


# ---------------------------------------------------------------- what is told


def all_figures(done: Evaluated, half: Half, console: Console) -> dict[str, Any]:
    """The figures of a set as JSON has them."""
    told: dict[str, Any] = {
        **figures(done.judgements), "missing": len(done.missing), "labels_left_out": len(done.of.unknown),
        "half": half.value, "seconds": round(done.seconds, 1), "cpu_s": done.cpu_s,
    }  # fmt: skip
    if any(j.captions for j in done.judgements):
        try:
            told["sentences"] = sentence_scores(done.judgements)
        except NoScorer as none:
            console.print(str(none), style="yellow")
            told["sentences"] = none.scores
    return told


def illustrated(done: Sequence[Evaluated]) -> list[Illustrated]:
    """Every judgement, with the means to read its picture."""
    return [
        Illustrated(each.of.name, judgement, partial(each.of.pictures.read, judgement.file))
        for each in done
        for judgement in each.judgements
    ]


def shown(
    done: Sequence[Evaluated], told: Mapping[str, Any], before: Run | None, output: str, seed: int
) -> str:
    changes = {
        each.of.name: differences(before.sets.get(each.of.name, ()), each.judgements, seed)
        for each in done
        if before
    }
    if output == "json":
        against = {name: {"against": [vars(d) | {"difference": d.difference} for d in found]}
                   for name, found in changes.items()}  # fmt: skip
        return json.dumps(
            {name: {**all_of, **against.get(name, {})} for name, all_of in told.items()}, indent=1
        )
    parts = [as_text(told, {each.of.name: each.judgements for each in done})]
    parts += [differences_as_text(name, found) for name, found in changes.items()]
    return "\n\n".join(parts)
