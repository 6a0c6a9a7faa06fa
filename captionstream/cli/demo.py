"""`captionstream demo`: the main job, on real parts, before your eyes."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from captionstream.cli.answers import as_line
from captionstream.cli.demo_page import write_page
from captionstream.cli.demo_pictures import DemoPicture, pictures
from captionstream.cli.options import DIRECTORY, DirectoryOption, Exit, fail
from captionstream.cli.stack import ready_block, stack_parts, tell
from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.clean import one_line
from captionstream.contracts.topics import CAPTION_DELTAS, CAPTIONS, IMAGES_ENCODED, IMAGES_PREPARED
from captionstream.local.installed import Installed, MissingPart
from captionstream.local.supervisor import AlreadyRunning, StartFailed, StopAsked, Supervisor
from captionstream.runtime.asking import submit
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.message_log import MessageLog
from captionstream.telemetry import logs

WATCHED = (IMAGES_PREPARED, IMAGES_ENCODED, CAPTION_DELTAS, CAPTIONS)
SETTLE_S = 3.0  # after the last answer: time in which a second answer would show itself
ANSWERS_S = 240.0


def demo(
    directory: DirectoryOption = DIRECTORY,
    stay: Annotated[
        bool | None, typer.Option(help="Stay up afterwards; by default only at a terminal.")
    ] = None,
) -> None:
    """Start everything, caption eighteen pictures, and show each one's way.

    Example: captionstream demo --no-stay
    """
    logs.configure("demo", "CRITICAL")
    typer.echo(
        "The demo needs about 2 GB of memory. On a bare machine the first caption takes a minute or two, later seconds."
    )
    staying = sys.stdout.isatty() if stay is None else stay
    try:
        code = asyncio.run(run(directory, staying))
    except AlreadyRunning as running:
        raise fail(str(running)) from None
    except (StopAsked, KeyboardInterrupt):
        raise typer.Exit(Exit.UNANSWERED) from None
    except (StartFailed, MissingPart) as failed:
        raise fail(f"\n{failed}", Exit.AWAY) from None
    raise typer.Exit(code)


async def run(directory: Path, staying: bool) -> Exit:
    """On a stack of its own; without Kafka, in this process."""
    begun = time.monotonic()
    shown = pictures(Installed.here().photographs)
    try:
        return await on_a_stack(directory, shown, begun, staying)
    except (StartFailed, MissingPart) as failed:
        if not about_kafka(failed):
            raise
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)
        typer.echo(
            f"Kafka cannot be had ({first_line(failed)}); the same pictures go through the embedded pipeline."
        )
        async with embedded_log(directory) as memory:
            return await Showing(memory, shown, begun).run(directory)


async def on_a_stack(directory: Path, shown: list[DemoPicture], begun: float, staying: bool) -> Exit:
    """Raises StopAsked when the stack is asked to stop before all is shown."""
    supervisor = Supervisor(directory, stack_parts(directory), tell)
    supervisor.ask_to_stop_on_signals()
    async with supervisor:
        log = KafkaLog(f"127.0.0.1:{supervisor.state.part('kafka').port}")
        showing = asyncio.create_task(Showing(log, shown, begun).run(directory))
        asked = asyncio.create_task(supervisor.until_asked_to_stop())
        await asyncio.wait({showing, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not showing.done():
            showing.cancel()
            asked.result()
            raise StopAsked
        asked.cancel()
        code = showing.result()
        await log.close()
        if staying:
            typer.echo(ready_block(supervisor.state))
            await supervisor.until_asked_to_stop()
        return code


def about_kafka(failed: StartFailed | MissingPart) -> bool:
    return (
        failed.part.role == "kafka"
        if isinstance(failed, StartFailed)
        else "Kafka" in failed.what or "Java" in failed.what
    )


def first_line(failed: Exception) -> str:
    return str(failed).strip().splitlines()[0]


@asynccontextmanager
async def embedded_log(directory: Path) -> AsyncIterator[MessageLog]:
    from services.ingest.settings import IngestSettings
    from services.pipeline import embedded

    async with embedded(ingest=IngestSettings(objects=str(directory.absolute() / "objects"))) as log:
        yield log


@dataclass
class Showing:
    """Sends the pictures and shows what becomes of them. `begun` is when the demo was started."""

    log: MessageLog
    pictures: list[DemoPicture]
    begun: float
    say: Callable[[str], None] = typer.echo
    names: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[m.Answer]] = field(default_factory=dict)
    first_caption_s: float | None = None

    async def run(self, directory: Path) -> Exit:
        """DONE only if every event got exactly one answer, and the expected one."""
        tag = uuid.uuid4().hex[:6]
        events = [picture.event(tag, directory / "objects") for picture in self.pictures]
        for picture, event in zip(self.pictures, events, strict=True):
            self.names.setdefault(event.id, picture.name)
        ends = {topic.name: await self.log.ends(topic.name) for topic in WATCHED}
        watching = [asyncio.create_task(self._watch(name, start)) for name, start in ends.items()]
        self.say(f"\n{len(events)} pictures are published on image-events\n")
        await submit(self.log, events)
        await self._until_answered({event.id for event in events}, watching)
        for task in watching:
            task.cancel()
        return self._conclude(directory, [event.id for event in events])

    async def _until_answered(self, wanted: set[str], watching: list[asyncio.Task[None]]) -> None:
        deadline = time.monotonic() + ANSWERS_S
        while wanted - self.answers.keys() and time.monotonic() < deadline:
            for task in watching:
                if task.done():
                    task.result()
            await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)

    async def _watch(self, topic: str, start: Any) -> None:
        async for record in self.log.read(topic, start):
            self._show(codec.decode(record))

    def _show(self, message: m.Message) -> None:
        if not isinstance(message, m.Carried) or message.event.id not in self.names:
            return
        name = f"{self.names[message.event.id]:<26}"
        match message:
            case m.ImagePrepared():
                image = message.image
                notes = f", {', '.join(image.notes)}" if image.notes else ""
                self._say(f"{name} prepared   {image.width} x {image.height}{notes}  {took(message)}")
            case m.ImageEncoded():
                self._say(f"{name} encoded    {seen(message)}  {took(message)}")
            case m.CaptionDelta(status=m.DeltaStatus.PARTIAL):
                self._say(f"{name} …          {message.text}")
            case m.Answer():
                self.answers.setdefault(message.event.id, []).append(message)
                self._say_answer(name, message)

    def _say_answer(self, name: str, answer: m.Answer) -> None:
        line = as_line(answer, name.strip())
        if line["outcome"] == "published" and self.first_caption_s is None:
            self.first_caption_s = time.monotonic() - self.begun
        stages = " · ".join(f"{timing.stage} {timing.worked_ms:.0f}" for timing in answer.timings)
        text = line["text"] if line["text"] else line["reason"] or "(decorative: empty alternative text)"
        confidence = f"  [{line['confidence']:.2f}]" if line["confidence"] is not None else ""
        self._say(f"{name} {line['outcome']:<10} {text}{confidence}  ({stages} ms)")
        evidence = ", ".join(
            f"{claim['text']} ({claim['source']} {claim['score']:.2f})" for claim in line["evidence"]
        )
        if evidence:
            self._say(f"{'':<26} because    {evidence}")

    def _say(self, text: str) -> None:
        self.say(one_line(text))

    def _conclude(self, directory: Path, ids: list[str]) -> Exit:
        results = [
            (picture, as_line(self.answers[event_id][0], picture.name) if event_id in self.answers else None)
            for picture, event_id in zip(self.pictures, ids, strict=True)
        ]
        wrong = [picture.name for picture, line in results if line is None or not picture.accepts(line)]
        twice = [self.names[event_id] for event_id, answers in self.answers.items() if len(answers) > 1]
        page = (directory / "demo.html").absolute()
        first = f"{self.first_caption_s:.1f} s" if self.first_caption_s is not None else "none"
        write_page(page, results, {"first caption after": first, "pictures": str(len(results))})
        self.say(f"\nFirst caption after {first}. The pictures beside their captions: {page}")
        for names, what in ((wrong, "not the expected answer"), (twice, "more than one answer")):
            if names:
                self.say(f"✗ {what}: {', '.join(names)}")
        self.say(f"{len(results) - len(wrong)} of {len(results)} pictures got the answer that was expected")
        return Exit.UNANSWERED if wrong or twice else Exit.DONE


def seen(message: m.ImageEncoded) -> str:
    """What the vision models found, in a few words."""
    evidence = message.evidence
    objects = ", ".join(f"{d.label} {d.score:.2f}" for d in evidence.detections[:3]) or "no objects"
    text = f", {len(evidence.lines)} lines of text" if evidence.lines else ""
    return f"{objects}{text}" + (", from the cache" if evidence.cached else "")


def took(message: m.Carried) -> str:
    return f"({message.timings[-1].worked_ms:.0f} ms)" if message.timings else ""
