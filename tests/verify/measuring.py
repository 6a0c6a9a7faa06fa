"""Memory, descriptors, threads and processor time of every part of a running stack, and what lies on its disks.

Three measures of memory. PSS (proportional set size) counts shared pages once in a sum, so that parts add up.
Anonymous memory (RssAnon) is what a process itself took: a leak shows there, and other programs that map the same
files do not move it. The peak is the kernel's high-water mark of resident memory (VmHWM), which no pause between two
samples misses.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from captionstream.local.state import Condition, StackState
from captionstream.local.triton import shared_memory_prefix
from services.encoder.shared_memory import PREFIX as ENCODER_REGION
from tests.verify.running import RunningStack

MB = 1e6
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class PartFigures:
    """One part: its process and, where they are not a part of their own, all below it. `peak_mb` of the largest."""

    processes: int
    pss_mb: float
    anonymous_mb: float
    peak_mb: float
    descriptors: int
    threads: int
    cpu_s: float


@dataclass(frozen=True)
class Sample:
    """`second` since the sampling began. `restarts` by part, since its stack was begun."""

    second: float
    parts: dict[str, PartFigures]
    restarts: dict[str, int]
    ready: bool
    shared_memory_mb: float
    shared_memory_files: int
    payloads_mb: float
    kafka_log_mb: float
    told: dict[str, float] = field(default_factory=dict)


def parts_of(state: StackState) -> dict[str, PartFigures]:
    """By role. Triton's stubs belong to Triton; ingest's decoders, which come and go, are a part of their own."""
    found = {
        part.role: family(part.pid, with_children=part.role != "ingest") for part in state.parts if part.pid
    }
    ingest = state.part("ingest").pid
    found["decoders"] = together(children(ingest)) if ingest else None
    found["supervisor"] = family(state.supervisor_pid, with_children=False)
    return {role: figures for role, figures in found.items() if figures is not None}


def family(pid: int, with_children: bool) -> PartFigures | None:
    """None when the process is gone. The processor time of children that have ended counts in."""
    try:
        process = psutil.Process(pid)
        own, cpu = figures(process), process.cpu_times()
    except psutil.NoSuchProcess:
        return None
    if own is None:
        return None
    everyone = [own, *(children(pid) if with_children else ())]
    return together(everyone, reaped=cpu.children_user + cpu.children_system)


def children(pid: int) -> list[dict[str, float]]:
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [found for child in below if (found := figures(child))]


def together(everyone: Sequence[Mapping[str, float]], reaped: float = 0.0) -> PartFigures:
    def in_all(name: str) -> float:
        return sum(one[name] for one in everyone)

    return PartFigures(
        processes=len(everyone),
        pss_mb=round(in_all("pss") / MB, 2),
        anonymous_mb=round(in_all("anonymous") / MB, 2),
        peak_mb=round(max((one["peak"] for one in everyone), default=0.0) / MB, 2),
        descriptors=int(in_all("descriptors")),
        threads=int(in_all("threads")),
        cpu_s=round(in_all("cpu") + reaped, 2),
    )


def total(amounts: Iterable[float]) -> float:
    return round(sum(amounts) / MB, 2)


def figures(process: psutil.Process) -> dict[str, float] | None:
    """None for a process that ended while it was looked at. Memory in bytes."""
    try:
        memory, cpu, status = process.memory_full_info(), process.cpu_times(), status_of(process.pid)
        return {
            "pss": memory.pss, "anonymous": status["RssAnon"], "peak": status["VmHWM"],
            "descriptors": process.num_fds(), "threads": process.num_threads(), "cpu": cpu.user + cpu.system,
        }  # fmt: skip
    except (psutil.Error, OSError, KeyError):
        return None


def status_of(pid: int) -> dict[str, float]:
    """The kernel's lines about memory, in bytes; a process that has ended has none."""
    fields = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): float(words[1]) * 1024 for words in fields if words[-1] == "kB"}


def sample(stack: RunningStack, second: float, told: dict[str, float]) -> Sample:
    state = stack.state
    regions = shared_memory_of(stack)
    return Sample(
        second=round(second, 1),
        parts=parts_of(state),
        restarts={part.role: part.restarts for part in state.parts},
        ready=all(part.state is Condition.READY for part in state.parts),
        shared_memory_mb=total(regions),
        shared_memory_files=len(regions),
        payloads_mb=total(sizes(stack.directory / "payloads")),
        kafka_log_mb=total(sizes(stack.directory / "kafka" / "data")),
        told=told,
    )


def shared_memory_of(stack: RunningStack) -> list[float]:
    """Bytes in memory of this stack's regions: Triton's by the name of its folder, the encoder's by its process."""
    triton = shared_memory_prefix(stack.directory / "triton-0")
    encoder = f"{ENCODER_REGION}{stack.state.part('encoder').pid}_"
    return [*sizes(SHARED_MEMORY, f"{triton}*"), *sizes(SHARED_MEMORY, f"{encoder}*")]


def sizes(folder: Path, pattern: str = "**/*") -> list[float]:
    """Bytes that each file really takes; what goes away meanwhile is left out."""
    found = []
    for path in folder.glob(pattern):
        try:
            status = os.stat(path, follow_symlinks=False)
        except OSError:
            continue
        if not path.is_dir():
            found.append(status.st_blocks * 512.0)
    return found


class Sampler:
    """Takes a sample every `every_s` in a thread of its own, until the block ends; each is a line of `file`.

    `tell` adds what the step knows: how many were answered, how many wait.
    """

    def __init__(
        self, stack: RunningStack, file: Path, every_s: float, tell: Callable[[], dict[str, float]] = dict
    ) -> None:
        self._stack = stack
        self._file = file
        self._every_s = every_s
        self._tell = tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Sampler:
        self._begun = time.monotonic()
        self.take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def take(self) -> Sample:
        """One more sample, now."""
        taken = sample(self._stack, time.monotonic() - self._begun, self._tell())
        self.samples.append(taken)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(taken)) + "\n")
        return taken

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self.take()


def read_samples(file: Path) -> list[Sample]:
    """Those of all sessions, as they were written."""
    return [as_sample(json.loads(line)) for line in file.read_text().splitlines()]


def as_sample(found: dict[str, Any]) -> Sample:
    return Sample(**{**found, "parts": {role: PartFigures(**part) for role, part in found["parts"].items()}})


@dataclass(frozen=True)
class Largest:
    """What a part needed at most over all samples, in MB; `peak_mb` is of its largest process."""

    pss_mb: float
    peak_mb: float
    processes: int


def largest(samples: Sequence[Sample]) -> dict[str, Largest]:
    roles = sorted({role for one in samples for role in one.parts})
    seen = {role: [one.parts[role] for one in samples if role in one.parts] for role in roles}
    return {
        role: Largest(
            max(part.pss_mb for part in found),
            max(part.peak_mb for part in found),
            max(part.processes for part in found),
        )
        for role, found in seen.items()
    }


def replaced(samples: Sequence[Sample]) -> dict[str, int]:
    """How often each part was started again after the whole stack had been ready; a session begins at second 0."""
    found: Counter[str] = Counter()
    for before, after in pairwise(samples):
        if after.second > before.second:
            found.update({role: now - before.restarts.get(role, now) for role, now in after.restarts.items()})
    return dict(+found)
