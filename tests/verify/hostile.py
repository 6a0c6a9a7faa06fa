"""`hostile`: every image that broke a decoder elsewhere, as an event to the real running stack."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.topics import DEAD_LETTERS
from captionstream.contracts.values import INLINE_IMAGE_LIMIT, ImageReference
from captionstream.runtime.message_log import MessageLog
from services.ingest.settings import IngestSettings
from tests.corpora.hostile import FOLDERS, HOME, fetch_debian_packages, fetch_python_packages, fetched_images
from tests.verify.conversation import SECOND_ANSWER_S, Answered, Progress, ask_all, conversation
from tests.verify.measuring import Sample, Sampler, largest, read_samples, replaced
from tests.verify.pictures import percentiles
from tests.verify.running import running

AT_ONCE = 48
EVERY_S = 2.0  # between two samples
SHOWN = 10  # of the slowest
OWN_FAULTS = ("internal", "unavailable", "too-late")  # reasons that are no property of an image


async def verify_hostile(folder: Path, limit: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Goes on with the images that the stack's own topics hold no answer for."""
    tell("fetching the images, if they are not here")
    fetch_python_packages()
    fetch_debian_packages()
    images = chosen(fetched_images(), limit)
    with running(folder / "stack") as stack, Sampler(stack, folder / "samples.jsonl", EVERY_S) as sampler:
        async with conversation(stack) as talk:
            pids = {part.role: part.pid for part in stack.parts}
            await ask_all(
                talk, events(images, stack.objects), AT_ONCE, Progress("hostile images", len(images))
            )
            await asyncio.sleep(SECOND_ANSWER_S)
            letters = await dead_letters(talk.log)
            sampler.take()
            changed = [part.role for part in stack.parts if part.pid != pids[part.role]]
    return found(images, talk.answers, letters, changed, folder)


def chosen(images: Sequence[Path], limit: int) -> list[Path]:
    """All of them, or `limit` evenly from the whole row."""
    if not limit or limit >= len(images):
        return list(images)
    return [images[number * len(images) // limit] for number in range(limit)]


def events(images: Sequence[Path], objects: Path) -> Iterator[m.ImageSubmitted]:
    """One an image, without a key that would keep them in order; read when it is its turn."""
    for path in images:
        yield m.ImageSubmitted(id=event_id(path), image=reference(path.read_bytes(), objects))


def event_id(path: Path) -> str:
    """From its place in the collection: two equal images are two events."""
    return f"hostile-{hashlib.sha256(name(path).encode()).hexdigest()[:16]}"


def name(path: Path) -> str:
    return str(path.relative_to(HOME / "images"))


def reference(data: bytes, objects: Path) -> ImageReference:
    if len(data) <= INLINE_IMAGE_LIMIT:
        return ImageReference(inline=data)
    key = f"hostile/{hashlib.sha256(data).hexdigest()}"
    (objects / "hostile").mkdir(parents=True, exist_ok=True)
    (objects / key).write_bytes(data)
    return ImageReference(object_key=key)


async def dead_letters(log: MessageLog) -> Counter[str]:
    """How many lie there, by reason."""
    reasons: Counter[str] = Counter()
    async for record in log.read(DEAD_LETTERS.name, follow=False):
        letter = codec.decode(record)
        if isinstance(letter, m.DeadLetter):
            reasons[letter.reason.value] += 1
    return reasons


def found(
    images: Sequence[Path],
    answers: Sequence[Answered],
    letters: Counter[str],
    changed: list[str],
    folder: Path,
) -> dict[str, Any]:
    samples = read_samples(folder / "samples.jsonl")
    paths = {event_id(path): path for path in images}
    counts = Counter(answer.event_id for answer in answers)
    refused = [answer for answer in answers if answer.outcome == "refused"]
    slowest = sorted(answers, key=lambda one: -one.work_ms.get("ingest", 0.0))[:SHOWN]
    return {
        "images": len(images),
        "by_source": by_source(images, answers),
        "outcomes": dict(Counter(answer.outcome for answer in answers)),
        "reasons": dict(Counter(answer.reason for answer in refused).most_common()),
        "details": dict(Counter(kind_of(answer) for answer in refused).most_common()),
        "lost": sorted(name(path) for one, path in paths.items() if one not in counts),
        "doubled": sorted(name(paths[one]) for one, count in counts.items() if count > 1),
        "without_reason": [name(paths[one.event_id]) for one in refused if not (one.reason and one.detail)],
        "own_faults": [
            f"{name(paths[one.event_id])}: {one.reason}: {one.detail}" for one in refused if one.reason in OWN_FAULTS
        ],
        "telling_paths": [name(paths[one.event_id]) for one in refused if str(HOME.parent) in one.detail],
        "restarts": sum(replaced(samples).values()),
        "replaced": replaced(samples),
        "changed_processes": changed,
        "decode_ms": percentiles([one.work_ms.get("ingest", 0.0) for one in answers]),
        "slowest": [
            {"image": name(paths[one.event_id]), "ms": one.work_ms.get("ingest", 0.0), "outcome": outcome(one)}
            for one in slowest
        ],
        "dead_letters": dict(letters),
        "memory": {role: asdict(most) for role, most in largest(samples).items()},
        "decoders": decoders(samples),
        "minutes": round(sum(lengths(samples)) / 60, 1),
    }  # fmt: skip


def decoders(samples: Sequence[Sample]) -> dict[str, float]:
    most = largest(samples)["decoders"]
    told = IngestSettings()
    return {
        "at_once": most.processes,
        "allowed": told.decoders,
        "peak_mb": most.peak_mb,
        "allowed_mb": round(told.decoder_memory / 1e6, 1),
    }


def by_source(images: Sequence[Path], answers: Sequence[Answered]) -> dict[str, dict[str, int]]:
    sources = {event_id(path): path.relative_to(HOME / "images").parts[0] for path in images}
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        table[sources[answer.event_id]][answer.outcome] += 1
    return {source: dict(table[source]) for source in FOLDERS if source in table}


def outcome(answer: Answered) -> str:
    return f"refused: {answer.reason}" if answer.outcome == "refused" else answer.outcome


def kind_of(answer: Answered) -> str:
    """The detail of a refusal without its numbers."""
    words = f"{answer.reason}: {answer.detail}".split()
    return " ".join("…" if any(letter.isdigit() for letter in word) else word for word in words)


def lengths(samples: Sequence[Sample]) -> Iterator[float]:
    """Seconds of each session: the clock of a new one begins at 0 again."""
    last = 0.0
    for one in samples:
        if one.second < last:
            yield last
        last = one.second
    yield last
