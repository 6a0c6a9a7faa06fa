"""What the monitor knows: the rows of the last hour, how anomalies stand, which answers it has counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.record import Record
from captionstream.contracts.values import Profile
from captionstream.runtime.answers import Answers
from captionstream.runtime.clock import Clock, utc_now
from services.monitor.anomaly import REFERENCE_S, WINDOW_S, judged, measured, rules
from services.monitor.rates import MINUTE, between, counted, describes, empty, merged, minute_of
from services.monitor.settings import MonitorSettings
from services.monitor.texts import Texts

WINDOW = timedelta(seconds=WINDOW_S)
KEPT = timedelta(seconds=WINDOW_S + REFERENCE_S)
AHEAD = timedelta(minutes=1)  # clocks of machines differ; an answer from further ahead would end all windows
MOST_REMEMBERED = 50_000  # caption ids, about 10 MB


class Skipped(StrEnum):
    """Why a record of `captions` was not counted."""

    MALFORMED = "malformed"
    REPEAT = "repeat"  # counted before: by its place on the log, or by its caption id
    LATE = "late"  # from before the hour that is kept
    AHEAD = "ahead"  # from the future


@dataclass(frozen=True)
class Changes:
    """What a batch of records changed, as messages to be written."""

    rows: tuple[m.CaptionRates, ...] = ()
    anomalies: tuple[m.Anomaly, ...] = ()
    answers: tuple[m.Answer, ...] = ()
    skipped: tuple[Skipped, ...] = ()


class Watch:
    """Counts every answer once, though the log may show it more than once, and says what stands out.

    Every row names how far it was read, by partition, so that a restart counts none of its answers again and
    misses none. An answer whose transaction was aborted and done again is known by its caption id, as far back
    as the memory of this process goes.
    """

    def __init__(self, settings: MonitorSettings | None = None, clock: Clock = utc_now) -> None:
        self._rules = rules(settings or MonitorSettings())
        self._clock = clock
        self.rows: dict[bytes, m.CaptionRates] = {}
        self.standing: dict[bytes, m.Anomaly] = {}
        self.newest: datetime | None = None
        self._counted = Answers(MOST_REMEMBERED)
        self._texts = Texts()

    def restore(self, rows: Iterable[m.CaptionRates], anomalies: Iterable[m.Anomaly]) -> None:
        """Go on from what an earlier process wrote. What this one knows already wins."""
        for row in rows:
            self.rows.setdefault(row.key, row)
            self._has_come_to(row.minute)
        for anomaly in anomalies:
            self.standing.setdefault(anomaly.key, anomaly)
        self._forget()

    def take(self, records: Sequence[Record]) -> Changes:
        """Count the records of `captions`, and judge every profile that got an answer."""
        before = dict(self.rows)
        taken = [self._take_one(record) for record in records]
        answers = tuple(answer for answer in taken if isinstance(answer, m.Answer))
        anomalies = tuple(self._judge_all({answer.event.profile for answer in answers}))
        changed = tuple(row for key, row in self.rows.items() if row is not before.get(key))
        self._forget()
        return Changes(changed, anomalies, answers, tuple(why for why in taken if isinstance(why, Skipped)))

    def measures(self) -> Mapping[tuple[m.AnomalyKind, Profile], float | None]:
        """Every measure of the last minutes, by kind and profile; None where too few answers came."""
        found: dict[tuple[m.AnomalyKind, Profile], float | None] = {}
        for profile in {row.profile for row in self.rows.values()}:
            window, reference = self._windows(profile)
            for rule in self._rules:
                found[rule.kind, profile] = measured(rule, window, reference) if window else None
        return found

    def _take_one(self, record: Record) -> m.Answer | Skipped:
        now = self._clock()
        if record.appended_at <= now - KEPT:  # years of a topic are passed over without a look at them
            return Skipped.LATE
        try:
            answer = codec.decode(record)
        except codec.Malformed:
            return Skipped.MALFORMED
        assert isinstance(answer, m.Answer)
        if answer.answered_at > now + AHEAD:
            return Skipped.AHEAD
        return Skipped.LATE if answer.answered_at <= now - KEPT else self._count(answer, record)

    def _count(self, answer: m.Answer, record: Record) -> m.Answer | Skipped:
        new = empty(minute_of(answer.answered_at), answer.event.profile)
        row = self.rows.get(new.key, new)
        if record.offset < row.read_to.get(record.partition, 0):
            return Skipped.REPEAT
        repeat = self._counted.has(answer.caption_id)
        if not repeat:
            self._counted.add(answer.caption_id, answer.event_digest)
            self._has_come_to(answer.answered_at)
            row = counted(row, answer, self._is_repeated(answer))
        read_to = {**row.read_to, record.partition: record.offset + 1}
        self.rows[row.key] = row.model_copy(update={"read_to": read_to})
        return Skipped.REPEAT if repeat else answer

    def _is_repeated(self, answer: m.Answer) -> bool:
        return (
            isinstance(answer, m.CaptionPublished) and describes(answer) and self._texts.had_elsewhere(answer)
        )

    def _judge_all(self, profiles: Iterable[Profile]) -> Iterable[m.Anomaly]:
        for profile in sorted(profiles):
            window, reference = self._windows(profile)
            for rule in self._rules if window else ():
                assert window is not None and self.newest is not None
                standing = self.standing.get(f"{rule.kind}/{profile}".encode())
                anomaly = judged(rule, window, reference, standing, self.newest)
                if anomaly is not None:
                    self.standing[anomaly.key] = anomaly
                    yield anomaly

    def _windows(self, profile: Profile) -> tuple[m.CaptionRates | None, m.CaptionRates | None]:
        """The last minutes and the hour before them, in the time of the answers themselves."""
        if self.newest is None:
            return None, None
        now, rows = minute_of(self.newest), self.rows.values()
        return (
            merged(between(rows, profile, now - WINDOW, now)),
            merged(between(rows, profile, now - KEPT, now - WINDOW)),
        )

    def _has_come_to(self, moment: datetime) -> None:
        self.newest = moment if self.newest is None else max(self.newest, moment)

    def _forget(self) -> None:
        if self.newest is not None:
            oldest = minute_of(self.newest) - KEPT + MINUTE
            self.rows = {key: row for key, row in self.rows.items() if row.minute >= oldest}
