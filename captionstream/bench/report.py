"""One table for people, one JSON list for programs, one plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captionstream.bench.goals import NO_BAR, Row, group

SIGNS = {"excellent": "✓✓", "must": "✓", "missed": "✗", "not measured": "·"}
COLOURS = {"excellent": "#0072B2", "must": "#009E73", "missed": "#D55E00", "not measured": "#999999"}


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [row.as_json() for row in rows]


def as_text(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """The table, then what each missed goal's profile says, then what was not measured and why."""
    table = (line(row) for row in rows)
    return "\n".join([*head(machine), "", *table, *profiles(rows), *tries(rows), *reasons(rows)])


def head(machine: Mapping[str, Any]) -> list[str]:
    roof = machine["roofline"]
    versions = "  ".join(f"{name} {found}" for name, found in machine["versions"].items())
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, load {machine['load'][0]}",
        f"sgemm {roof['sgemm_gflops']} GFLOP/s on one thread, {roof['sgemm_gflops_all']} on all; "
        f"reads {roof['read_gb_s']} GB/s on one thread, {roof['read_gb_s_all']} on all",
        f"broker {machine['broker']}; threads {machine['threads']}",
        f"python {machine['python']}  {versions}",
    ]


def line(row: Row) -> str:
    """`✓  G8           2.1 × (2.0 to 2.2)   must 1.8  excellent 2.3   what it is`"""
    goal, found = row.goal, row.found
    value = "-" if found.value is None else f"{found.value:g} {goal.unit}".strip()
    spread = f"({found.spread[0]:.3g} to {found.spread[1]:.3g})" if found.spread else ""
    bars = f"must {'≤' if goal.smaller else '≥'} {goal.must:g}, excellent {goal.excellent:g}"
    noise = "; near the noise, no bar" if group(goal.name) in NO_BAR else ""
    return (
        f"{SIGNS[row.met]:<2} {goal.name:<14} {value:>10} {spread:<18} {bars:<30} {goal.what}{noise}"
        + told(row)
    )


def told(row: Row) -> str:
    """Accuracy and what else belongs beside a figure."""
    details = "  ".join(f"{name} {value}" for name, value in row.found.details.items())
    return f"\n     {details}" if details else ""


def profiles(rows: Sequence[Row]) -> list[str]:
    missed = [row for row in rows if row.found.profile]
    return [text for row in missed for text in ("", f"{row.goal.name}: where it goes", row.found.profile)]


def tries(rows: Sequence[Row]) -> list[str]:
    return [f"\n{row.goal.name}, what was tried: {row.tried}" for row in rows if row.tried]


def reasons(rows: Sequence[Row]) -> list[str]:
    return [
        f"\n{row.goal.name} was not measured: {row.found.why}" for row in rows if row.met == "not measured"
    ]


def write(rows: Sequence[Row], machine: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """bench.json, a list of goals; bench-machine.json beside it; bench.png. The list and the plot are returned."""
    goals, plot = write_list(rows, folder), folder / "bench.png"
    (folder / "bench-machine.json").write_text(json.dumps(dict(machine), indent=1) + "\n")
    draw(rows, plot)
    return goals, plot


def write_list(rows: Sequence[Row], folder: Path) -> Path:
    """bench.json, in one step: it is written again whenever more was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    goals, begun = folder / "bench.json", folder / "bench.json.begun"
    begun.write_text(json.dumps(as_json(rows), indent=1, ensure_ascii=False) + "\n")
    begun.replace(goals)
    return goals


def draw(rows: Sequence[Row], target: Path) -> None:
    """A bar for each goal: how far it is, where 1 is the least that must be reached and more is better."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.found.value is not None]
    figure = Figure(figsize=(9, 0.4 * max(4, len(shown)) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        [row.goal.name for row in shown], [reached(row) for row in shown],
        color=[COLOURS[row.met] for row in shown],
    )  # fmt: skip
    axes.axvline(1.0, color="#000000", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("of what must be reached (more is better, cut at 3)")
    figure.savefig(target, dpi=110)


def reached(row: Row) -> float:
    value, goal = row.found.value, row.goal
    assert value is not None
    if goal.smaller:
        share = 1.0 + goal.must - value if goal.must == 0 else goal.must / max(value, 1e-9)
    else:
        share = value / goal.must
    return max(0.0, min(3.0, share))
