"""The figures as a person reads them in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from captionstream.contracts.clean import one_line
from captionstream.evaluation.judgement import Judgement, Outcome
from captionstream.evaluation.measures import Difference

COLUMNS = {
    "n": "n", "named": "named", "vague": "vague", "wrong": "wrong", "hedged_wrong": "hedged wrong",
    "abstained": "abstained", "calibration_error": "calib. error", "unsupported": "unsupported", "lint": "lint ok",
}  # fmt: skip
WORST = 6
WIDTH = 110


def as_text(told: Mapping[str, Mapping[str, Any]], judgements: Mapping[str, Sequence[Judgement]]) -> str:
    """One line a set, then the worst cases and the times."""
    width = max(len("set"), *(len(name) for name in told))
    head = "  ".join(["set".ljust(width), *(title.rjust(cell_width(title)) for title in COLUMNS.values())])
    lines = [head]
    for name, figures in told.items():
        cells = (cell(key, figures[key]).rjust(cell_width(title)) for key, title in COLUMNS.items())
        lines.append("  ".join([name.ljust(width), *cells]))
    notes = [note for name, figures in told.items() for note in notes_of(name, figures)]
    worst = [line for name, found in judgements.items() for line in worst_of(name, found)]
    return "\n".join([*lines, "", *worst, *([""] if worst else []), *notes])


def cell_width(title: str) -> int:
    return max(len(title), len("100.0 %"))


def cell(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    if key == "n":
        return str(value)
    return f"{value:.3f}" if key == "calibration_error" else f"{100 * value:.1f} %"


def worst_of(name: str, judgements: Sequence[Judgement]) -> list[str]:
    """The surest of what is false, then what nothing supports."""
    wrong = sorted((j for j in judgements if j.category == "wrong"), key=lambda j: -(j.confidence or 0))
    bold = [j for j in judgements if j.unsupported]
    lines = [
        f"wrong        {j.file}: {j.text} [{j.confidence:.2f}] not {', '.join(j.accepted)}"
        for j in wrong[:WORST]
    ]
    lines += [f"unsupported  {j.file}: {j.text} ({'; '.join(j.unsupported)})" for j in bold[:WORST]]
    lost = [j for j in judgements if j.outcome is not Outcome.PUBLISHED]
    lines += [f"{j.outcome:<12} {j.file}: {j.reason}" for j in lost[:WORST]]
    return [shortened(one_line(f"{name}  {line}")) for line in lines]


def shortened(line: str) -> str:
    return line if len(line) <= WIDTH + 40 else line[: WIDTH + 39] + "…"


def notes_of(name: str, figures: Mapping[str, Any]) -> list[str]:
    lines = []
    counted = {key: figures[key] for key in ("held", "refused", "unanswered", "missing") if figures[key]}
    if counted:
        told = ", ".join(f"{value} {key}" for key, value in counted.items())
        lines.append(
            f"{name}: {told} (what has no caption counts as abstained; missing pictures are not in n)"
        )
    if figures["lint_failures"]:
        lines.append(f"{name}: alt-text rules broken: {pairs(figures['lint_failures'])}")
    if figures.get("sentences"):
        scores = figures["sentences"]
        lines.append(f"{name}: " + ", ".join(f"{key} {number(value)}" for key, value in scores.items()))
    if figures["latency_ms"]:
        lines.append(f"{name}: {times(figures['latency_ms'])}")
    if figures["cpu_s"] and figures["n"]:
        each = {key: f"{1000 * value / figures['n']:.0f} ms" for key, value in figures["cpu_s"].items()}
        lines.append(f"{name}: {figures['seconds']} s; CPU a picture: {pairs(each)}")
    return lines


def pairs(found: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in found.items())


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def times(latency: Mapping[str, Mapping[str, float]]) -> str:
    worked = ", ".join(
        f"{stage} {each['worked_p50']:g}/{each['worked_p95']:g}"
        for stage, each in latency.items()
        if stage != "total"
    )
    total = latency["total"]
    return f"work p50/p95 in ms: {worked}; with waiting {total['whole_p50']:g}/{total['whole_p95']:g}"


def differences_as_text(name: str, found: Sequence[Difference]) -> str:
    """Points of percent, with the interval; a star where it leaves out zero."""
    lines = [f"{name}: change against the saved run (95 % interval, pictures in both)"]
    for each in found:
        if each.difference is None:
            lines.append(f"  {each.name:<18} –")
            continue
        bounds = (
            ""
            if each.low is None or each.high is None
            else f" [{100 * each.low:+.1f}, {100 * each.high:+.1f}]"
        )
        star = " *" if each.certain else ""
        lines.append(
            f"  {each.name:<18} {cell(each.name, each.before)} → {cell(each.name, each.after)}"
            f"  {100 * each.difference:+.1f}{bounds}{star}"
        )
    return "\n".join(lines)
