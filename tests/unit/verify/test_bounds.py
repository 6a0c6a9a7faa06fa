"""Every bound can fail, and each failure names itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.verify.results import LEAK, all_met, hostile
from tests.verify.bounds import verdicts

Results = dict[str, dict[str, Any]]
Spoil = Callable[[Results], object]


def test_results_as_they_should_be_meet_all() -> None:
    """Nothing is judged wrong that is right."""
    assert [] == [verdict for verdict in verdicts(all_met()) if not verdict.met]


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("pictures", lambda r: r["pictures"].update(pictures=499)),
        ("events without an answer", lambda r: r["pictures"]["wrong"].update(lost=["picture-2"])),
        ("events answered twice", lambda r: r["pictures"]["wrong"].update(doubled=["picture-2"])),
        ("captions of another picture", lambda r: r["soak"]["wrong"].update(mixed_up=["soak-2"])),
        ("streams out of order", lambda r: r["soak"]["wrong"].update(out_of_order=["camera-2"])),
        ("restarts", lambda r: r["pictures"].update(restarts=1)),
        ("restarts", lambda r: r["hostile"].update(restarts=1)),
        ("one picture alone, p95", lambda r: r["pictures"]["alone"].update(seconds={"p95": 5.1})),
        ("memory of all parts at once", lambda r: r["pictures"].update(memory={"ingest": {"pss_mb": 2600}})),
        ("memory of all parts at once", lambda r: r["hostile"].update(memory={"ingest": {"pss_mb": 3600}})),
        ("tuxpaint: named", lambda r: r["evaluation"]["all"]["tuxpaint"].update(named=0.44)),
        ("gcompris: wrong", lambda r: r["evaluation"]["all"]["gcompris"].update(wrong=0.05)),
        ("gcompris: calibration_error", lambda r: r["evaluation"]["all"]["gcompris"].update(calibration_error=0.1)),
        ("tuxpaint: unsupported", lambda r: r["evaluation"]["all"]["tuxpaint"].update(unsupported=0.03)),
        ("tuxpaint: unsupported", lambda r: r["evaluation"]["all"]["tuxpaint"].update(unsupported=None)),
        ("tuxpaint: lint", lambda r: r["evaluation"]["all"]["tuxpaint"].update(lint=0.9)),
        ("images", lambda r: r["hostile"].update(images=2114)),
        ("images without an answer", lambda r: r["hostile"].update(lost=["x.png"])),
        ("images answered twice", lambda r: r["hostile"].update(doubled=["x.png"])),
        ("parts with another process than at the start", lambda r: r["hostile"].update(changed_processes=["ingest"])),
        ("refusals without reason and detail", lambda r: r["hostile"].update(without_reason=["x.png"])),
        ("refused for a fault of ours", lambda r: r["hostile"].update(own_faults=["x.png: internal"])),
        ("refusals that tell a path", lambda r: r["hostile"].update(telling_paths=["x.png"])),
        ("decoders at once over the setting", lambda r: r["hostile"]["decoders"].update(at_once=3)),
        ("largest decoder", lambda r: r["hostile"]["decoders"].update(peak_mb=1100.0)),
        ("slowest decoding", lambda r: r["hostile"].update(decode_ms={"worst": 23_000.0})),
        ("minutes that were sampled", lambda r: r["soak"].update(sampled_minutes=2.0)),
        ("tuxpaint: pictures", lambda r: r["evaluation"]["all"]["tuxpaint"].update(n=20)),
        ("answers of another kind than expected", lambda r: r["soak"].update(unexpected=["soak-1"])),
        ("answers within, p95", lambda r: r["soak"].update(seconds={"p95": 60.0})),
        ("memory of ingest is flat", lambda r: r["soak"]["trends"].update({"memory of ingest": LEAK})),
        ("descriptors of ingest is flat", lambda r: r["soak"]["trends"].update({"descriptors of ingest": LEAK})),
        ("shared memory is flat", lambda r: r["soak"]["trends"].update({"shared memory": LEAK})),
    ],
)  # fmt: skip
def test_each_bound_can_fail(what: str, spoil: Spoil) -> None:
    """One thing is spoilt, and that bound alone is missed."""
    results = all_met()
    spoil(results)
    assert [what] == [verdict.what for verdict in verdicts(results) if not verdict.met]


def test_steps_that_were_not_done_are_not_judged() -> None:
    """Neither met nor missed."""
    assert {"hostile"} == {verdict.step for verdict in verdicts({"hostile": hostile()})}
