"""docs/verification.md and what lies beside it: every figure out of the steps' records, none written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from captionstream.local.installed import Installed
from tests.verify.bounds import verdicts
from tests.verify.flatness import Trend
from tests.verify.plot import draw_soak
from tests.verify.records import Record, Records

DOCS = Installed.here().source / "docs"
STEPS = ("pictures", "evaluation", "hostile", "soak")
SET_FIGURES = (
    "n", "named", "vague", "wrong", "hedged_wrong", "abstained", "calibration_error", "unsupported", "lint",
)  # fmt: skip


def write_report(records: Records, docs: Path = DOCS) -> None:
    """The page, each step's record and the soak's plot; of the steps that have a record."""
    done = {step: record for step in STEPS if (record := records.read(step)) is not None}
    beside = docs / "verification"
    beside.mkdir(parents=True, exist_ok=True)
    for step, record in done.items():
        (beside / f"{step}.json").write_text(json.dumps(asdict(record), indent=1) + "\n")
    if "soak" in done:
        draw_soak(done["soak"].result, beside / "soak.png")
    (docs / "verification.md").write_text(page(done))


def page(done: Mapping[str, Record]) -> str:
    """The report as Markdown; a step without a record has no section."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"listed": listed, "share": share}
    results = {step: record.result for step, record in done.items()}
    return environment.get_template("verification.md.j2").render(
        {step: results.get(step) for step in STEPS},
        records=done,
        machines=machines(done),
        verdicts=verdicts(results),
        sets=sets(results.get("evaluation", {})),
        set_figures=SET_FIGURES,
        soak_words=in_words(results["soak"]) if "soak" in results else {},
    )


def machines(done: Mapping[str, Record]) -> list[tuple[Mapping[str, Any], Mapping[str, str]]]:
    """Those that the steps were done on, each once."""
    found = {
        json.dumps([record.machine, record.versions]): (record.machine, record.versions)
        for record in done.values()
    }
    return list(found.values())


def sets(result: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Half, set, figures."""
    return [(half, name, figures) for half, of_sets in result.items() for name, figures in of_sets.items()]


def in_words(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the plot shows, for those who do not see it."""
    trends = {name: Trend(**found) for name, found in result["trends"].items()}
    memory = {name: one for name, one in trends.items() if name.startswith("memory of ")}
    most = max(memory, key=lambda name: memory[name].end - memory[name].begin)
    return {
        "begin": sum(one.begin for one in memory.values()),
        "end": sum(one.end for one in memory.values()),
        "most": most,
        "most_begin": memory[most].begin,
        "most_end": memory[most].end,
    }


def listed(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def share(value: float | None) -> str:
    """Counts as they are; a dash where nothing could be measured."""
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
