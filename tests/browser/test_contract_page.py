"""The page of the contracts, opened by a real browser that has no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from captionstream.contracts.description.documents import write
from captionstream.contracts.description.schemas import MESSAGES
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.topics import TOPICS
from tests.browser.conftest import Opened

IDS = "nodes => nodes.map(node => node.id)"


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path / "index.html"


def test_the_page_opens_offline_and_asks_for_nothing_else(opened: Opened, page_file: Path) -> None:
    """One file is all there is to load, also when every fold is opened."""
    opened.page.goto(page_file.as_uri())
    opened.page.eval_on_selector_all("details", "nodes => nodes.forEach(node => { node.open = true })")
    opened.page.wait_for_load_state("networkidle")
    assert [page_file.as_uri()] == [url for url in opened.asked if not url.startswith("data:")]
    assert opened.page.title().endswith(": contracts")
    assert page_file.stat().st_size < 300_000


def test_every_topic_message_and_reason_has_its_place(opened: Opened, page_file: Path) -> None:
    """A reader finds each by its heading, in a section that is named by it."""
    opened.page.goto(page_file.as_uri())
    headings = set(opened.page.eval_on_selector_all("section > h3", IDS))
    assert {f"topic-{topic.name}" for topic in TOPICS} <= headings
    assert {f"message-{message.__name__}" for message in MESSAGES} <= headings
    assert 1 == opened.page.locator("h1").count()
    shown = opened.page.locator("section[aria-labelledby=reasons] tbody th").all_inner_texts()
    assert [str(reason) for reason in RefusalReason] == shown
    restricted = opened.page.locator("section:has(> h3):has(.restricted) > h3").all_inner_texts()
    assert [topic.name for topic in TOPICS if topic.restricted] == restricted


def test_every_link_leads_somewhere(opened: Opened, page_file: Path) -> None:
    """Inside the page to a place that is there, outside of it to a file that lies beside it."""
    opened.page.goto(page_file.as_uri())
    links = set(
        opened.page.eval_on_selector_all("a[href]", "nodes => nodes.map(n => n.getAttribute('href'))")
    )
    places = {f"#{name}" for name in opened.page.eval_on_selector_all("[id]", IDS)}
    files = {path.relative_to(page_file.parent).as_posix() for path in page_file.parent.rglob("*")}
    assert set() == links - places - files
    assert len(links) > 40


def test_it_can_be_used_from_the_keyboard(opened: Opened, page_file: Path) -> None:
    """The first key leads to the link that skips the list, and an example opens without a mouse."""
    opened.page.goto(page_file.as_uri())
    opened.page.keyboard.press("Tab")
    assert "#content" == opened.page.evaluate("document.activeElement.getAttribute('href')")
    opened.page.locator("summary").first.focus()
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("details pre").first.is_visible()


def test_nothing_is_in_the_way_of_a_reader(opened: Opened, page_file: Path) -> None:
    """axe-core finds nothing: contrast, headings, landmarks, tables, names; and in the dark no contrast too low."""
    opened.page.goto(page_file.as_uri())
    opened.page.eval_on_selector_all("details", "nodes => nodes.forEach(node => { node.open = true })")
    assert [] == opened.violations()
    opened.page.emulate_media(color_scheme="dark")
    assert [] == opened.violations("color-contrast")


def test_what_is_in_the_way_is_found(opened: Opened, tmp_path: Path) -> None:
    """The control: a page with faults is not passed, and a page that loads something is seen to."""
    bad = tmp_path / "bad.html"
    bad.write_text("<title>x</title><img src='https://127.0.0.1:9/a.png'><p style='color:#eee'>pale")
    opened.page.goto(bad.as_uri())
    rules = {violation.split(":")[0] for violation in opened.violations()}
    assert {"image-alt", "html-has-lang", "color-contrast"} <= rules
    assert "https://127.0.0.1:9/a.png" in opened.asked
