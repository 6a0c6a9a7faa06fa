"""Every metric, defined once with its meaning. Labels never hold ids of images, events or tenants."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)

MESSAGES = Counter("captionstream_messages", "Messages that a stage sent on, by type.", ("stage", "type"))
REFUSALS = Counter(
    "captionstream_refusals", "Records that a stage could not carry on, by reason.", ("stage", "reason")
)
WORK_SECONDS = Histogram(
    "captionstream_work_seconds", "Work of one stage on one record.", ("stage",), buckets=SECONDS
)
WAIT_SECONDS = Histogram(
    "captionstream_wait_seconds",
    "From the append of a record to the start of work on it.",
    ("stage",),
    buckets=SECONDS,
)
IN_FLIGHT = Gauge("captionstream_in_flight", "Records in work in this process.", ("stage",))
OLDEST_SECONDS = Gauge("captionstream_oldest_work_seconds", "Age of the oldest record in work.", ("stage",))
WAITING = Gauge(
    "captionstream_waiting_for_engine", "Records that wait for an engine that is away.", ("stage",)
)
ASSIGNED = Gauge("captionstream_assigned_partitions", "Partitions that this process owns.", ("stage",))
DUPLICATES = Counter(
    "captionstream_duplicates", "Events that already had their answer: same or another body.", ("kind",)
)
CACHE = Counter(
    "captionstream_encoding_cache", "Look-ups in the encoder's cache by image digest.", ("result",)
)
DECISIONS = Counter("captionstream_decisions", "Safety decisions.", ("decision", "profile"))
FINDINGS = Counter("captionstream_findings", "What the safety checks saw, by rule.", ("check", "rule"))
ANSWER_SECONDS = Histogram(
    "captionstream_answer_seconds",
    "From the append of an image event to its answer.",
    ("outcome",),
    buckets=SECONDS,
)
DRAFTS = Counter(
    "captionstream_drafts", "Drafts by writer, and whether the scene supported them.", ("writer", "result")
)
ENGINE_SECONDS = Histogram(
    "captionstream_engine_seconds",
    "One request to an outside engine, by model.",
    ("engine", "model"),
    buckets=SECONDS,
)
