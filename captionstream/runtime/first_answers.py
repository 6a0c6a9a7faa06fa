"""At most one answer for each event: what was answered is remembered beside the answers themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import structlog

from captionstream.contracts import codec
from captionstream.contracts.identity import caption_id
from captionstream.contracts.record import Outgoing, Record
from captionstream.runtime.advance import Advance, fields_of, is_partial
from captionstream.runtime.message_log import Lane
from captionstream.telemetry import metrics

log = structlog.get_logger()


class FirstAnswers:
    """The work of the publishing lane: passes over what is answered, and adds a marker to every answer."""

    def __init__(self, lane: Lane, advance: Advance) -> None:
        self._lane = lane
        self._advance = advance

    async def __call__(self, record: Record) -> AsyncIterator[Outgoing]:
        fields = fields_of(record)
        caption, event_digest = caption_id(fields["event"]), fields["event_digest"]
        if self._lane.answers.has(caption):
            self._note_duplicate(record, caption, event_digest)
            return
        answered = False
        async for outgoing in self._advance(record):
            answered = answered or not outgoing.partial
            yield outgoing
        if answered:
            self._lane.answers.add(caption, event_digest)
            yield codec.marker(caption, event_digest, self._advance.stage.name)

    def _note_duplicate(self, record: Record, caption: str, event_digest: str) -> None:
        if is_partial(record):
            return
        conflict = self._lane.answers.conflicts(caption, event_digest)
        metrics.DUPLICATES.labels("conflict" if conflict else "repeat").inc()
        if conflict:
            log.warning("same event id, another body; the first answer stands", caption_id=caption)
