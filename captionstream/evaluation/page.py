"""The report: one HTML page, no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from captionstream.evaluation.judgement import Judgement, Outcome
from captionstream.evaluation.measures import BINS, Bin, bins
from captionstream.evaluation.run import Run
from captionstream.evaluation.tables import COLUMNS, cell, notes_of

THUMBNAIL = (320, 240)
MOST = 200  # pictures a page; the worst come first


@dataclass(frozen=True)
class Illustrated:
    """A judgement with the means to read its picture."""

    set: str
    judgement: Judgement
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Shown:
    """One figure of the page."""

    set: str
    judgement: Judgement
    faults: tuple[str, ...]
    thumbnail: str | None


def page(run: Run, told: Mapping[str, Mapping[str, Any]], found: Sequence[Illustrated]) -> str:
    """All the figures, the calibration, and the pictures that something is wrong with, the worst first."""
    bad = sorted((each for each in found if faults(each.judgement)), key=gravity)
    environment = Environment(
        loader=PackageLoader("captionstream.evaluation", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html").render(
        run=run,
        columns=COLUMNS,
        rows=[(name, [cell(key, figures[key]) for key in COLUMNS]) for name, figures in told.items()],
        notes=[note for name, figures in told.items() for note in notes_of(name, figures)],
        plots=[(name, plot(bins(judgements)), bins(judgements)) for name, judgements in run.sets.items()],
        shown=[Shown(e.set, e.judgement, faults(e.judgement), thumbnail(e.read)) for e in bad[:MOST]],
        left_out=max(0, len(bad) - MOST),
    )


def faults(judgement: Judgement) -> tuple[str, ...]:
    """Everything that is wrong with it, in words; nothing for an honest abstention."""
    found = []
    if judgement.outcome is not Outcome.PUBLISHED:
        found.append(f"{judgement.outcome}: {judgement.reason}")
    if judgement.category in ("wrong", "hedged_wrong"):
        how = "said to be unsure" if judgement.category == "hedged_wrong" else "said for sure"
        found.append(f"wrong name “{judgement.head}”, {how}")
    found += [f"unsupported {claim}" for claim in judgement.unsupported]
    if judgement.lint:
        found.append(f"breaks alt-text rules {', '.join(judgement.lint)}")
    return tuple(found)


def gravity(each: Illustrated) -> tuple[int, float]:
    order = ("wrong", "hedged_wrong")
    place = order.index(each.judgement.category) if each.judgement.category in order else len(order)
    return place, -(each.judgement.confidence or 0.0)


def thumbnail(read: Callable[[], bytes]) -> str | None:
    """A small JPEG as a data URI; None for bytes that are no picture."""
    try:
        with Image.open(io.BytesIO(read())) as opened:
            picture = opened.convert("RGBA")
    except (OSError, ValueError):
        return None
    picture.thumbnail(THUMBNAIL)
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    target = io.BytesIO()
    ground.convert("RGB").save(target, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode()}"


def plot(found: Sequence[Bin]) -> str:
    """Confidence against truth, as an SVG element; the sizes of the dots tell how many captions."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence that is published", ylabel="share that is right"
    )
    axes.plot([0, 1], [0, 1], linestyle="--", color="#666666", linewidth=1)
    total = sum(each.n for each in found) or 1
    axes.bar([each.confidence for each in found], [each.right for each in found], 0.6 / BINS, color="#9db8d9")
    axes.scatter(
        [each.confidence for each in found], [each.right for each in found],
        s=[20 + 400 * each.n / total for each in found], color="#1f4e8c", zorder=3,
    )  # fmt: skip
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()[target.getvalue().index("<svg") :]
