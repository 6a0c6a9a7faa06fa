"""What is called a hostile image, how each becomes an event, and how the answers are counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from captionstream.contracts.values import INLINE_IMAGE_LIMIT
from tests.corpora.hostile import HOME, is_image, source_lines_of
from tests.verify.conversation import Answered
from tests.verify.hostile import chosen, event_id, found, kind_of, reference
from tests.verify.measuring import PartFigures, Sample

IMAGES = [HOME / "images" / "libheif" / "libheif-1" / "fuzzing" / "corpus" / f"crash-{n}" for n in range(4)]


@pytest.mark.parametrize(
    ("name", "package", "counts"),
    [
        ("libpng-1.6.39/contrib/testpngs/crashers/bad_iCCP.png", "libpng1.6", True),
        ("libpng-1.6.39/contrib/pngsuite/README", "libpng1.6", False),
        ("libpng-1.6.39/contrib/pngminim/decoder/makefile", "libpng1.6", False),
        ("libheif-1.15.1/fuzzing/corpus/clusterfuzz-testcase-minimized-1", "libheif", True),
        ("libheif-1.15.1/configure", "libheif", False),
        ("exiv2-0.27.6/test/data/poc_2017-12-12_issue188", "exiv2", True),
        ("gdk-pixbuf-2.42.10/tests/test-images/gif-test-suite/four-colors.conf", "gdk-pixbuf", False),
    ],
)  # fmt: skip
def test_images_are_told_by_their_place(name: str, package: str, counts: bool) -> None:
    """Build files of a library are no images, and images of fuzzers have no suffix."""
    assert counts == is_image(name, package)


def test_sources_are_asked_for_where_binaries_come_from() -> None:
    """The machine's own archives, in the form for sources; no address is written down here."""
    stanza = "Types: deb\nURIs: http://a.example/debian\nSuites: one two\nComponents: main\nSigned-By: /k.gpg"
    assert [
        "deb-src [signed-by=/k.gpg] http://a.example/debian one main",
        "deb-src [signed-by=/k.gpg] http://a.example/debian two main",
    ] == list(source_lines_of(stanza))


def test_a_large_image_goes_by_its_key(tmp_path: Path) -> None:
    """Inline as far as a record takes it, then through the store of originals."""
    small, large = bytes(INLINE_IMAGE_LIMIT), bytes(INLINE_IMAGE_LIMIT + 1)
    key = reference(large, tmp_path).object_key
    assert small == reference(small, tmp_path).inline
    assert key and large == (tmp_path / key).read_bytes()


def test_a_trial_takes_images_from_everywhere() -> None:
    """Not the first ones of one package; 0 is all."""
    assert [IMAGES[0], IMAGES[2]] == chosen(IMAGES, 2)
    assert IMAGES == chosen(IMAGES, 0) == chosen(IMAGES, 9)


def answered(
    path: Path, outcome: str = "refused", reason: str = "undecodable", detail: str = "broken"
) -> Answered:
    return Answered(event_id(path), outcome, "", reason, detail, "ingest", "", 0, 0.5, {"ingest": 20.0})


def counted(folder: Path, answers: list[Answered], restarts: int = 0) -> dict[str, object]:
    """`found` over two samples of a stack with one decoder of 90 MB."""
    decoder = PartFigures(1, 40.0, 30.0, 90.0, 6, 1, 3.0)
    lines = [
        Sample(second, {"decoders": decoder}, {"ingest": begun}, True, 0.0, 0, 0.0, 0.0)
        for second, begun in (
            (0.0, 5),
            (60.0, 5 + restarts),
            (0.0, 0),
        )  # the next session's stack is a new one
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines))
    return found(IMAGES, answers, Counter(undecodable=3), [], folder)


def test_every_kind_of_defect_is_counted(tmp_path: Path) -> None:
    """One image is lost, one answered twice, one refused without a detail, one for a fault of ours."""
    answers = [
        answered(IMAGES[0], detail=""), answered(IMAGES[1], reason="internal"), answered(IMAGES[2], "published", ""),
        answered(IMAGES[2], "published", ""),
    ]  # fmt: skip
    result = counted(tmp_path, answers, restarts=1)
    corpus = "libheif/libheif-1/fuzzing/corpus/"
    assert [f"{corpus}crash-3"] == result["lost"]
    assert [f"{corpus}crash-2"] == result["doubled"]
    assert [f"{corpus}crash-0"] == result["without_reason"]
    assert [f"{corpus}crash-1: internal: broken"] == result["own_faults"]
    assert 1 == result["restarts"]
    assert 90.0 == result["decoders"]["peak_mb"]  # type: ignore[index]


def test_refusals_are_counted_by_what_they_say_without_numbers() -> None:
    """`more than 26214400 bytes` and its like are one row of the table."""
    assert "too-large: more than … pixels" == kind_of(
        answered(IMAGES[0], reason="too-large", detail="more than 64000000 pixels")
    )
