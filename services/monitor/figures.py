"""What the monitor saw, as metrics."""

from __future__ import annotations

from captionstream.contracts import messages as m
from captionstream.telemetry import metrics
from services.monitor.watch import Changes, Watch


def show(changes: Changes, watch: Watch) -> None:
    for answer in changes.answers:
        metrics.WATCHED_ANSWERS.labels(answer.event.profile, answer.outcome).inc()
    for why in changes.skipped:
        metrics.WATCHED_SKIPPED.labels(why).inc()
    for anomaly in changes.anomalies:
        metrics.ANOMALIES.labels(anomaly.kind, anomaly.profile, change(anomaly)).inc()
    for (kind, profile), value in watch.measures().items():
        standing = watch.standing.get(f"{kind}/{profile}".encode())
        metrics.ANOMALY_STANDING.labels(kind, profile).set(isinstance(standing, m.AnomalyRaised))
        metrics.ANOMALY_MEASURE.labels(kind, profile).set(float("nan") if value is None else value)


def change(anomaly: m.Anomaly) -> str:
    return "raised" if isinstance(anomaly, m.AnomalyRaised) else "cleared"
