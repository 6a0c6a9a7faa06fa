"""Running stacks, and what can be read off them from outside: metrics, memory, bytes on the broker's disk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.request import urlopen

import psutil
from prometheus_client.parser import text_string_to_metric_families

from captionstream.bench.measuring import cpu_of
from captionstream.contracts.topics import TOPICS
from captionstream.local.process import Part
from captionstream.local.stack import USUAL_PORTS, Engines, local_stack
from captionstream.local.supervisor import Event, Happening, Supervisor
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics

STAGES = ("ingest", "encoder", "generator", "safety")
ENGINES = ("triton", "language-model")
START_S = 60.0


@dataclass
class Stack:
    """A running stack and a connection to its log."""

    directory: Path
    supervisor: Supervisor
    log: KafkaLog
    ready: list[tuple[str, float]] = field(default_factory=list)
    """Each time a part became ready: its role, and how many seconds after the start of its process."""

    def cpu(self, roles: tuple[str, ...] = STAGES) -> float:
        """Processor seconds of these roles so far."""
        return sum(self.cpu_by_role(roles).values())

    def cpu_by_role(self, roles: tuple[str, ...] = STAGES) -> dict[str, float]:
        totals = dict.fromkeys(roles, 0.0)
        for part in self.supervisor.state.parts:
            if part.role in totals and part.pid:
                totals[part.role] += cpu_of(part.pid)
        return totals

    def memory_mb(self, role: str) -> float:
        """Of the largest process of a role, its children included: pages that they share count once."""
        pids = [part.pid for part in self.supervisor.state.parts if part.role == role and part.pid]
        return max((resident_mb(pid) for pid in pids), default=0.0)

    def pid(self, role: str) -> int:
        return next(part.pid for part in self.supervisor.state.parts if part.role == role and part.pid)

    async def started_anew(self, role: str) -> float:
        """Ends a part and waits for its successor; seconds from the start of its process. Raises TimeoutError."""
        before = len(self.ready)
        psutil.Process(self.pid(role)).terminate()
        async with asyncio.timeout(START_S):
            while role not in (found := dict(self.ready[before:])):
                await asyncio.sleep(0.05)
        return found[role]

    def count(self, role: str, metric: str, **labels: str) -> float:
        """A counter of all processes of a role. 0 where it never counted."""
        ports = [part.port for part in self.supervisor.state.parts if part.role == role]
        return sum(sample(port, metric, labels) for port in ports)

    def kafka_bytes(self) -> dict[str, int]:
        """On the broker's disk, by topic of ours: records as they lie there, their headers included."""
        data = self.directory / "kafka" / "data"
        names = {topic.name for topic in TOPICS}
        found = dict.fromkeys(names, 0)
        for file in data.glob("*/*.log"):
            topic = file.parent.name.rpartition("-")[0]
            if topic in names:
                found[topic] += file.stat().st_size
        return found


def resident_mb(pid: int) -> float:
    """Proportional memory (PSS) of a process and all below it, in MB."""
    total = 0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return round(total / 1e6, 1)


def sample(port: int, metric: str, labels: Mapping[str, str]) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return sum(
            found.value
            for family in families
            for found in family.samples
            if found.name == metric and labels.items() <= found.labels.items()
        )


@asynccontextmanager
async def running(
    directory: Path,
    engines: Engines = "scripted",
    env: Mapping[str, str] | None = None,
    replicas: Mapping[str, int] | None = None,
    change: Mapping[str, tuple[str, ...]] | None = None,
    roles: tuple[str, ...] | None = None,
) -> AsyncIterator[Stack]:
    """A stack of its own in `directory`. `change` gives a role another module and arguments to run.

    Raises StartFailed and MissingPart.
    """
    ready: list[tuple[str, float]] = []

    def note(event: Event) -> None:
        if event.happening is Happening.READY:
            ready.append((event.part.role, event.seconds))

    parts = local_stack(
        directory,
        engines=engines,
        replicas=replicas,
        after_kafka=make_topics,
        env=env,
        roles=roles,
        ports=ports_of_our_own(),
    )
    async with Supervisor(directory, [changed(part, change or {}) for part in parts], note) as supervisor:
        log = KafkaLog(f"127.0.0.1:{supervisor.state.part('kafka').port}")
        try:
            yield Stack(directory, supervisor, log, ready)
        finally:
            await log.close()


def ports_of_our_own() -> dict[str, int]:
    """Far from those of a user's stack, and seldom those of another bench: a port may be free for a moment only."""
    first = random.randrange(20_000, 29_000)
    return {name: first + 20 * place for place, name in enumerate(USUAL_PORTS)}


async def make_topics(bootstrap: str) -> None:
    await create_topics(bootstrap)


def changed(part: Part, change: Mapping[str, tuple[str, ...]]) -> Part:
    if part.role not in change:
        return part
    return replace(part, argv=(part.argv[0], "-m", *change[part.role]))
