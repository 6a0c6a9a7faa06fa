"""`pictures`: real pictures with codes in their pixels through the whole stack. A fifth goes one by one, for the
time that one takes; then the rest with a full queue, for what the machine bears."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captionstream.contracts import messages as m
from captionstream.contracts.values import ImageReference
from captionstream.evaluation.pictures import Packages
from tests.faults.harness import Report, Seen, check
from tests.stack.coded_pictures import code
from tests.verify.conversation import (
    SECOND_ANSWER_S,
    Answered,
    Conversation,
    Progress,
    ask_all,
    conversation,
    held_texts,
)
from tests.verify.measuring import Sampler, largest, read_samples, replaced
from tests.verify.photographs import numbered, originals
from tests.verify.running import running

CAMERAS = 10
FULL = 48  # open at once: more than all stages work on together, so that none of them waits for us
ALONE = 5  # one in so many goes alone
EVERY_S = 2.0  # between two samples
STAGES = ("ingest", "encoder", "generator", "safety")


@dataclass(frozen=True)
class Burst:
    """What the machine did with a full queue in one session: a resumed step has several."""

    seconds: float
    answers: int
    cpu_s: dict[str, float]


async def verify_pictures(folder: Path, count: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Goes on with what the stack's own topics hold; bursts and samples of all sessions lie in `folder`."""
    tell("drawing codes into pictures")
    pictures = list(originals(Packages.here(tell)))
    events = [event_of(number, data) for number, data in numbered(pictures, count)]
    alone, rest = events[: count // ALONE], events[count // ALONE :]
    with running(folder / "stack") as stack, Sampler(stack, folder / "samples.jsonl", EVERY_S) as sampler:
        async with conversation(stack) as talk:
            await ask_all(talk, alone, 1, Progress("one by one", len(alone)))
            with burst(folder / "bursts.jsonl", sampler, talk):
                await ask_all(talk, rest, FULL, Progress("full queue", len(rest)))
            await asyncio.sleep(SECOND_ANSWER_S)
            held = await held_texts(talk.log)
    return found(events, len(alone), talk.answers, held, folder)


def event_of(number: int, data: bytes) -> m.ImageSubmitted:
    return m.ImageSubmitted(
        id=f"picture-{code(number)}",
        image=ImageReference(inline=data),
        stream_key=f"camera-{number % CAMERAS}",
        sequence=number // CAMERAS,
    )


@contextmanager
def burst(file: Path, sampler: Sampler, talk: Conversation) -> Iterator[None]:
    """Notes what happens in the block, also when it is broken off."""
    before, begun, had = sampler.take(), time.monotonic(), len(talk.answers)
    try:
        yield
    finally:
        after = sampler.take()
        cpu = {
            role: after.parts[role].cpu_s - part.cpu_s
            for role, part in before.parts.items()
            if role in after.parts
        }
        done = Burst(time.monotonic() - begun, len(talk.answers) - had, cpu)
        with file.open("a") as lines:
            lines.write(json.dumps(asdict(done)) + "\n")


def found(
    events: Sequence[m.ImageSubmitted],
    alone: int,
    answers: Sequence[Answered],
    held: dict[str, str],
    folder: Path,
) -> dict[str, Any]:
    samples = read_samples(folder / "samples.jsonl")
    bursts = [Burst(**json.loads(line)) for line in (folder / "bursts.jsonl").read_text().splitlines()]
    seconds, done = sum(one.seconds for one in bursts), sum(one.answers for one in bursts)
    singly = {event.id for event in events[:alone]}
    lone = [answer for answer in answers if answer.event_id in singly]
    return {
        "pictures": len(events),
        "outcomes": dict(Counter(answer.outcome for answer in answers)),
        "wrong": asdict(checked(events, answers, held)),
        "alone": {
            "pictures": len(lone),
            "seconds": percentiles([answer.seconds for answer in lone]),
            "work_ms": {stage: percentiles([one.work_ms.get(stage, 0.0) for one in lone]) for stage in STAGES},
        },
        "full": {
            "pictures": done,
            "seconds": round(seconds, 1),
            "per_second": round(done / seconds, 3) if seconds else 0.0,
            "cpu_s_per_picture": {
                role: round(sum(one.cpu_s.get(role, 0.0) for one in bursts) / max(done, 1), 3)
                for role in bursts[0].cpu_s
            },
        },
        "memory": {role: asdict(most) for role, most in largest(samples).items()},
        "restarts": sum(replaced(samples).values()),
        "replaced": replaced(samples),
    }  # fmt: skip


def checked(events: Sequence[m.ImageSubmitted], answers: Sequence[Answered], held: dict[str, str]) -> Report:
    """A held caption's code is looked for in what its reviewer reads."""
    return check(
        events,
        [
            Seen(one.event_id, one.text or held.get(one.event_id, ""), one.stream_key, one.sequence)
            for one in answers
        ],
    )


def percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(values, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "worst": round(max(values), 3)}
