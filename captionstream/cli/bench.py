"""`captionstream bench`: every goal of speed in one table, or the highest safe rate for one's own pictures."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from captionstream.cli.options import Exit, fail
from captionstream.local.installed import Installed, MissingPart
from captionstream.local.supervisor import StartFailed
from captionstream.telemetry import logs

if TYPE_CHECKING:
    from captionstream.bench.goals import Found
    from captionstream.bench.safe_rate import SafeRate, Step

BROKER = "Apache Kafka 4.4, one broker on this machine"


def bench(
    source: Annotated[
        Path | None, typer.Argument(help="A folder of your own pictures: finds their highest safe rate.")
    ] = None,
    slo: Annotated[str, typer.Option(help="How long 95 of 100 answers may take: 500ms, 2s.")] = "5s",
    quick: Annotated[
        bool, typer.Option("--quick", help="Less of everything, in under five minutes.")
    ] = False,
    goals: Annotated[str, typer.Option(help="Some goals only, such as G3,G12.")] = "",
    output: Annotated[str, typer.Option("--output", "-o", help="text or json")] = "text",
    seconds: Annotated[float, typer.Option(help="With pictures: how long each rate is tried.", min=2)] = 10.0,
) -> None:
    """Measure this platform on this machine, beside a naive script with the same weights.

    Example: captionstream bench --quick --goals G3,G12
    Example: captionstream bench ./frames --slo 500ms
    """
    if output not in ("text", "json"):
        raise fail(f"-o {output}: it is text or json")
    logs.configure("bench", "CRITICAL")
    end_on_signals()
    try:
        if source is None:
            measured(goals, quick, output)
        else:
            highest_rate(source, slo, seconds, output)
    except (StartFailed, MissingPart) as failed:
        raise fail(f"\n{failed}", Exit.AWAY) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.UNANSWERED) from None


def end_on_signals() -> None:
    """SIGTERM ends the stacks as Ctrl-C does, and both do so in a job of a shell, which ignores Ctrl-C at first."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def measured(names: str, quick: bool, output: str) -> None:
    """The table on standard output; where the JSON list and the plot lie on the other one. 1 when a must is missed."""
    from captionstream.bench import machine, report
    from captionstream.bench.goals import BY_NAME, Row, groups_of, rows_of
    from captionstream.bench.suite import FULL, QUICK, Suite

    try:
        wanted = groups_of(names)
    except ValueError as unknown:
        raise fail(str(unknown)) from None
    installed = Installed.here()
    folder = installed.home / "bench"
    where = {**machine.described(BROKER), "quick": quick}
    found: dict[str, Found] = {}

    def note(so_far: Mapping[str, Found]) -> None:
        for name in so_far.keys() - found.keys():
            say(report.line(Row(BY_NAME[name], so_far[name])).partition("\n")[0])
        found.update(so_far)
        report.write_list(rows_of(found, wanted, "not yet"), folder)

    with suppress(KeyboardInterrupt):
        Suite(installed, wanted, QUICK if quick else FULL, say, note).run()
    rows = rows_of(found, wanted, "the run was ended before")
    listed, plot = report.write(rows, where, folder)
    typer.echo(
        json.dumps(report.as_json(rows), indent=1) if output == "json" else report.as_text(rows, where)
    )
    say(f"JSON {listed}\nplot {plot}")
    if any(row.met in ("missed", "not measured") for row in rows):
        raise typer.Exit(Exit.UNANSWERED)


BEGUN = time.monotonic()


def say(text: str) -> None:
    """With the time since the command began: some parts take minutes."""
    typer.echo(f"· {time.monotonic() - BEGUN:4.0f} s  {text}", err=True)


# ---------------------------------------------------------------- one's own pictures


def highest_rate(source: Path, slo: str, seconds: float, output: str) -> None:
    from captionstream.bench.safe_rate import NoFrames, frames
    from captionstream.bench.workplace import workplace

    try:
        limit, files = milliseconds(slo), frames(source)
    except (ValueError, NoFrames) as wrong:
        raise fail(str(wrong)) from None
    with workplace() as work:
        found = asyncio.run(searched(work, files, limit, seconds))
    typer.echo(json.dumps(rate_as_object(found), indent=1) if output == "json" else rate_as_text(found))
    if found.rate is None:
        raise typer.Exit(Exit.UNANSWERED)


async def searched(work: Path, files: list[Path], slo_ms: float, seconds: float) -> SafeRate:
    """A stack of its own, with real engines; it ends with this."""
    from captionstream.bench import safe_rate
    from captionstream.bench.stacks import running

    objects = work / "objects"
    objects.mkdir()
    say(f"starting a stack for {len(files)} pictures")
    async with running(work, engines="real", env={"CAPTIONSTREAM_INGEST_OBJECTS": str(objects)}) as stack:
        arriving = safe_rate.events(files, objects)
        await safe_rate.attempt(stack, arriving, 1.0, 3.0, 30_000)
        return await safe_rate.highest(
            lambda rate: safe_rate.attempt(stack, arriving, rate, seconds, slo_ms),
            slo_ms,
            lambda step: say(step_line(step, slo_ms)),
        )


def milliseconds(text: str) -> float:
    """`500ms`, `2s`, or seconds. Raises ValueError."""
    number, unit = (text[:-2], 1.0) if text.endswith("ms") else (text.removesuffix("s"), 1000.0)
    try:
        value = float(number) * unit
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"--slo {text}: such as 500ms or 2s")
    return value


def step_line(step: Step, slo_ms: float) -> str:
    word = "safe" if step.safe(slo_ms) else "too much"
    return f"{step.rate:7.2f}/s  p95 {step.p95_ms:7.0f} ms  {step.answered} of {step.sent} answered  {word}"


def rate_as_object(found: SafeRate) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "safe_rate": found.rate, "slo_ms": found.slo_ms, "bottleneck": found.last.bottleneck,
        "steps": [asdict(step) for step in found.steps],
    }  # fmt: skip


def rate_as_text(found: SafeRate) -> str:
    last = found.last
    first = "no rate is safe" if found.rate is None else f"highest safe rate {found.rate:.2f} pictures/s"
    stages = [
        f"  {stage:<10} waited {last.waited.get(stage, 0):8.0f} ms   worked {worked:8.0f} ms"
        for stage, worked in last.worked.items()
    ]
    busy = "  ".join(f"{role} {cores:.2f}" for role, cores in last.busy.items() if cores >= 0.01)
    return "\n".join(
        [
            f"{first}   (95 of 100 answers within {found.slo_ms:.0f} ms)",
            f"bottleneck: {last.bottleneck}, at {last.rate:.2f}/s:",
            *stages,
            f"  cores busy: {busy}",
        ]
    )
