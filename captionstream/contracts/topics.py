"""The one table of topics: who writes, who reads, how it is keyed, how long it stays and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from captionstream.contracts import messages as m
from captionstream.contracts.values import StageName

PARTITIONS = 8  # fixed: every topic is co-partitioned, an event keeps its partition number on its way
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LARGEST_RECORD = 3 * 1024 * 1024  # bytes; a dead letter holds a whole record, base64-encoded
COMPRESSED = {
    "compression.type": "zstd"
}  # by the broker, where only our own services read; base64 gives a quarter
LARGE = {"max.message.bytes": str(LARGEST_RECORD)}


class Outsider(StrEnum):
    PUBLISHERS = "publishers"
    CONSUMERS = "consumers"
    REVIEWERS = "reviewers"
    OPERATORS = "operators"
    AUDITORS = "auditors"


class Watcher(StrEnum):
    """Reads what goes by and writes about it, never to consumers."""

    MONITOR = "monitor"


Party = StageName | Watcher | Outsider
STAGES: tuple[Party, ...] = tuple(StageName)


@dataclass(frozen=True)
class Topic:
    """One row. `messages` are the only types the topic carries; `retention_ms` -1 keeps for ever."""

    name: str
    messages: tuple[type[m.Message], ...]
    writers: tuple[Party, ...]
    readers: tuple[Party, ...]
    key: str
    retention_ms: int
    why: str
    restricted: bool = False
    compacted: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    def kafka_settings(self) -> dict[str, str]:
        cleanup = "compact,delete" if self.compacted else "delete"
        return {
            "cleanup.policy": cleanup,
            "retention.ms": str(self.retention_ms),
            "message.timestamp.type": "LogAppendTime",  # deadlines count from here: no clock but the broker's
            **self.settings,
        }


KEY = "stream_key, else event id"
IMAGE_EVENTS = Topic(
    "image-events",
    (m.ImageSubmitted,),
    (Outsider.PUBLISHERS,),
    (StageName.INGEST, Outsider.AUDITORS),
    KEY,
    7 * DAY_MS,
    "what publishers asked; replayed by auditors",
)
IMAGES_PREPARED = Topic(
    "images-prepared",
    (m.ImagePrepared, m.Refused),
    (StageName.INGEST,),
    (StageName.ENCODER,),
    KEY,
    DAY_MS,
    "one normal form of every image; payloads live at least as long",
    settings=COMPRESSED,
)
IMAGES_ENCODED = Topic(
    "images-encoded",
    (m.ImageEncoded, m.Refused),
    (StageName.ENCODER,),
    (StageName.GENERATOR,),
    KEY,
    DAY_MS,
    "what was seen; a new profile or language needs no second look",
    settings=COMPRESSED,
)
CAPTIONS_DRAFTED = Topic(
    "captions-drafted",
    (m.DraftDelta, m.CaptionDrafted, m.Refused),
    (StageName.GENERATOR,),
    (StageName.SAFETY,),
    KEY,
    DAY_MS,
    "texts that nobody has checked yet: read by safety alone",
    restricted=True,
    settings=COMPRESSED,
)
CAPTIONS = Topic(
    "captions",
    (m.CaptionPublished, m.CaptionHeld, m.CaptionRefused),
    (StageName.SAFETY,),
    (Outsider.CONSUMERS, Outsider.PUBLISHERS, Outsider.AUDITORS, Watcher.MONITOR),
    KEY,
    30 * DAY_MS,
    "exactly one first answer for every event; consumers must read committed",
)
CAPTION_DELTAS = Topic(
    "caption-deltas",
    (m.CaptionDelta,),
    (StageName.SAFETY,),
    (Outsider.CONSUMERS,),
    KEY,
    HOUR_MS,
    "partial text that is already safe; best effort, ended by final or retracted",
)
DRAFTS_HELD = Topic(
    "drafts-held",
    (m.DraftHeld,),
    (StageName.SAFETY,),
    (Outsider.REVIEWERS,),
    KEY,
    30 * DAY_MS,
    "what a reviewer needs to decide about a held caption",
    restricted=True,
    settings=LARGE,
)
DEAD_LETTERS = Topic(
    "dead-letters",
    (m.DeadLetter,),
    STAGES,
    (Outsider.OPERATORS,),
    KEY,
    30 * DAY_MS,
    "what broke, with its bytes, for operators",
    restricted=True,
    settings=LARGE,
)
CAPTION_MARKERS = Topic(
    "caption-markers",
    (m.CaptionMarker,),
    (StageName.SAFETY,),
    (StageName.SAFETY,),
    "caption id",
    7 * DAY_MS,
    "which events have their answer: the dedupe horizon of seven days",
    compacted=True,
)
CAPTION_RATES = Topic(
    "caption-rates",
    (m.CaptionRates,),
    (Watcher.MONITOR,),
    (Watcher.MONITOR, Outsider.OPERATORS),
    "minute/profile",
    DAY_MS,
    "how answers went, minute by minute: the monitor's memory, and what `status` shows",
    compacted=True,
    settings={"segment.ms": str(HOUR_MS // 6)},  # the open segment is never compacted; a restart reads it all
)
ALERTS = Topic(
    "alerts",
    (m.AnomalyRaised, m.AnomalyCleared),
    (Watcher.MONITOR,),
    (Watcher.MONITOR, Outsider.OPERATORS),
    "kind/profile",
    30 * DAY_MS,
    "once for every onset and once for every end of an anomaly; the last of a key is how things stand",
    compacted=True,
    settings={"min.compaction.lag.ms": str(7 * DAY_MS)},  # the history of a week is kept whole
)

TOPICS: tuple[Topic, ...] = (
    IMAGE_EVENTS, IMAGES_PREPARED, IMAGES_ENCODED, CAPTIONS_DRAFTED, CAPTIONS,
    CAPTION_DELTAS, DRAFTS_HELD, DEAD_LETTERS, CAPTION_MARKERS, CAPTION_RATES, ALERTS,
)  # fmt: skip
BY_NAME = {topic.name: topic for topic in TOPICS}


class NoSuchRoute(Exception):
    """A party tried to write a message that the table does not let it write."""


def topic_for(writer: Party, message: type[m.Message]) -> Topic:
    """The one topic on which `writer` may write `message`. Raises NoSuchRoute."""
    rows = [topic for topic in TOPICS if message in topic.messages and writer in topic.writers]
    if len(rows) != 1:
        raise NoSuchRoute(f"{writer} may not write {message.__name__}")
    return rows[0]


def input_of(stage: StageName) -> Topic:
    """The topic that a stage works through."""
    return next(topic for topic in TOPICS if stage in topic.readers and not topic.compacted)


def markers_of(stage: StageName) -> Topic | None:
    """The topic on which a stage notes what it has answered, if it does."""
    return next((topic for topic in TOPICS if stage in topic.writers and topic.compacted), None)
