"""G16: the gate at load takes a good 8-bit graph and refuses the broken one, on this processor, by its own limits."""

from __future__ import annotations

from pathlib import Path

from captionstream.bench import model
from captionstream.bench.goals import Found
from captionstream.bench.workplace import workplace
from services.generator.prefix import gate
from services.generator.prefix.gate import Limits, Verdict

BROKEN, GOOD = "broken8", "blocks8"


def measure(folder: Path) -> dict[str, Found]:
    with workplace() as work:
        broken, good = verdict(folder, BROKEN, work), verdict(folder, GOOD, work)
    details = {
        "serves_instead": broken.recipe, "refused": [str(near) for near in broken.refused],
        "taken": str(good.serving),
    }  # fmt: skip
    right = broken.recipe == "fp32" and bool(broken.refused) and good.recipe == GOOD
    return {"G16": Found("G16", float(right), details=details, profile="" if right else str(details))}


def verdict(folder: Path, recipe: str, work: Path) -> Verdict:
    """What the gate says when `recipe` is the first to be tried and fp32 the last."""
    serving = model.serving_with(folder / "serving", recipe, work)
    return gate.opened(serving, model.SLOTS, model.ROOM, 1, Limits())[1]
