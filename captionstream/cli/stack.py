"""`captionstream up | down | status | doctor`: the local stack."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from captionstream.cli.lineup import lineup_or_fail
from captionstream.cli.memory import resident_mb
from captionstream.cli.options import DIRECTORY, DirectoryOption, Exit, fail
from captionstream.cli.rates import Rates, rates_lines, read_rates
from captionstream.local.installed import MissingPart
from captionstream.local.process import Part
from captionstream.local.stack import local_stack
from captionstream.local.state import PartState, StackState, is_running, read_state, stop_running
from captionstream.local.supervisor import AlreadyRunning, Event, StartFailed, StopAsked, Supervisor, line
from captionstream.runtime.kafka_topics import create_topics
from services.encoder.fingerprint import recorded_fingerprint

REPLICABLE = ("ingest", "encoder", "generator", "safety")
DETACHED_START_S = 180.0


def stack_parts(directory: Path, replicas: Mapping[str, int] | None = None) -> list[Part]:
    """The whole local stack with real engines. Raises MissingPart."""
    objects = directory.absolute() / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    return local_stack(
        directory,
        replicas=replicas,
        after_kafka=make_topics,
        models=models_folder(directory),
        env={
            "CAPTIONSTREAM_INGEST_OBJECTS": str(objects),
            "CAPTIONSTREAM_GENERATOR_ENCODER_FINGERPRINTS": json.dumps([recorded_fingerprint().digest]),
        },
    )


def models_folder(directory: Path) -> Path:
    """The registry of split models: as `CAPTIONSTREAM_MODELS` says, else in the stack's own folder."""
    return Path(os.environ.get("CAPTIONSTREAM_MODELS") or directory / "models").absolute()


async def make_topics(bootstrap: str) -> None:
    await create_topics(bootstrap)


def tell(event: Event) -> None:
    typer.echo(line(event), err=True)


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return as soon as everything is ready.")
    ] = False,
    replicas: Annotated[
        list[str] | None, typer.Option("--replicas", help="STAGE=N: that many processes of a service.")
    ] = None,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """Start Kafka, Triton, the language model, the four services and the monitor; stay until Ctrl-C.

    Example: captionstream up --detach --replicas encoder=2
    """
    wanted = parse_replicas(replicas or [])
    lineup_or_fail()  # before anything is started
    if detach:
        start_detached(directory, replicas or [])
        return
    try:
        asyncio.run(run_until_stopped(directory, wanted))
    except AlreadyRunning as running:
        raise fail(str(running)) from None
    except StopAsked:
        raise typer.Exit(Exit.UNANSWERED) from None
    except (StartFailed, MissingPart) as failed:
        raise fail(f"\n{failed}", Exit.AWAY) from None


async def run_until_stopped(directory: Path, replicas: Mapping[str, int]) -> None:
    supervisor = Supervisor(directory, stack_parts(directory, replicas), tell)
    supervisor.ask_to_stop_on_signals()
    async with supervisor:
        typer.echo(ready_block(supervisor.state), err=True)
        await supervisor.until_asked_to_stop()


def parse_replicas(given: list[str]) -> dict[str, int]:
    wanted = {}
    for item in given:
        stage, _, number = item.partition("=")
        if stage not in REPLICABLE or not number.isdigit() or not 1 <= int(number) <= 8:
            raise fail(
                f"--replicas {item}: STAGE=N with STAGE one of {', '.join(REPLICABLE)} and N from 1 to 8"
            )
        wanted[stage] = int(number)
    return wanted


def start_detached(directory: Path, replicas: list[str]) -> None:
    """Start a supervisor of its own session, and wait until its state file says that all is ready."""
    if is_running(directory):
        raise fail(f"A stack already runs in {directory}. Run `captionstream down` first.")
    directory.mkdir(parents=True, exist_ok=True)
    log_path = directory / "up.log"
    command = [sys.executable, "-m", "captionstream", "up", "-C", str(directory)]
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [*command, *(part for item in replicas for part in ("--replicas", item))],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    shown = 0
    deadline = time.monotonic() + DETACHED_START_S
    while time.monotonic() < deadline:
        text = log_path.read_text()
        typer.echo(text[shown:], nl=False, err=True)
        shown = len(text)
        if "captionstream is ready" in text:
            return
        if process.poll() is not None:
            raise typer.Exit(Exit.AWAY)
        time.sleep(0.2)
    process.terminate()
    raise fail(f"the stack was not ready within {DETACHED_START_S:.0f} s; see {log_path}", Exit.AWAY)


def ready_block(state: StackState) -> str:
    """What a person needs next, in a few lines."""
    kafka, ingest = state.part("kafka"), state.part("ingest")
    return "\n".join(
        [
            "",
            "captionstream is ready",
            f"  Kafka      127.0.0.1:{kafka.port}   (captions: read committed)",
            f"  probes     http://127.0.0.1:{ingest.port}/readyz  /metrics",
            "",
            "  captionstream submit photo.jpg --wait",
            "  captionstream watch captions --from start",
            "  captionstream status",
            "",
            "  Ctrl-C or `captionstream down` stops everything.",
        ]
    )


def down(directory: DirectoryOption = DIRECTORY) -> None:
    """Stop the local stack.

    Example: captionstream down
    """
    try:
        stopped = stop_running(directory)
    except TimeoutError as late:
        raise fail(str(late), Exit.AWAY) from None
    typer.echo("stopped" if stopped else "nothing was running", err=True)


def status(
    output: Annotated[str, typer.Option("--output", "-o", help="text or json")] = "text",
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """Every process of the local stack, and how the answers of the last five minutes went.

    Example: captionstream status -o json
    """
    if output not in ("text", "json"):
        raise fail(f"-o {output}: it is text or json")
    state = read_state(directory)
    parts = state.parts if state is not None and is_running(directory) else ()
    rates = rates_of(parts)
    if output == "json":
        typer.echo(json.dumps([as_object(part, rates) for part in parts], indent=1))
    elif not parts:
        typer.echo("nothing is running; `captionstream up` starts a stack", err=True)
    else:
        Console().print(status_table(parts))
        for text in rates_lines(rates):
            typer.echo(text)
    if not all(part.state == "ready" for part in parts) or not parts:
        raise typer.Exit(Exit.AWAY)


def rates_of(parts: tuple[PartState, ...]) -> Rates | None:
    """What the monitor of this stack wrote lately; None when there is none, or Kafka does not answer."""
    ports = {part.role: part.port for part in parts if part.state == "ready"}
    return read_rates(f"127.0.0.1:{ports['kafka']}") if {"kafka", "monitor"} <= ports.keys() else None


def as_object(part: PartState, rates: Rates | None = None) -> dict[str, object]:
    """A part as JSON; that of the monitor says what it saw."""
    seen = dataclasses.asdict(rates) if part.role == "monitor" and rates is not None else {}
    return {**dataclasses.asdict(part), "memory_mb": resident_mb(part.pid) if part.pid else 0, **seen}


def status_table(parts: tuple[PartState, ...]) -> Table:
    columns = ("role", "slot", "pid", "port", "state", "since", "restarts", "memory_mb")
    table = Table(*columns, box=None, pad_edge=False)
    for part in parts:
        shown = as_object(part)
        table.add_row(*("-" if shown[name] is None else str(shown[name]) for name in columns))
    return table


def doctor() -> None:
    """Look whether everything that a local stack needs is here; each ✗ ends with its fix.

    Example: captionstream doctor
    """
    from captionstream.local.doctor import checks

    found = checks()
    for check in found:
        typer.echo(
            f"{'✓' if check.ok else '✗'} {check.name:<16} {check.detail}"
            + (f"  → {check.fix}" if check.fix else "")
        )
    if not all(check.ok for check in found):
        raise typer.Exit(Exit.AWAY)


def kafka_of(directory: Path, given: str | None) -> str:
    """The broker to talk to: as given, else the one of the local stack."""
    if given:
        return given
    state = read_state(directory)
    if state is None or not is_running(directory):
        raise fail(
            "no stack is running here; start one with `captionstream up`, or name a broker with --kafka",
            Exit.AWAY,
        )
    return f"127.0.0.1:{state.part('kafka').port}"


def exit_now(code: int) -> None:
    sys.stdout.flush()
    os._exit(code)
