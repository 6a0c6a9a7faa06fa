"""`captionstream up` refuses what could not run before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from captionstream.cli.app import app
from captionstream.local.state import read_state


@pytest.mark.parametrize("how", [(), ("--detach",)])
def test_a_lineup_that_is_not_there_starts_nothing(how: tuple[str, ...], tmp_path: Path) -> None:
    """One sentence and the code of wrong use, at once; else every server would be started first."""
    told = {
        "CAPTIONSTREAM_GENERATOR_LINEUP": str(tmp_path / "nowhere.yaml"),
        "CAPTIONSTREAM_DIRECTORY": str(tmp_path / "stack"),
    }
    done = CliRunner().invoke(app, ["up", *how], env=told)
    assert 2 == done.exit_code, done.output
    assert "nowhere.yaml: No such file or directory" in done.stderr
    assert read_state(tmp_path / "stack") is None


def test_a_variable_with_a_wrong_value_starts_nothing(tmp_path: Path) -> None:
    """It is named, with what it may be."""
    told = {"CAPTIONSTREAM_GENERATOR_WRITER": "nobody", "CAPTIONSTREAM_DIRECTORY": str(tmp_path)}
    done = CliRunner().invoke(app, ["up"], env=told)
    assert 2 == done.exit_code, done.output
    assert "CAPTIONSTREAM_GENERATOR_WRITER: Input should be" in done.stderr
    assert read_state(tmp_path) is None
