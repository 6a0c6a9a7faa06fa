"""The steps, in the order in which they are done: what each is asked, and how it goes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.verify.evaluation import verify_evaluation
from tests.verify.hostile import verify_hostile
from tests.verify.pictures import verify_pictures
from tests.verify.records import Options, Record, Records, Result
from tests.verify.soak import verify_soak

Tell = Callable[[str], None]
Work = Callable[[Path, Options, Records], Coroutine[Any, Any, Result]]


@dataclass(frozen=True)
class Step:
    """`options` names what it may be asked, `about` says what it does and how long that takes on two cores."""

    name: str
    about: str
    options: tuple[str, ...]
    work: Work


async def pictures(folder: Path, options: Options, records: Records) -> Result:
    return await verify_pictures(folder, int(options["pictures"]), tell)


async def evaluation(folder: Path, options: Options, records: Records) -> Result:
    return await asyncio.to_thread(verify_evaluation, folder, int(options["labelled"]), tell)


async def hostile(folder: Path, options: Options, records: Records) -> Result:
    return await verify_hostile(folder, int(options["images"]), tell)


async def soak(folder: Path, options: Options, records: Records) -> Result:
    """At a share of what `pictures` reached; it begins again each time."""
    return await verify_soak(folder, options["minutes"], records.read("pictures"), tell)


STEPS = (
    Step(
        "pictures",
        "real pictures with codes through the whole stack; 10 minutes for 500",
        ("pictures",),
        pictures,
    ),
    Step(
        "evaluation", "both evaluation sets, as a user evaluates them; 8 minutes", ("labelled",), evaluation
    ),
    Step("hostile", "all hostile images through the whole stack; 25 minutes", ("images",), hostile),
    Step("soak", "a steady mixed load, everything measured; as long as --minutes", ("minutes",), soak),
)
NAMES = (*(step.name for step in STEPS), "report")


def do(step: Step, asked: Options, records: Records, again: bool) -> Record:
    """The step's record: as it was, when it is done already; else of what is done now."""
    options = {name: asked[name] for name in step.options}
    had = None if again else records.done(step.name, options)
    if had is not None:
        tell(f"✓ {step.name}: done {had.date} on {had.commit[:10]}; --again does it again")
        return had
    tell(f"▶ {step.name}: {step.about}")
    folder = records.folder(step.name, options, again)
    begun = time.monotonic()
    try:
        result = asyncio.run(step.work(folder, options, records))
    finally:
        took = add_time(folder, time.monotonic() - begun)
    tell(f"✓ {step.name}: {took / 60:.1f} minutes")
    return records.write(step.name, options, took, result)


def add_time(folder: Path, seconds: float) -> float:
    """The time that all sessions of the step took, this one too."""
    file = folder / "seconds"
    taken = seconds + (float(file.read_text()) if file.exists() else 0.0)
    file.write_text(str(taken))
    return taken


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
