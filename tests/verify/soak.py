"""`soak`: a steady mixed load for a long time, everything measured. It begins again each time: a plot of two
halves with other processes in each would prove nothing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from captionstream.evaluation.pictures import Packages
from captionstream.local.installed import Installed
from tests.faults.harness import Report, Seen, check
from tests.verify.conversation import (
    SECOND_ANSWER_S,
    Answered,
    Conversation,
    Progress,
    conversation,
    held_texts,
)
from tests.verify.flatness import WARM_UP, Trend, trend
from tests.verify.measuring import PartFigures, Sample, Sampler, largest, replaced
from tests.verify.mix import Asked, Kind, Mix, page_of_text, unexpected
from tests.verify.photographs import originals
from tests.verify.pictures import percentiles
from tests.verify.records import Record
from tests.verify.running import running

SHARE = 0.65  # of what the machine bore with a full queue
USUAL_RATE = 0.6  # events a second, where that was not measured
EVERY_S = 5.0  # between two samples
POINTS = 240  # of a curve that is kept
FULL_FROM_THE_START = {
    "CAPTIONSTREAM_ENCODER_CACHE_BYTES": str(1024 * 1024),
    "_JAVA_OPTIONS": "-Xms384m -Xmx384m -XX:+AlwaysPreTouch",
}
"""What may grow to a limit is at its limit before the warm-up is over, else it looks like a leak: the encoder's
cache (32 MiB as a rule) and the broker's heap (384 MB at most, 64 at its start)."""


@dataclass(frozen=True)
class Run:
    """What was asked and answered, and every sample."""

    asked: Sequence[Asked]
    answers: Sequence[Answered]
    held: dict[str, str]
    samples: Sequence[Sample]


async def verify_soak(
    folder: Path, minutes: float, pictures: Record | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    rate = SHARE * pictures.result["full"]["per_second"] if pictures else USUAL_RATE
    tell(f"{rate:.2f} events a second for {minutes:g} minutes")
    photographs = list(originals(Packages.here(tell)))
    mix = Mix(photographs, page_of_text(Installed.here().photographs))
    samples = folder / "samples.jsonl"
    samples.unlink(missing_ok=True)
    clear(folder / "stack")
    with running(folder / "stack", FULL_FROM_THE_START) as stack:
        async with conversation(stack) as talk:
            with Sampler(stack, samples, EVERY_S, lambda: state_of(talk)) as sampler:
                asked = await steadily(talk, mix, rate, minutes * 60)
            await talk.all_of([one.event.id for one in asked])
            await asyncio.sleep(SECOND_ANSWER_S)
            run = Run(asked, talk.answers, await held_texts(talk.log), sampler.samples)
    return {"minutes": minutes, "rate": round(rate, 3), **found(run)}


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


async def steadily(talk: Conversation, mix: Mix, rate: float, seconds: float) -> list[Asked]:
    """Publish at `rate`, whether or not the answers keep up; that they do is a bound of the step."""
    begun = time.monotonic()
    told = Progress("soak", round(rate * seconds))
    asked: list[Asked] = []
    for one in mix:
        await talk.say(one.event)
        asked.append(one)
        told(len(asked), f"({talk.open} open)")
        await asyncio.sleep(max(0.0, begun + len(asked) / rate - time.monotonic()))
        if time.monotonic() - begun > seconds:
            return asked
    return asked


def state_of(talk: Conversation) -> dict[str, float]:
    recent = [answer.seconds for answer in talk.answers[-20:]]
    return {
        "answered": len(talk.answers),
        "open": talk.open,
        "seconds": round(sum(recent) / len(recent), 2) if recent else 0.0,
    }


def found(run: Run) -> dict[str, Any]:
    by_id = {answer.event_id: answer for answer in run.answers}
    counts = Counter(one.kind for one in run.asked)
    return {
        "events": len(run.asked),
        "mix": {kind.value: counts[kind] for kind in Kind},
        "outcomes": dict(Counter(answer.outcome for answer in run.answers)),
        "wrong": asdict(checked(run)),
        "unexpected": [
            wrong
            for one in run.asked
            if one.event.id in by_id and (wrong := unexpected(one, by_id[one.event.id]))
        ],
        "seconds": percentiles([answer.seconds for answer in run.answers]),
        "open_at_most": max((open_of(one) for one in run.samples), default=0),
        "restarts": sum(replaced(run.samples).values()),
        "replaced": replaced(run.samples),
        "always_ready": all(one.ready for one in run.samples),
        "trends": {name: asdict(found) for name, found in trends(run.samples).items()},
        "grown": grown(run.samples),
        "memory": {role: asdict(most) for role, most in largest(run.samples).items()},
        "curves": curves(run.samples),
        "sampled_minutes": round(run.samples[-1].second / 60, 1),
        "warm_up_share": round(WARM_UP, 3),
    }


def checked(run: Run) -> Report:
    """Codes are looked for where there is a caption; what a reviewer reads counts as one."""
    events = {one.event.id: one.event for one in run.asked}.values()
    report = check(events, [seen(answer, run.held) for answer in run.answers])
    captions = [seen(answer, run.held) for answer in run.answers if answer.outcome != "refused"]
    return replace(report, mixed_up=check(events, captions).mixed_up)


def seen(answer: Answered, held: dict[str, str]) -> Seen:
    text = answer.text or held.get(answer.event_id, "")
    return Seen(answer.event_id, text, answer.stream_key, answer.sequence)


def trends(samples: Sequence[Sample]) -> dict[str, Trend]:
    """By what is measured: `memory of ingest`, `descriptors of ingest`, `shared memory` and so on."""
    return {
        name: trend([second for second, _ in points], [value for _, value in points])
        for name, points in series(samples).items()
    }


def series(samples: Sequence[Sample]) -> dict[str, list[tuple[float, float]]]:
    """Everything that must stay flat, as (second, value). Decoders come and go: their number is bounded instead."""
    found: dict[str, list[tuple[float, float]]] = {"shared memory": [], "shared memory files": []}
    for one in samples:
        found["shared memory"].append((one.second, one.shared_memory_mb))
        found["shared memory files"].append((one.second, one.shared_memory_files))
        for role, part in sorted(one.parts.items()):
            for name, value in measures(part).items() if role != "decoders" else ():
                found.setdefault(f"{name} of {role}", []).append((one.second, value))
    return found


def measures(part: PartFigures) -> dict[str, float]:
    return {"memory": part.anonymous_mb, "descriptors": part.descriptors, "threads": part.threads}


def open_of(one: Sample) -> float:
    """Events that were published and not answered yet; repeats of answered ones are never answered again."""
    return one.told["open"]


def grown(samples: Sequence[Sample]) -> dict[str, float]:
    """What is kept on disk by design, in MB: topics and payloads have retentions of days."""
    first, last = samples[0], samples[-1]
    return {
        "kafka_log_mb": round(last.kafka_log_mb - first.kafka_log_mb, 1),
        "payloads_mb": round(last.payloads_mb - first.payloads_mb, 1),
    }


def curves(samples: Sequence[Sample]) -> dict[str, Any]:
    """For the plot, thinned."""
    kept = list(samples[:: max(1, len(samples) // POINTS)])
    lines = {name: dict(points) for name, points in series(kept).items()}
    return {
        "minute": [round(one.second / 60, 2) for one in kept],
        "lines": {
            name: [round(line.get(one.second, 0.0), 1) for one in kept]
            for name, line in lines.items()
            if not name.startswith("threads")
        },
        "open": [one.told["open"] for one in kept],
        "answered": [one.told["answered"] for one in kept],
        "seconds": [one.told["seconds"] for one in kept],
    }
