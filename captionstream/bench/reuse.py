"""G5, G6, G14: the whole stack with real engines: the same picture again, 100 times at once, in another language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from captionstream.bench import pictures
from captionstream.bench.goals import BY_NAME, Found
from captionstream.bench.measuring import Spread
from captionstream.bench.stacks import ENGINES, STAGES, Stack, running
from captionstream.bench.workplace import workplace
from captionstream.contracts import messages as m
from captionstream.contracts.values import ImageReference, Profile
from captionstream.runtime.asking import ask

EVERYTHING = (*STAGES, *ENGINES)
REUSED = "captionstream_reuse_total"
COPIES = 100
ANSWER_S = 300.0


async def measure(
    files: list[Path], captions: int, rounds: int, tell: Callable[[str], None]
) -> dict[str, Found]:
    """A round is `captions` different pictures and then 100 copies of one that is known."""
    tell("a stack with real engines: duplicates, copies, languages")
    with workplace() as work:
        objects = work / "objects"
        objects.mkdir()
        env = {"CAPTIONSTREAM_INGEST_OBJECTS": str(objects)}
        async with running(work, engines="real", env=env) as stack:
            shelf = Shelf(objects, [Image.open(file).convert("RGB") for file in files])
            await run(stack, shelf.events(2, "warm"))
            found = await duplicates(stack, shelf, captions, rounds)
            found |= await copies(stack, shelf)
            found |= await other_request(stack, shelf)
            found |= memory(stack)
            found["G14 ready"] = await readiness(stack)
    return found


@dataclass
class Shelf:
    """Pictures for events, no two alike: the encoder knows a picture by its pixels."""

    folder: Path
    originals: list[Image.Image]
    made: int = 0

    def events(self, count: int, tag: str) -> list[m.ImageSubmitted]:
        return [self._event(f"{tag}-{number}") for number in range(count)]

    def _event(self, name: str) -> m.ImageSubmitted:
        data = pictures.varied(self.originals[self.made % len(self.originals)], self.made)
        (self.folder / f"{name}.jpg").write_bytes(data)
        self.made += 1
        return m.ImageSubmitted(id=name, image=ImageReference(object_key=f"{name}.jpg"))


async def run(stack: Stack, events: list[m.ImageSubmitted]) -> float:
    """Processor seconds of an event: services and engines, without the broker."""
    before = stack.cpu(EVERYTHING)
    async for answer in ask(stack.log, events, ANSWER_S):
        if isinstance(answer, m.CaptionRefused):
            raise RuntimeError(f"{answer.reason}: {answer.detail}")
    return (stack.cpu(EVERYTHING) - before) / len(events)


async def duplicates(stack: Stack, shelf: Shelf, captions: int, rounds: int) -> dict[str, Found]:
    """Other events, other names, the same bytes."""
    anew: list[float] = []
    again: list[float] = []
    by_role: dict[str, float] = dict.fromkeys(EVERYTHING, 0.0)
    for number in range(rounds):
        events = shelf.events(captions, f"anew-{number}")
        anew.append(await run(stack, events))
        before = stack.cpu_by_role(EVERYTHING)
        again.append(await run(stack, renamed(events[0], COPIES, f"again-{number}")))
        for role, cpu in stack.cpu_by_role(EVERYTHING).items():
            by_role[role] += (cpu - before[role]) / (COPIES * rounds)
    share = Spread.of([100 * after / first for first, after in zip(anew, again, strict=True)])
    details = {
        "caption_cpu_ms": round(Spread.of(anew).median * 1000, 1),
        "duplicate_cpu_ms": round(Spread.of(again).median * 1000, 1),
        "duplicate_cpu_ms_by_stage": {role: round(cpu * 1000, 2) for role, cpu in by_role.items()},
    }  # fmt: skip
    missed = BY_NAME["G5"].met_by(share.median) == "missed"
    profile = "\n".join(f"{role:<15} {cpu * 1000:7.2f} ms a duplicate" for role, cpu in by_role.items())
    return {
        "G5": Found(
            "G5", round(share.median, 2), share.range, rounds, details, profile=profile if missed else ""
        )
    }


def renamed(event: m.ImageSubmitted, count: int, tag: str) -> list[m.ImageSubmitted]:
    """The same picture under other ids."""
    return [event.model_copy(update={"id": f"{tag}-{number}"}) for number in range(count)]


async def copies(stack: Stack, shelf: Shelf) -> dict[str, Found]:
    [event] = shelf.events(1, "copies")
    before = counted(stack)
    await run(stack, renamed(event, COPIES, "copy"))
    made = {work: after - before[work] for work, after in counted(stack).items()}
    if not made["encoding"]:
        return {"G5 copies": Found.nothing("G5 copies", "the picture was known before")}
    value = made["encoding"] + made["writing"]
    return {"G5 copies": Found("G5 copies", value, details={"copies": COPIES, **made})}


def counted(stack: Stack) -> dict[str, float]:
    """How often work was really done."""
    return {
        "encoding": stack.count("encoder", REUSED, work="encoding", result="miss"),
        "writing": stack.count("generator", REUSED, work="writing", result="miss"),
    }


async def other_request(stack: Stack, shelf: Shelf) -> dict[str, Found]:
    """One picture for another reader, then in another language."""
    [event] = shelf.events(1, "another")
    await run(stack, [event])
    before = counted(stack)["encoding"]
    others = [{"profile": profile} for profile in Profile] + [{"language": "es"}]
    await run(stack, [event.model_copy(update={"id": f"other-{n}", **what}) for n, what in enumerate(others)])
    calls = counted(stack)["encoding"] - before
    return {"G6": Found("G6", calls, details={"requests": len(others)})}


def memory(stack: Stack) -> dict[str, Found]:
    """After the work above."""
    return {
        f"G14 {role}": Found(f"G14 {role}", stack.memory_mb(role), details={"measure": "PSS"})
        for role in ("encoder", "generator", "ingest")
    }


async def readiness(stack: Stack) -> Found:
    """From the start of a service's process to a real answer of its engine, one service at a time, as when one is
    replaced or added. How long each took when the whole stack started at once stands beside it."""
    together = {role: round(seconds, 1) for role, seconds in stack.ready if role in STAGES}
    alone = {role: round(await stack.started_anew(role), 1) for role in STAGES}
    slowest = max(alone.values())
    profile = "\n".join(f"{role:<10} {seconds:5.1f} s" for role, seconds in alone.items())
    missed = BY_NAME["G14 ready"].met_by(slowest) == "missed"
    details = {"seconds": alone, "all_at_once": together}
    return Found("G14 ready", slowest, details=details, profile=profile if missed else "")
