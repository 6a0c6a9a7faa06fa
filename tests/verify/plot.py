"""The soak as one picture: memory by part, descriptors, shared memory, and how the answers kept up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

# Okabe and Ito's colours, which colour-blind people tell apart, and a dash of its own for each line beside them
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#999999", "#7F6A00")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), (0, (5, 2, 1, 2)))


def draw_soak(result: Mapping[str, Any], target: Path) -> None:
    """A PNG of four panels over the same minutes; what lies before the dotted line is warm-up and not judged."""
    curves = result["curves"]
    figure = Figure(figsize=(11, 14), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True, height_ratios=(3, 2, 1, 2))
    draw_lines(panels[0], curves, "memory of ", "Memory (anonymous, MB)")
    draw_lines(panels[1], curves, "descriptors of ", "Open file descriptors")
    draw_shared(panels[2], curves)
    draw_answers(panels[3], curves)
    for panel in panels:
        panel.axvline(curves["minute"][-1] * result["warm_up_share"], color="#555555", linestyle=":")
        panel.grid(alpha=0.3)
    panels[0].set_title(
        f"{result['events']} events in {result['minutes']:g} minutes; left of the dotted line: warm-up"
    )
    panels[-1].set_xlabel("Minutes")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110, metadata={"Software": None})


def draw_lines(panel: Axes, curves: Mapping[str, Any], prefix: str, label: str) -> None:
    """The largest first, each part in the same colour in every panel; a logarithmic scale shows small ones too."""
    found = {
        name.removeprefix(prefix): line for name, line in curves["lines"].items() if name.startswith(prefix)
    }
    looks = dict(zip(sorted(found), zip(COLOURS, DASHES, strict=True), strict=False))
    for name, line in sorted(found.items(), key=lambda item: -max(item[1])):
        colour, dash = looks[name]
        panel.plot(curves["minute"], line, color=colour, linestyle=dash, linewidth=1.6, label=name)
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter("{x:g}")
    panel.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    panel.set_ylabel(label)
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def draw_shared(panel: Axes, curves: Mapping[str, Any]) -> None:
    panel.plot(curves["minute"], curves["lines"]["shared memory"], color=COLOURS[4], label="MB in use")
    panel.plot(
        curves["minute"],
        curves["lines"]["shared memory files"],
        color=COLOURS[5],
        linestyle="--",
        label="files",
    )
    panel.set_ylim(bottom=0)
    panel.set_ylabel("/dev/shm")
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def draw_answers(panel: Axes, curves: Mapping[str, Any]) -> None:
    panel.plot(curves["minute"], curves["open"], color=COLOURS[5], label="events without\nan answer yet")
    panel.plot(
        curves["minute"],
        curves["seconds"],
        color=COLOURS[4],
        linestyle="--",
        label="seconds to answer,\nlast 20",
    )
    per_minute = rates(curves["minute"], curves["answered"])
    panel.plot(curves["minute"], per_minute, color=COLOURS[3], linestyle="-.", label="answers a minute")
    panel.set_ylim(bottom=0)
    panel.set_ylabel("Answers")
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def rates(minutes: list[float], answered: list[float], over: float = 2.0) -> list[float]:
    """Answers a minute, each over the `over` minutes before."""
    found = []
    for now, count in zip(minutes, answered, strict=True):
        first = next(place for place, minute in enumerate(minutes) if minute >= now - over)
        span = now - minutes[first]
        found.append((count - answered[first]) / span if span else 0.0)
    return found
