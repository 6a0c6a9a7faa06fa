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
LAG_RECORDS = Gauge(
    "captionstream_consumer_lag_records",
    "Records on the owned partitions that are appended and not acknowledged yet.",
    ("stage",),
)
LAG_SECONDS = Gauge(
    "captionstream_consumer_lag_seconds",
    "Since the append of the oldest record that was taken and not acknowledged yet.",
    ("stage",),
)
READY = Gauge(
    "captionstream_ready", "Whether a condition of readiness holds (1) or not (0).", ("stage", "condition")
)
ASSIGNED = Gauge("captionstream_assigned_partitions", "Partitions that this process owns.", ("stage",))
DUPLICATES = Counter(
    "captionstream_duplicates", "Events that already had their answer: same or another body.", ("kind",)
)
for kind in ("repeat", "conflict"):
    DUPLICATES.labels(kind)  # there from the start: the first of a kind is an increase, too
DECODER_DEATHS = Counter(
    "captionstream_decoder_deaths", "Decoding processes that ended in the middle of an image."
)
REUSE = Counter(
    "captionstream_reuse",
    "Work that was asked for: miss (done), hit (kept from before) or joined (under way for somebody else).",
    ("work", "result"),
)
KEPT_BYTES = Gauge("captionstream_reuse_bytes", "Results that are kept to be used again.", ("work",))
SPLIT_EVENTS = Counter(
    "captionstream_split_model_events",
    "Events given to a split model, by its name on Triton and what it was named as: production or canary.",
    ("model", "alias"),
)
GATE = Gauge(
    "captionstream_generator_kl_from_fp32",
    "Divergence of a loaded (serves=yes) or refused language graph from fp32 on this CPU, in nats a token.",
    ("recipe", "serves"),
)
DECISIONS = Counter("captionstream_decisions", "Safety decisions.", ("decision", "profile"))
FINDINGS = Counter("captionstream_findings", "What the safety checks saw, by rule.", ("check", "rule"))
ANSWER_SECONDS = Histogram(
    "captionstream_answer_seconds",
    "From the append of an image event to its answer.",
    ("outcome",),
    buckets=SECONDS,
)
ENGINE_SECONDS = Histogram(
    "captionstream_engine_seconds",
    "One request to an outside engine, by model.",
    ("engine", "model"),
    buckets=SECONDS,
)
WATCHED_ANSWERS = Counter(
    "captionstream_watched_answers", "Answers that the monitor counted, each once.", ("profile", "outcome")
)
WATCHED_SKIPPED = Counter(
    "captionstream_watched_skipped",
    "Records of captions that the monitor did not count, by reason.",
    ("why",),
)
ANOMALY_MEASURE = Gauge(
    "captionstream_anomaly_measure",
    "Refusal and repetition share, stability index of confidence, seconds at the 95th percentile: over the last "
    "five minutes that had answers; NaN while there are too few.",
    ("kind", "profile"),
)
ANOMALY_STANDING = Gauge("captionstream_anomaly_standing", "1 from onset to end.", ("kind", "profile"))
ANOMALIES = Counter("captionstream_anomalies", "Anomalies raised and cleared.", ("kind", "profile", "change"))
