"""A load whose every picture carries its own id, and a checker that tells lost, doubled, mixed up and out of order."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.errors import KafkaError

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.topics import CAPTIONS
from captionstream.contracts.values import ImageReference
from captionstream.local.process import Part
from captionstream.local.state import Condition
from captionstream.local.supervisor import Supervisor
from captionstream.runtime.asking import as_record
from captionstream.runtime.kafka_log import KafkaLog
from services.encoder.scripted import plate_image

CAMERAS = 10


@dataclass(frozen=True)
class Seen:
    """One answer, as the checker needs it."""

    event_id: str
    text: str
    stream_key: str
    sequence: int


@dataclass(frozen=True)
class Report:
    """What went wrong in a run. All four are empty when the invariants hold."""

    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    mixed_up: tuple[str, ...] = ()
    out_of_order: tuple[str, ...] = ()


def plate_event(number: int, tag: str) -> m.ImageSubmitted:
    """An event whose picture shows `number`, from one of ten cameras."""
    return m.ImageSubmitted(
        id=f"{tag}-{number:06d}",
        image=ImageReference(inline=plate_image(number)),
        stream_key=f"{tag}-camera-{number % CAMERAS}",
        sequence=number // CAMERAS,
    )


def check(events: Iterable[m.ImageSubmitted], answers: list[Seen]) -> Report:
    """Every event once, with the id of its own picture, and in order for each camera."""
    wanted = {event.id: event for event in events}
    counts = Counter(seen.event_id for seen in answers)
    order: dict[str, list[int]] = defaultdict(list)
    for seen in answers:
        order[seen.stream_key].append(seen.sequence)
    return Report(
        lost=tuple(sorted(set(wanted) - set(counts))),
        doubled=tuple(sorted(name for name, count in counts.items() if count > 1)),
        mixed_up=tuple(seen.event_id for seen in answers if seen.event_id.split("-")[-1] not in seen.text),
        out_of_order=tuple(key for key, numbers in order.items() if numbers != sorted(numbers)),
    )


@dataclass
class Load:
    """Publishes plates at `rate` a second until `stop`; goes on when the broker comes back."""

    log: KafkaLog
    tag: str
    rate: float
    event: Callable[[int, str], m.ImageSubmitted] = plate_event
    events: list[m.ImageSubmitted] = field(default_factory=list)
    _stopped: bool = False

    async def run(self) -> None:
        due = time.monotonic()
        while not self._stopped:
            event = self.event(len(self.events), self.tag)
            await self._publish(event)
            self.events.append(event)
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        self._stopped = True

    async def _publish(self, event: m.ImageSubmitted) -> None:
        """A publisher repeats what was not acknowledged, as publishers do; the repeat is the same event."""
        while True:
            try:
                return await self.log.publish([as_record(event)])
            except KafkaError:
                with suppress(Exception):
                    await self.log.close()
                await asyncio.sleep(0.5)


async def answers_of(log: KafkaLog, tag: str) -> list[Seen]:
    """All answers of a run, as a read_committed reader sees them."""
    found = []
    async for record in log.read(CAPTIONS.name, follow=False):
        answer = codec.decode(record)
        if isinstance(answer, m.Answer) and answer.event.id.startswith(tag):
            found.append(seen_of(answer))
    return found


def seen_of(answer: m.Answer) -> Seen:
    text = answer.text if isinstance(answer, m.CaptionPublished) else f"no caption: {type(answer).__name__}"
    return Seen(answer.event.id, text, answer.event.stream_key or "", answer.event.sequence or 0)


async def all_answered(log: KafkaLog, load: Load, timeout_s: float) -> list[Seen]:
    """Wait until every event has an answer, then a moment longer for a second one to show itself."""
    deadline = time.monotonic() + timeout_s
    wanted = {event.id for event in load.events}
    while time.monotonic() < deadline:
        if wanted <= {seen.event_id for seen in await answers_of(log, load.tag)}:
            break
        await asyncio.sleep(1.0)
    await asyncio.sleep(3.0)
    return await answers_of(log, load.tag)


@asynccontextmanager
async def running(directory: Path, parts: list[Part]) -> AsyncIterator[Supervisor]:
    async with Supervisor(directory, parts) as supervisor:
        yield supervisor


async def kill(supervisor: Supervisor, role: str) -> float:
    """kill -9, then wait until the supervisor has it back; the seconds that took."""
    before = supervisor.state.part(role)
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    return await back(supervisor, role, before.restarts)


async def back(supervisor: Supervisor, role: str, restarts: int, timeout_s: float = 90.0) -> float:
    begun = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while True:
            now = supervisor.state.part(role)
            if now.restarts > restarts and now.state is Condition.READY:
                return time.monotonic() - begun
            await asyncio.sleep(0.1)


def shuffled(roles: list[str], seed: int) -> list[str]:
    chosen = list(roles)
    random.Random(seed).shuffle(chosen)
    return chosen
