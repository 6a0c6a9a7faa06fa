"""Pictures that people reviewed, from a file of reviews to the caption of the next picture; all models are real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from captionstream.contracts import messages as m
from captionstream.contracts.scene import Certainty, Source
from captionstream.contracts.values import ImageReference
from captionstream.runtime.asking import ask
from services.encoder.views import Pixels
from services.generator.reviewed import NAME, OtherEncoder, as_file
from services.generator.settings import GeneratorSettings, WriterKind
from services.pipeline import embedded
from tests.unit.encoder.photographs import astronaut, chelsea, coffee

Finished = subprocess.CompletedProcess[str]
REVIEWS = (
    '{"picture": "coffee.png", "subject": "flat white", "kind": "food"}',
    '{"picture": "astronaut.png", "subject": "orange suit"}',
    "",
    '{"picture": "astronaut.png", "subject": "person"}',
    '{"picture": "cat.png", "subject": "Chelsea"}',
    '{"picture": "coffee.png", "subject": "espresso"}',
    '{"picture": "away.png", "subject": "cat"}',
    '{"picture": "reviews.jsonl", "subject": "cat"}',
    '{"picture": "cat.png"}',
    "not JSON",
)


def command(folder: Path, *arguments: str) -> Finished:
    return subprocess.run(
        [sys.executable, "-m", "captionstream", "reviewed", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=110,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviewed")
    for name, pixels in (("coffee", coffee()), ("astronaut", astronaut()), ("cat", chelsea())):
        cv2.imwrite(str(folder / f"{name}.png"), pixels[..., ::-1])
    (folder / "reviews.jsonl").write_text("\n".join(REVIEWS))
    return folder


@pytest.fixture(scope="module")
def built(folder: Path) -> Finished:
    return command(folder, "build", "reviews.jsonl", "--out", "memory.safetensors")


def another_shot(pixels: Pixels) -> m.ImageSubmitted:
    """The same view as another file: cropped, brighter, compressed."""
    height, width = pixels.shape[:2]
    moved = cv2.convertScaleAbs(pixels[height // 20 :, width // 20 :], alpha=1.1, beta=5)
    _, data = cv2.imencode(".jpg", moved[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return m.ImageSubmitted(id=f"shot-{pixels.shape}", image=ImageReference(inline=data.tobytes()))


async def captions(memory: Path | None, *shots: m.ImageSubmitted) -> list[m.CaptionPublished]:
    """In the order of the shots."""
    told = GeneratorSettings(writer=WriterKind.PLAIN, reviewed=memory)
    async with embedded(generator=told) as log:
        given = {answer.event.id: answer async for answer in ask(log, list(shots), 100)}
    answers = [given[shot.id] for shot in shots]
    assert all(isinstance(answer, m.CaptionPublished) for answer in answers), answers
    return answers  # type: ignore[return-value]


def test_lines_that_cannot_be_taken_are_named_and_counted(built: Finished) -> None:
    """Each by its number, with the reason; the others are remembered, and the exit code tells."""
    told = [line for line in built.stderr.splitlines() if line.startswith("line ")]
    reasons = {
        2: "shows a person",
        5: "'Chelsea' is no common noun",
        6: "the same picture as in line 1",
        7: "away.png: No such file",
        8: "not an image",
        9: "subject: Field required",
        10: "Expecting value",
    }
    assert list(reasons) == [int(line.split(":")[0].removeprefix("line ")) for line in told], built.stderr
    assert all(reason in line for reason, line in zip(reasons.values(), told, strict=True)), told
    assert "2 of 9 pictures are remembered, in memory.safetensors" in built.stderr
    assert (1, "") == (built.returncode, built.stdout)


def test_a_memory_is_listed(built: Finished, folder: Path) -> None:
    """Nouns as data, whose features they are as a remark."""
    shown = command(folder, "show", "memory.safetensors")
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert [["1", "flat white", "food", "-", "-"], ["1", "person", "person", "n00007846", "-"]] == rows
    assert "2 pictures" in shown.stderr and "the encoder of this copy" in shown.stderr
    assert 2 == command(folder, "show", "cat.png").returncode


def test_where_nothing_can_be_taken_nothing_is_written(folder: Path) -> None:
    """A memory that was there before stays."""
    (folder / "names.jsonl").write_text(json.dumps({"picture": "cat.png", "subject": "Chelsea"}))
    (folder / "kept").write_bytes(b"before")
    none = command(folder, "build", "names.jsonl", "--out", "kept")
    assert (1, b"before") == (none.returncode, (folder / "kept").read_bytes())
    assert "0 of 1 pictures are remembered, and nothing was written" in none.stderr


async def test_the_next_picture_of_the_same_gets_the_reviewed_name(built: Finished, folder: Path) -> None:
    """The text, its claim and the provenance say so; off by default, and other pictures are as they were."""
    shots = [another_shot(coffee()), another_shot(chelsea())]
    cup, cat = await captions(None, *shots)
    reviewed, same_cat = await captions(folder / "memory.safetensors", *shots)
    [claim] = [claim for claim in reviewed.claims if claim.kind is m.ClaimKind.OBJECT]
    assert "A flat white." == reviewed.text != cup.text
    assert ("flat white", Source.REVIEWED) == (claim.text, claim.source)
    assert Certainty.SURE is reviewed.scene.things[0].certainty and reviewed.confidence > 0.9
    assert [True, False] == [NAME in names(answer) for answer in (reviewed, same_cat)]
    assert (cat.text, cat.claims, cat.scene) == (same_cat.text, same_cat.claims, same_cat.scene)


def names(answer: m.CaptionPublished) -> list[str]:
    assert answer.provenance is not None
    return [model.name for model in answer.provenance.models]


async def test_the_pipeline_does_not_start_with_a_memory_of_another_encoder(tmp_path: Path) -> None:
    """Before any event is taken."""
    other = as_file([], np.zeros((0, 1280), np.float16), "b" * 64)
    (tmp_path / "other").write_bytes(other)
    with pytest.raises(OtherEncoder):
        await captions(tmp_path / "other")


def test_a_memory_that_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    """What a setting names and nobody finds is wrong use, not a traceback."""
    Image.fromarray(coffee()).save(tmp_path / "picture.png")
    done = subprocess.run(
        [sys.executable, "-m", "captionstream", "caption", str(tmp_path / "picture.png")],
        env={**os.environ, "CAPTIONSTREAM_GENERATOR_REVIEWED": str(tmp_path / "away.safetensors")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert 2 == done.returncode
    assert 1 == len(done.stderr.splitlines()) and "away.safetensors" in done.stderr
