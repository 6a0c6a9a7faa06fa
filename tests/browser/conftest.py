"""A real browser without a network, for every page that the product writes."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.npm_packages import MODULES, npm_packages

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Opened:
    """A page in the browser, and every address that it asked for."""

    page: Page
    asked: list[str] = field(default_factory=list)

    def note(self, request: Request) -> None:
        self.asked.append(request.url)

    def violations(self, *rules: str) -> list[str]:
        """What axe-core finds wrong, by all of its rules or by these: rule, and the first place."""
        self.page.add_script_tag(path=MODULES / "axe-core" / "axe.min.js")
        asked = {"runOnly": list(rules)} if rules else {}
        found: list[dict[str, Any]] = self.page.evaluate(
            "how => axe.run(how).then(result => result.violations)", asked
        )
        return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]


def executable() -> tuple[Path, dict[str, str]]:
    """The Chromium that npm's lock file names; it is for x86-64, elsewhere the machine's own. With its environment."""
    folder = npm_packages() / "browser"
    if platform.machine() == "x86_64":
        ours = {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")}
        return folder / "chromium", {**os.environ, **ours}
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.fail("There is no browser. → As root: apt-get install -y chromium")
    return Path(found), dict(os.environ)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Closed with the last test of this folder: while it is open, its event loop keeps others from theirs."""
    program, environment = executable()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=list(FLAGS), env=dict(environment), headless=True
        )
        yield started
        started.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """An empty page without a network; `opened.page.goto(path.as_uri())` opens a file."""
    context = browser.new_context(offline=True, viewport={"width": 1100, "height": 800})
    shown = Opened(context.new_page())
    context.on("request", shown.note)
    yield shown
    context.close()
