"""The highest safe rate is found within its bounds, and what is in the way is named."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from captionstream.bench import safe_rate
from captionstream.bench.safe_rate import NoFrames, Step
from captionstream.cli.bench import milliseconds


def step(rate: float, p95: float, answered: int = 10, **parts: dict[str, float]) -> Step:
    return Step(rate, p95, answered, 10, parts.get("waited", {}), parts.get("worked", {}), {})


class Machine:
    """Answers in 100 ms up to `limit` a second, and ever later above it."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.tried: list[float] = []

    async def attempt(self, rate: float) -> Step:
        self.tried.append(rate)
        return step(rate, 100.0 if rate <= self.limit else 9000.0)


@pytest.mark.parametrize("limit", [0.07, 0.3, 0.5, 3.0, 51.0, 400.0])
async def test_the_search_closes_in_from_below(limit: float) -> None:
    """What is found is safe, and a tenth more is not, whether the limit lies below or above the first rate."""
    machine = Machine(limit)
    found = await safe_rate.highest(machine.attempt, 500)
    assert found.rate is not None
    assert 0.9 * limit < found.rate <= limit
    assert len(machine.tried) < 16
    assert found.last.rate > limit


async def test_the_search_ends_on_a_machine_without_limits() -> None:
    """At the highest rate that is tried at all; and on one that is never in time, with none."""
    assert safe_rate.MOST_RATE == (await safe_rate.highest(Machine(1e9).attempt, 500)).rate
    assert None is (await safe_rate.highest(Machine(0.0).attempt, 500)).rate


def test_what_is_not_answered_is_not_safe() -> None:
    """However quick the other answers were."""
    assert (True, False) == (step(1, 100).safe(500), step(1, 100, answered=9).safe(500))
    assert not step(1, 501).safe(500)


def test_the_bottleneck_is_where_events_queue() -> None:
    """Else where most of the work is."""
    waited, worked = {"ingest": 5.0, "encoder": 4000.0, "safety": 9.0}, {"generator": 600.0, "encoder": 300.0}
    assert "encoder" == step(1, 1, waited=waited, worked=worked).bottleneck
    assert "generator" == step(1, 1, waited={"ingest": 5.0}, worked=worked).bottleneck


def test_frames_come_again_as_other_pictures(tmp_path: Path) -> None:
    """Each file as it is; then with a mark, since the platform would know it."""
    objects = tmp_path / "objects"
    objects.mkdir()
    for name, colour in (("a.png", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (64, 48), colour).save(tmp_path / name)
    files = safe_rate.frames(tmp_path)
    names = [str(event.image.object_key) for event in islice(safe_rate.events(files, objects), 6)]
    assert ["frame-0.png", "frame-1.jpg", "frame-2.jpg"] == names[:3]
    assert (tmp_path / "a.png").read_bytes() == (objects / "frame-0.png").read_bytes()
    assert 6 == len({(objects / name).read_bytes() for name in names})


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    """Instead of a search over nothing."""
    with pytest.raises(NoFrames):
        safe_rate.frames(tmp_path)


@pytest.mark.parametrize(("text", "value"), [("500ms", 500.0), ("2s", 2000.0), ("1.5", 1500.0)])
def test_a_limit_is_read(text: str, value: float) -> None:
    """With its unit, or in seconds."""
    assert value == milliseconds(text)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "0ms", "inf", "nan"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    """With what it looks like."""
    with pytest.raises(ValueError, match="500ms or 2s"):
        milliseconds(text)
