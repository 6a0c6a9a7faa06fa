"""The page that the demo writes, with one figure of each kind, opened by a real browser that has no network."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from captionstream.cli.answers import as_line
from captionstream.cli.demo_page import write_page
from captionstream.cli.demo_pictures import DemoPicture
from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.topics import CAPTIONS
from tests.browser.conftest import Opened
from tests.unit.contracts.records import EXAMPLES, files, record_of


def picture_of(name: str) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (60, 40), "saddlebrown").save(target, "PNG")
    return b"not a picture" if name == "CaptionRefused" else target.getvalue()


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    """Published, held and refused as the examples are, a decoration, and one without an answer."""
    results = []
    for path in files(EXAMPLES / CAPTIONS.name):
        answer = codec.decode(record_of(path))
        assert isinstance(answer, m.Answer)
        results.append((DemoPicture(path.stem, picture_of(path.stem)), as_line(answer, path.stem)))
    published = next(line for _, line in results if line["text"])
    decoration = (DemoPicture("a decoration", picture_of("")), {**published, "text": ""})
    write_page(
        tmp_path / "demo.html",
        [*results, decoration, (DemoPicture("lost", picture_of("")), None)],
        {"pictures": "5"},
    )
    return tmp_path / "demo.html"


def test_the_captions_are_the_pictures_alternative_texts(opened: Opened, page_file: Path) -> None:
    """What is read aloud is what was published; a decoration stays silent, a broken file is no picture."""
    opened.page.goto(page_file.as_uri())
    texts = opened.page.eval_on_selector_all("img", "nodes => nodes.map(node => node.alt)")
    assert ["", "Brown Egyptian cat.", "", ""] == texts
    assert 5 == opened.page.locator("figure").count()
    assert all(opened.page.eval_on_selector_all("img", "nodes => nodes.map(node => node.naturalWidth > 0)"))
    assert ["not a picture"] == opened.page.locator(".none").all_inner_texts()


def test_the_demos_page_loads_nothing(opened: Opened, page_file: Path) -> None:
    """Pictures are in the file."""
    opened.page.goto(page_file.as_uri())
    assert [page_file.as_uri()] == [url for url in opened.asked if not url.startswith("data:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_on_the_demos_page_is_in_the_way_of_a_reader(
    opened: Opened, page_file: Path, scheme: str
) -> None:
    """axe-core finds nothing: contrast, headings, landmarks, names."""
    opened.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    opened.page.goto(page_file.as_uri())
    assert [] == opened.violations()
