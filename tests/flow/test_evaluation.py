"""`captionstream eval` as people run it: real models in one process, on pictures that the test draws."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

KEYS = [
    "n", "named", "vague", "wrong", "hedged_wrong", "abstained", "calibration_error", "unsupported", "lint",
]  # fmt: skip


def draw(folder: Path) -> None:
    """A ball on white, a text on white, and something that is no picture."""
    ball = Image.new("RGB", (240, 240), "white")
    ImageDraw.Draw(ball).ellipse((50, 50, 190, 190), fill=(230, 120, 30))
    ball.save(folder / "ball.png")
    page = Image.new("RGB", (400, 120), "white")
    ImageDraw.Draw(page).text((20, 30), "WAY OUT", fill="black", font_size=60)
    page.save(folder / "sign.png")
    (folder / "broken.png").write_bytes(b"not a picture")


def evaluate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "captionstream", "eval", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=110,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    draw(folder)
    labelled = [
        ("ball.png", ["ball", "orange", "artifact"]),
        ("sign.png", ["sign:2"]),
        ("broken.png", ["dog"]),
    ]
    lines = [json.dumps({"file": file, "subject": subject}) for file, subject in labelled]
    (folder / "other.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    yield evaluate(folder, "other.jsonl", "-o", "json", "--save", "run.json", "--report", "report.html")


def test_a_file_of_labels_is_measured_as_json(first: subprocess.CompletedProcess[str]) -> None:
    """Nothing but JSON on stdout, by set, with every figure; the shares make up the whole."""
    assert 0 == first.returncode, first.stderr
    told: dict[str, dict[str, Any]] = json.loads(first.stdout)
    assert ["other.jsonl"] == list(told)
    figures = told["other.jsonl"]
    assert KEYS == list(figures)[: len(KEYS)]
    assert (3, 1, 0) == (figures["n"], figures["refused"], figures["missing"])
    assert pytest.approx(1.0, abs=0.001) == sum(figures[key] for key in KEYS[1:6])
    assert figures["abstained"] >= 0.333
    assert {"ingest", "encoder", "generator", "safety", "total"} == set(figures["latency_ms"])
    assert figures["cpu_s"]["process"] > 0


def test_a_run_is_kept_and_shown(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    """Every judgement is saved with its text; the report shows the refused picture with its reason."""
    saved = json.loads((folder / "run.json").read_text())["sets"]["other.jsonl"]
    assert {"ball.png", "sign.png", "broken.png"} == {each["file"] for each in saved}
    texts = {each["file"]: each["text"] for each in saved}
    assert "WAY OUT" in texts["sign.png"].upper()
    report = (folder / "report.html").read_text()
    assert "refused: undecodable" in report


def test_a_second_run_is_compared_and_names_what_is_missing(
    folder: Path, first: subprocess.CompletedProcess[str]
) -> None:
    """A picture that is nowhere is named and counted, and the exit code says that not all was measured."""
    (folder / "more.jsonl").write_text(
        (folder / "other.jsonl").read_text().splitlines()[0] + '\n{"file": "nowhere.png", "subject": ["dog"]}'
    )
    run = json.loads((folder / "run.json").read_text())
    run["sets"] = {"more.jsonl": run["sets"]["other.jsonl"]}
    (folder / "before.json").write_text(json.dumps(run))
    second = evaluate(folder, "more.jsonl", "--against", "before.json", "--pictures", ".")
    assert 1 == second.returncode, second.stderr
    assert "nowhere.png" in second.stderr
    assert "1 missing" in second.stdout
    assert "change against the saved run" in second.stdout
    assert "+0.0" in second.stdout


def test_a_label_that_wordnet_lacks_is_left_out_and_told(folder: Path) -> None:
    """The rest of the set is measured; the exit code says that something was left out."""
    lines = [
        '{"file": "ball.png", "subject": ["Ball", "flying pig"]}',
        '{"file": "sign.png", "subject": ["florb:7"]}',
    ]
    (folder / "odd.jsonl").write_text("\n".join(lines))
    odd = evaluate(folder, "odd.jsonl", "-o", "json")
    figures = json.loads(odd.stdout)["odd.jsonl"]
    assert (1, 1, 2) == (odd.returncode, figures["n"], figures["labels_left_out"])
    assert "flying pig" in odd.stderr and "florb:7" in odd.stderr


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("no layout", "hello"),
        ("no noun sense of ball.png: 'florb:7'", '{"file": "ball.png", "subject": ["florb:7"]}'),
    ],
)
def test_a_file_that_cannot_be_measured_is_wrong_use(folder: Path, told: str, text: str) -> None:
    """Said in a sentence, before any picture is captioned."""
    (folder / "bad.jsonl").write_text(text)
    failed = evaluate(folder, "bad.jsonl")
    assert (2, "") == (failed.returncode, failed.stdout)
    assert told in " ".join(failed.stderr.split())
    assert "Traceback" not in failed.stderr
