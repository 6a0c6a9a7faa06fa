"""The page says what the records say."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.verify.results import all_met, record, soak
from tests.verify.records import Records
from tests.verify.report import page, write_report


def test_the_page_has_the_figures_of_every_step() -> None:
    """Each section from its own record; each bound in the table; nothing of this machine's name."""
    written = page({step: record(step, result) for step, result in all_met().items()})
    for said in (
        "500 pictures",
        "| gcompris | 210 | 0.700",
        "2186 images",
        "1440 events",
        "c0ffeec0ffee",
        "2 cores",
    ):
        assert said in written
    assert socket.gethostname() not in written
    assert "**no**" not in written


def test_what_was_missed_is_shown() -> None:
    """In the table, not in a footnote."""
    missed = {**soak(), "sampled_minutes": 2.0}
    assert "| soak | minutes that were sampled | ≥ 29.5 | 2 | **no** |" in page(
        {"soak": record("soak", missed)}
    )


@pytest.mark.parametrize("step", list(all_met()))
def test_a_step_without_a_record_has_no_section(step: str) -> None:
    """Every selection of steps makes a page."""
    written = page({step: record(step, all_met()[step])})
    heads = {line for line in written.splitlines() if line.startswith("## ")}
    assert 3 == len(heads), heads


def test_the_report_lies_in_its_folder_with_the_plot(tmp_path: Path) -> None:
    """Records as JSON, the plot as a picture that can be opened, the page beside them."""
    records = Records(tmp_path / "verify", "c0ffee")
    records.folder("soak", {"minutes": 30.0})
    records.write("soak", {"minutes": 30.0}, 60.0, soak())
    write_report(records, tmp_path / "docs")
    assert 30.0 == json.loads((tmp_path / "docs/verification/soak.json").read_text())["result"]["minutes"]
    with Image.open(tmp_path / "docs/verification/soak.png") as plot:
        assert plot.width > 800
    assert "verification/soak.png" in (tmp_path / "docs/verification.md").read_text()
