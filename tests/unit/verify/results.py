"""Results of steps as they are when every bound is met; tests break one thing each."""

from __future__ import annotations

from typing import Any

from tests.verify.records import Record

WRONG: dict[str, list[str]] = {"lost": [], "doubled": [], "mixed_up": [], "out_of_order": []}
MOST = {"pss_mb": 200.0, "peak_mb": 220.0, "processes": 2}
TIMES = {"p50": 1.0, "p95": 2.0, "p99": 2.5, "worst": 3.0}
FLAT = {"per_hour": 0.5, "low": -1.0, "high": 2.0, "begin": 100.0, "end": 100.5}
LEAK = {"per_hour": 90.0, "low": 80.0, "high": 100.0, "begin": 100.0, "end": 130.0}
FIGURES = {
    "n": 210, "named": 0.7, "vague": 0.1, "wrong": 0.03, "hedged_wrong": 0.02, "abstained": 0.1,
    "calibration_error": 0.05, "unsupported": 0.01, "lint": 0.99,
}  # fmt: skip


def pictures() -> dict[str, Any]:
    return {
        "pictures": 500, "outcomes": {"published": 500}, "wrong": dict(WRONG),
        "alone": {"pictures": 100, "seconds": TIMES, "work_ms": {"ingest": TIMES}},
        "full": {"pictures": 400, "seconds": 300.0, "per_second": 1.33, "cpu_s_per_picture": {"ingest": 0.04}},
        "memory": {"ingest": MOST}, "restarts": 0,
    }  # fmt: skip


def evaluation() -> dict[str, Any]:
    return {
        half: {"tuxpaint": {**FIGURES, "n": 263}, "gcompris": dict(FIGURES)}
        for half in ("all", "tune", "held-out")
    }


def hostile() -> dict[str, Any]:
    return {
        "images": 2186, "by_source": {"pillow": {"published": 1000, "refused": 1186}},
        "outcomes": {"published": 1000, "refused": 1186}, "details": {"undecodable: truncated": 1186},
        "lost": [], "doubled": [], "without_reason": [], "own_faults": [], "telling_paths": [], "restarts": 0,
        "changed_processes": [], "decode_ms": TIMES,
        "slowest": [{"image": "pillow/slow.png", "ms": 3.0, "outcome": "published"}],
        "dead_letters": {"undecodable": 1186}, "memory": {"ingest": MOST},
        "decoders": {"at_once": 2, "allowed": 2, "peak_mb": 385.0, "allowed_mb": 1073.7}, "minutes": 20.0,
    }  # fmt: skip


def soak() -> dict[str, Any]:
    names = ("memory of ingest", "descriptors of ingest", "shared memory", "shared memory files")
    return {
        "minutes": 30.0, "sampled_minutes": 29.9, "rate": 0.8, "events": 1440, "mix": {"camera": 576},
        "outcomes": {"published": 1200},
        "wrong": dict(WRONG), "unexpected": [], "seconds": TIMES, "open_at_most": 4, "restarts": 0,
        "always_ready": True, "trends": {name: dict(FLAT) for name in names},
        "grown": {"kafka_log_mb": 90.0, "payloads_mb": 300.0}, "warm_up_share": 0.333,
        "curves": {
            "minute": [0.0, 10.0, 20.0, 30.0], "lines": {name: [100.0, 101.0, 100.0, 101.0] for name in names},
            "open": [0, 2, 1, 3], "answered": [0, 480, 960, 1440], "seconds": [0.0, 1.0, 1.1, 1.0],
        },
    }  # fmt: skip


def all_met() -> dict[str, dict[str, Any]]:
    return {"pictures": pictures(), "evaluation": evaluation(), "hostile": hostile(), "soak": soak()}


def record(step: str, result: dict[str, Any]) -> Record:
    machine = {"cores": 2, "processor": "a processor", "memory_gib": 24, "system": "Linux 6"}
    return Record(step, {"minutes": 30.0}, "c0ffee" * 6, False, "2026-11-25T04:00+00:00", 60.0, machine,
                  {"python": "3.11"}, result)  # fmt: skip
