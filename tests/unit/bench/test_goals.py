"""A goal is met, missed or not measured, and says so in the table and in the JSON list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captionstream.bench import report
from captionstream.bench.goals import BY_NAME, GOALS, Found, Row, groups_of, rows_of

MACHINE = {
    "cpu": "a processor", "cores": 2, "memory_gib": 24, "load": [0.5], "broker": "a broker", "threads": "1",
    "python": "3.11", "versions": {"numpy": "2"}, "roofline": {
        "sgemm_gflops": 80, "sgemm_gflops_all": 160, "read_gb_s": 16, "read_gb_s_all": 27,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("G8", 2.3, "excellent"), ("G8", 1.8, "must"), ("G8", 1.79, "missed"), ("G8", None, "not measured"),
        ("G5", 1.0, "excellent"), ("G5", 2.0, "must"), ("G5", 2.01, "missed"),
        ("G6", 0.0, "excellent"), ("G6", 1.0, "missed"),
    ],
)  # fmt: skip
def test_a_value_on_the_bar_reaches_it(name: str, value: float | None, met: str) -> None:
    """More is better, or less is, as the goal says; the bar itself is enough."""
    assert met == Row(BY_NAME[name], Found(name, value)).met


def test_nothing_measured_is_never_met() -> None:
    """A goal that no measurement reported is in the list, with a reason."""
    rows = rows_of({}, groups_of("G3"))
    assert [("G3 p50", "not measured"), ("G3 p99", "not measured")] == [(r.goal.name, r.met) for r in rows]
    assert all(row.as_json()["reason"] for row in rows)


def test_goals_are_chosen_by_their_group() -> None:
    """Lower case and spaces do; a goal that there is not is named beside those that there are."""
    assert {"G3", "G12"} == groups_of(" g3, G12")
    assert {goal.name.split()[0] for goal in GOALS} == groups_of("")
    with pytest.raises(ValueError, match=r"G99: there are G1, G2"):
        groups_of("G3,G99")


def test_the_excellent_bar_is_never_easier() -> None:
    """In every row of the table."""
    assert [] == [goal.name for goal in GOALS if goal.met_by(goal.excellent) != "excellent"]
    assert [] == [g.name for g in GOALS if (g.excellent > g.must if g.smaller else g.excellent < g.must)]


def test_the_list_on_disk_has_every_goal_with_its_bars(tmp_path: Path) -> None:
    """goal, value, must, excellent and met for each; a profile where one is missed; and a picture of it."""
    rows = rows_of(
        {"G8": Found("G8", 1.2, (1.1, 1.3), 5, {"kl": 0.04}, profile="matmul 90 %")}, groups_of("G8,G12")
    )
    listed, plot = report.write(rows, MACHINE, tmp_path)
    told = {row["goal"]: row for row in json.loads(listed.read_text())}
    assert (1.2, 1.8, 2.3, "missed", "matmul 90 %") == tuple(
        told["G8"][name] for name in ("value", "must", "excellent", "met", "profile")
    )
    assert (None, "not measured") == (told["G12"]["value"], told["G12"]["met"])
    assert b"\x89PNG" == plot.read_bytes()[:4]


def test_the_table_shows_accuracy_beside_a_speed() -> None:
    """And what a miss is made of, and why something was not measured."""
    found = {"G8": Found("G8", 1.2, (1.1, 1.3), 5, {"kl": 0.04}, profile="matmul 90 %")}
    text = report.as_text(rows_of(found, groups_of("G8,G12")), MACHINE)
    assert [] == [
        part for part in ("✗  G8", "kl 0.04", "matmul 90 %", "G12 was not measured") if part not in text
    ]
