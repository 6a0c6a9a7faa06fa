"""ONE record through ONE stage: the only place that turns failures into refusals."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

import stamina

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.values import StageTiming
from captionstream.runtime.clock import Clock, milliseconds, utc_now
from captionstream.runtime.errors import TooManyDefects, Unavailable, Unprocessable
from captionstream.runtime.stage import CarriedFields, Delivery, Stage, carry
from captionstream.telemetry import metrics, tracing

C = TypeVar("C", bound=m.Carried)
RECORD_LIMIT = 1_000_000  # bytes of one record's value; dead letters may be larger, they hold a record
NOT_BROKEN = {
    RefusalReason.TOO_LATE,
    RefusalReason.UNAVAILABLE,
}  # refused, but nothing for an operator to look at


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record got no further."""

    reason: RefusalReason
    detail: str = ""
    traceback: str | None = None
    attempts: int = 1
    image_digest: str | None = None


@dataclass
class Advance:
    """Carries records through `stage`. `waiting` holds the offsets that wait for an engine."""

    stage: Stage
    clock: Clock = utc_now
    unavailable_budget_s: float = 600.0
    defects_allowed: int = 5
    waiting: set[tuple[int, int]] = field(default_factory=set)
    _defects: int = 0

    def __post_init__(self) -> None:
        for reason in RefusalReason:
            metrics.REFUSALS.labels(
                self.stage.name, reason
            )  # there from the start: the first one is an increase

    async def __call__(self, record: Record) -> AsyncIterator[Outgoing]:
        """Partial text as it grows, then the terminal message, its companions and a dead letter if it broke."""
        started = self.clock()
        partial = is_partial(record)
        with tracing.processing(record, self.stage.name, partial=partial) as hop:
            async for message in tracing.inside(hop.span, self._messages(record, started)):
                if partial and not message.partial:
                    continue  # partial text is best effort: what goes wrong with it is no answer to its event
                if isinstance(message, m.Answer):
                    tracing.decided(hop.span, message.governance)
                metrics.MESSAGES.labels(self.stage.name, type(message).__name__).inc()
                yield codec.encode(message, self.stage.name, extra=hop.headers)

    def poisoned(self, record: Record, deaths: int) -> tuple[Outgoing, ...]:
        """The refusal of a record that killed the process `deaths` times while alone in flight."""
        failure = Failure(RefusalReason.INTERNAL, "the worker died on this record", attempts=deaths)
        messages = self._refusal(record, fields_of(record), failure, self.clock())
        trace = tracing.carried(record)
        return tuple(codec.encode(message, self.stage.name, extra=trace) for message in messages)

    async def _messages(self, record: Record, started: datetime) -> AsyncIterator[m.Message]:
        try:
            message = codec.decode(record)
        except codec.Malformed as malformed:
            failure = Failure(RefusalReason.MALFORMED, str(malformed)[:500])
            for refusal in self._refusal(record, fields_of(record), failure, started):
                yield refusal
            return
        if isinstance(message, m.Refused):
            for answer in self.stage.refuse(self._timed(message, record, started)):
                yield answer
            return
        async for produced in self._attempted(message, record, started):
            yield produced

    async def _attempted(
        self, message: m.Message, record: Record, started: datetime
    ) -> AsyncIterator[m.Message]:
        """The stage's messages; after two defects, or a failure that is no defect, a refusal."""
        failure = self._too_late(message, record)
        for attempt in (1, 2) if failure is None else ():
            try:
                async for produced in self._once(message, record, started, attempt):
                    yield produced
                self._defects = 0
                return
            except Exception as problem:
                failure = failure_of(problem, attempt)
            if not failure.traceback:
                break
        assert failure is not None
        self._count_defects(failure)
        delivery = Delivery(record.appended_at, codec.event_digest(record))
        for refusal in self._refusal(record, carry(message, delivery), failure, started):
            yield refusal

    async def _once(
        self, message: m.Message, record: Record, started: datetime, attempt: int
    ) -> AsyncIterator[m.Message]:
        """Partial text as it comes; the rest when the stage is through, so that a second attempt repeats none of it."""
        finished: list[m.Message] = []
        delivery = Delivery(record.appended_at, codec.event_digest(record), attempt)
        async for produced in self._patiently(message, delivery, record):
            if produced.partial:
                yield produced
            else:
                finished.append(produced)
        for produced in self._sized(finished):
            yield self._timed(produced, record, started) if isinstance(produced, m.Carried) else produced

    async def _patiently(
        self, message: m.Message, delivery: Delivery, record: Record
    ) -> AsyncIterator[m.Message]:
        """The stage's messages, waiting in place while an engine is away.

        What goes through at once never meets the library of retries, which would cost more than all the rest.
        """
        try:
            async for produced in self.stage.advance(message, replace(delivery, attempt=1)):
                yield produced
        except Unavailable as away:
            async for produced in self._again(message, delivery, record, away):
                yield produced

    async def _again(
        self, message: m.Message, delivery: Delivery, record: Record, away: Unavailable
    ) -> AsyncIterator[m.Message]:
        """After a first attempt that met `away`."""
        place = (record.partition, record.offset)
        budget = self.unavailable_budget_s
        retries = stamina.retry_context(on=worth_waiting, attempts=None, timeout=budget, wait_max=2.0)
        tries = 0
        try:
            async for attempt in retries:
                with attempt:
                    tries += 1
                    try:
                        if tries == 1:
                            raise away
                        async for produced in self.stage.advance(message, replace(delivery, attempt=tries)):
                            self.waiting.discard(place)
                            yield produced
                    except Unavailable:
                        self.waiting.add(place)
                        raise
        finally:
            self.waiting.discard(place)

    def _too_late(self, message: m.Message, record: Record) -> Failure | None:
        deadline = carry(message, Delivery(record.appended_at, ""))
        seconds = deadline["event"].deadline_s
        elapsed = (self.clock() - deadline["accepted_at"]).total_seconds()
        if seconds is None or elapsed <= seconds:
            return None
        return Failure(RefusalReason.TOO_LATE, f"deadline {seconds:g} s, now {elapsed:.1f} s")

    def _sized(self, finished: list[m.Message]) -> list[m.Message]:
        for message in finished:
            size = len(message.model_dump_json(exclude_none=True).encode())
            if size > RECORD_LIMIT and not isinstance(message, m.DraftHeld):
                raise Unprocessable(RefusalReason.TOO_LARGE, f"a record of {size} bytes")
        return finished

    def _timed(self, message: C, record: Record, started: datetime) -> C:
        """The message with this stage's own timing added."""
        timing = StageTiming(
            stage=self.stage.name,
            waited_ms=milliseconds(record.appended_at, started),
            worked_ms=milliseconds(started, self.clock()),
        )
        metrics.WORK_SECONDS.labels(self.stage.name).observe(timing.worked_ms / 1000)
        metrics.WAIT_SECONDS.labels(self.stage.name).observe(timing.waited_ms / 1000)
        return message.model_copy(update={"timings": (*message.timings, timing)})

    def _refusal(
        self, record: Record, fields: CarriedFields, failure: Failure, started: datetime
    ) -> list[m.Message]:
        metrics.REFUSALS.labels(self.stage.name, failure.reason).inc()
        tracing.refused(failure.reason)
        refused = m.Refused(
            **fields, stage=self.stage.name, reason=failure.reason, detail=failure.detail[:500],
            image_digest=failure.image_digest or image_digest(record),
        )  # fmt: skip
        answers = list(self.stage.refuse(self._timed(refused, record, started)))
        if failure.reason in NOT_BROKEN:
            return answers
        return [*answers, self._dead_letter(record, fields, failure)]

    def _dead_letter(self, record: Record, fields: CarriedFields, failure: Failure) -> m.DeadLetter:
        return m.DeadLetter(
            event=fields["event"], stage=self.stage.name, reason=failure.reason, detail=failure.detail,
            traceback=failure.traceback, attempts=failure.attempts, topic=record.topic,
            partition=record.partition, offset=record.offset, key=record.key, value=record.value,
            failed_at=self.clock(),
        )  # fmt: skip

    def _count_defects(self, failure: Failure) -> None:
        self._defects = self._defects + 1 if failure.reason is RefusalReason.INTERNAL else 0
        if self._defects > self.defects_allowed:
            raise TooManyDefects(
                f"{self._defects} records in a row failed in {self.stage.name}: {failure.detail}"
            )


def failure_of(problem: Exception, attempt: int) -> Failure:
    """What a stage's exception means for the record. Only a defect of ours has a traceback, and another attempt."""
    match problem:
        case Unprocessable():
            return Failure(
                problem.reason, problem.detail, attempts=attempt, image_digest=problem.image_digest
            )
        case Unavailable():
            return Failure(RefusalReason.UNAVAILABLE, problem.engine, attempts=attempt)
        case _:
            told = "".join(traceback.format_exception(problem))
            return Failure(RefusalReason.INTERNAL, type(problem).__name__, told, attempt)


def is_partial(record: Record) -> bool:
    return record.header("ce_type") == m.DraftDelta.ce_type


def worth_waiting(problem: Exception) -> bool | float:
    """An engine that is away is waited for; for as long as it said, if it said so."""
    if not isinstance(problem, Unavailable):
        return False
    return problem.retry_after_s if problem.retry_after_s is not None else True


def fields_of(record: Record) -> CarriedFields:
    """What a record's message carries, or as much as can be told of one that cannot be decoded."""
    try:
        message = codec.decode(record)
    except codec.Malformed:
        return CarriedFields(
            event=codec.event_of(record), event_digest=codec.event_digest(record),
            accepted_at=record.appended_at, timings=(),
        )  # fmt: skip
    return carry(message, Delivery(record.appended_at, codec.event_digest(record)))


def image_digest(record: Record) -> str | None:
    """The digest of the image, if the record got as far as to know it."""
    try:
        message = codec.decode(record)
    except codec.Malformed:
        return None
    image = getattr(message, "image", None)
    return getattr(image, "digest", None)
