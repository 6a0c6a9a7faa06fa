"""Events in, answers out: everything that a read_committed reader of `captions` sees, from its first record on."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.topics import CAPTIONS, DRAFTS_HELD
from captionstream.runtime.asking import as_record
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.message_log import MessageLog
from tests.verify.running import RunningStack

STALLED_S = 300.0  # more than the slowest picture behind a full queue; then something is broken
SECOND_ANSWER_S = 8.0  # how long a second answer is waited for when all have one
TELL_EVERY_S = 20.0


class Stalled(Exception):
    """No answer came for a long time though some are due."""


@dataclass(frozen=True)
class Answered:
    """One answer. `seconds` from the broker's append of the event to it; `work_ms` by stage."""

    event_id: str
    outcome: str
    text: str
    reason: str
    detail: str
    stage: str
    stream_key: str
    sequence: int
    seconds: float
    work_ms: dict[str, float]

    @classmethod
    def of(cls, answer: m.Answer, text: str) -> Answered:
        refused = answer if isinstance(answer, m.CaptionRefused) else None
        held = answer.reason if isinstance(answer, m.CaptionHeld) else ""
        return cls(
            event_id=answer.event.id,
            outcome=answer.outcome,
            text=text,
            reason=refused.reason.value if refused else held,
            detail=refused.detail if refused else "",
            stage=refused.stage.value if refused else "",
            stream_key=answer.event.stream_key or "",
            sequence=answer.event.sequence or 0,
            seconds=round((answer.answered_at - answer.accepted_at).total_seconds(), 3),
            work_ms={timing.stage.value: round(timing.worked_ms, 1) for timing in answer.timings},
        )


@dataclass
class Conversation:
    """What was asked of a stack and what it answered, in the order of the answers."""

    log: MessageLog
    answers: list[Answered] = field(default_factory=list)
    last_at: float = field(default_factory=time.monotonic)
    _asked: set[str] = field(default_factory=set)
    _answered: set[str] = field(default_factory=set)
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def open(self) -> int:
        """How many events that were asked here have no answer yet."""
        return len(self._asked - self._answered)

    def missing(self, wanted: Collection[str]) -> list[str]:
        return [event_id for event_id in wanted if event_id not in self._answered]

    async def say(self, event: m.ImageSubmitted) -> None:
        self._asked.add(event.id)
        await self.log.publish([as_record(event)])

    async def all_of(self, wanted: Collection[str], at_most_open: int = 0) -> None:
        """Wait until no more than so many of `wanted` are without an answer. Raises Stalled."""
        self.last_at = time.monotonic()
        async with self._heard:
            while len(self.missing(wanted)) > at_most_open:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._heard.wait(), 5)
                if time.monotonic() - self.last_at > STALLED_S:
                    raise Stalled(f"no answer for {STALLED_S:.0f} s to {', '.join(self.missing(wanted)[:5])}")

    async def hear(self) -> None:
        """Follow `captions`, until cancelled. The text of a held caption is read where reviewers read it."""
        async for record in self.log.read(CAPTIONS.name):
            answer = codec.decode(record)
            if isinstance(answer, m.Answer):
                text = answer.text if isinstance(answer, m.CaptionPublished) else ""
                await self._take(Answered.of(answer, text))

    async def _take(self, answered: Answered) -> None:
        self.answers.append(answered)
        self._answered.add(answered.event_id)
        self.last_at = time.monotonic()
        async with self._heard:
            self._heard.notify_all()


@asynccontextmanager
async def conversation(stack: RunningStack) -> AsyncIterator[Conversation]:
    """With a running stack; begins with what was answered in its folder before."""
    log = KafkaLog(stack.kafka)
    try:
        async with talking(log) as talk:
            yield talk
    finally:
        await log.close()


@asynccontextmanager
async def talking(log: MessageLog) -> AsyncIterator[Conversation]:
    """With whoever works on `log`. What was answered before has been heard when the block begins."""
    talk = Conversation(log)
    before = [record async for record in log.read(CAPTIONS.name, follow=False)]
    hearing = asyncio.create_task(talk.hear())
    try:
        while len(talk.answers) < len(before):
            await asyncio.sleep(0.02)
        yield talk
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def ask_all(
    talk: Conversation, events: Iterable[m.ImageSubmitted], at_once: int, told: Callable[[int], None]
) -> None:
    """Each event that has no answer yet, with at most `at_once` open; returns when every one has an answer."""
    open_ids: list[str] = []
    for number, event in enumerate(events):
        told(number)
        if not talk.missing([event.id]):
            continue
        await talk.say(event)
        open_ids = talk.missing([*open_ids, event.id])
        if len(open_ids) >= at_once:
            await talk.all_of(open_ids, at_once - 1)
            open_ids = talk.missing(open_ids)
    await talk.all_of(open_ids)


async def held_texts(log: MessageLog) -> dict[str, str]:
    """What a reviewer reads of each held caption: its first candidate, by event id."""
    texts = {}
    async for record in log.read(DRAFTS_HELD.name, follow=False):
        draft = codec.decode(record)
        if isinstance(draft, m.DraftHeld):
            texts[draft.event.id] = " ".join(one.text for one in draft.draft.candidates)
    return texts


class Progress:
    """One line on stderr every twenty seconds: how far, and how long it will still take."""

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._begun = time.monotonic()
        self._first: int | None = None
        self._due = self._begun + TELL_EVERY_S

    def __call__(self, done: int, more: str = "") -> None:
        self._first = done if self._first is None else self._first
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + TELL_EVERY_S
        rate = (done - self._first) / (now - self._begun)
        left = f"{(self._count - done) / rate / 60:.1f} min left" if rate > 0 else "…"
        print(f"· {self._name}: {done} of {self._count}, {rate:.2f}/s, {left} {more}", file=sys.stderr)
