"""All of it, in one run: which groups are measured, how long, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from captionstream.bench import captioning, decoding, framework, model, pictures, plumbing
from captionstream.bench.goals import GOALS, Found, group
from captionstream.bench.stacks import running
from captionstream.bench.workplace import workplace
from captionstream.local.installed import Installed

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done. Quick does less of everything, in a quarter of the time, for a look; its figures spread more.

    `model_rounds` are those of the language model and of the pipeline beside the naive script, which take longest.
    """

    rounds: int
    model_rounds: int
    decoding_rounds: int
    events: int
    overload_s: float
    overloads: int
    framework_events: int
    captions: int
    naive: int
    ours: int
    judged: int
    duplicates: int


QUICK = Effort(
    rounds=2,
    model_rounds=2,
    decoding_rounds=3,
    events=8,
    overload_s=3,
    overloads=1,
    framework_events=300,
    captions=8,
    naive=1,
    ours=16,
    judged=2,
    duplicates=2,
)
FULL = Effort(
    rounds=5,
    model_rounds=5,
    decoding_rounds=9,
    events=100,
    overload_s=4,
    overloads=3,
    framework_events=1000,
    captions=16,
    naive=2,
    ours=64,
    judged=3,
    duplicates=10,
)


@dataclass
class Suite:
    """`wanted` names groups: G1, G2. What fails is noted under its goals, and the others go on.

    `note` is given all that was found so far whenever a part is done.
    """

    installed: Installed
    wanted: frozenset[str]
    effort: Effort
    tell: Tell
    note: Callable[[Mapping[str, Found]], None] = lambda found: None
    _found: dict[str, Found] = field(default_factory=dict)

    def run(self) -> Mapping[str, Found]:
        for groups, work in self._parts():
            if self.wanted & groups:
                self._try(groups, work)
        return self._found

    def _parts(self) -> list[tuple[frozenset[str], Callable[[], dict[str, Found]]]]:
        return [
            (frozenset({"G12"}), self._decoding),
            (frozenset({"G4"}), self._framework),
            (frozenset({"G16"}), self._gate),
            (frozenset({"G7", "G8"}), self._batching),
            (frozenset({"G1", "G2", "G9", "G13"}), self._captioning),
            (frozenset({"G5", "G6", "G14"}), self._reuse),
            (frozenset({"G3", "G15", "G18"}), lambda: asyncio.run(self._scripted())),
        ]

    def _try(self, groups: frozenset[str], work: Callable[[], dict[str, Found]]) -> None:
        try:
            self._keep(work())
        except Exception as failed:  # a part that is missing or broken costs its own goals only
            why = f"{type(failed).__name__}: {str(failed).strip()[:500]}"
            names = [goal.name for goal in GOALS if group(goal.name) in groups & self.wanted]
            self._keep({name: Found.nothing(name, why) for name in names if name not in self._found})

    def _keep(self, found: Mapping[str, Found]) -> None:
        self._found |= found
        self.note(self._found)

    # ------------------------------------------------------------ the parts

    @property
    def _files(self) -> list[Path]:
        return pictures.camera_files(self.installed.photographs, self.installed.home / "bench" / "pictures")

    @property
    def _model(self) -> Path:
        return model.made(self.installed, self.tell)

    def _decoding(self) -> dict[str, Found]:
        self.tell("decoding of 12 million pixels")
        return decoding.measure(self._files, self.effort.decoding_rounds)

    def _framework(self) -> dict[str, Found]:
        return asyncio.run(framework.measure(self.effort.framework_events, self.effort.rounds, self.tell))

    def _gate(self) -> dict[str, Found]:
        from captionstream.bench import gate

        self.tell("the gate and the broken graph")
        return gate.measure(self._model)

    def _batching(self) -> dict[str, Found]:
        from captionstream.bench import batching

        return batching.measure(self._model, self.effort.captions, self.effort.model_rounds, self.tell)

    def _captioning(self) -> dict[str, Found]:
        size = captioning.Size(
            self.effort.naive, self.effort.ours, self.effort.model_rounds, self.effort.judged
        )
        return asyncio.run(captioning.measure(self.installed, self._model, self._files, size, self.tell))

    def _reuse(self) -> dict[str, Found]:
        from captionstream.bench import reuse

        effort = self.effort
        return asyncio.run(reuse.measure(self._files, effort.duplicates, effort.model_rounds, self.tell))

    async def _scripted(self) -> dict[str, Found]:
        """One stack with scripted engines for all that needs one."""
        from captionstream.bench import observing

        effort = self.effort
        size = plumbing.Size(effort.events, effort.rounds, effort.overload_s, effort.overloads)
        caption_ms = self._found["G5"].details.get("caption_cpu_ms") if "G5" in self._found else None
        self.tell("a stack with scripted engines")
        with workplace() as work:
            async with running(work, env=plumbing.ENV) as stack:
                if "G3" in self.wanted:
                    self.tell("latency of the plumbing")
                    self._keep(await plumbing.latency(stack, size))
                if "G15" in self.wanted:
                    self.tell(
                        f"three times the peak rate for {size.overload_s:.0f} s, {size.overloads} times"
                    )
                    self._keep(await plumbing.overload(stack, size))
                if "G18" in self.wanted:
                    self.tell("tracing on and off in turn")
                    return await observing.measure(
                        stack, plumbing.ENV, effort.events, effort.rounds, caption_ms
                    )
        return {}
