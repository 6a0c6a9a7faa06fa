"""What a run leaves behind: nothing of its own, nothing of a killed one, and all that it had measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from captionstream.bench import report
from captionstream.bench.goals import Found, groups_of, rows_of
from captionstream.bench.suite import QUICK, Suite
from captionstream.bench.workplace import PREFIX, Answering, sweep, workplace
from captionstream.local.installed import Installed

ECHO = "import sys\nprint('{}', flush=True)\nfor line in sys.stdin: print(line, end='', flush=True)"


def test_only_folders_of_dead_runs_are_removed(tmp_path: Path) -> None:
    """That of a living process, one without a process in its name and a stranger's stay."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    kept = {f"{PREFIX}{living.pid}-a", f"{PREFIX}old", "someone-else"}
    for name in (*kept, f"{PREFIX}{gone.pid}-b"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    living.communicate(b"\n")
    assert kept == {folder.name for folder in tmp_path.iterdir()}


def test_a_workplace_ends_with_its_block() -> None:
    """Also when the block is left by Ctrl-C."""
    with pytest.raises(KeyboardInterrupt), workplace() as work:
        (work / "file").write_text("x")
        raise KeyboardInterrupt
    assert not work.exists()


def test_a_line_is_answered_with_a_line() -> None:
    """And a process that ended instead is named."""
    echo = Answering([sys.executable, "-c", ECHO])
    try:
        assert ({}, {"captions": 3}) == (echo.reply(), echo.ask(captions=3))
    finally:
        echo.close()
    ended = Answering([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ChildProcessError, match="status 3"):
        ended.reply()
    ended.close()


def test_what_was_measured_before_a_part_broke_is_noted() -> None:
    """A run that ends in its second part has told of its first one; the list on disk says what is not there yet."""
    heard: list[list[str]] = []

    class Broken(Suite):
        def _parts(self):  # type: ignore[no-untyped-def]
            def interrupted() -> dict[str, Found]:
                raise KeyboardInterrupt

            works = (lambda: {"G8": Found("G8", 2.0)}), interrupted
            return [(frozenset({name}), work) for name, work in zip(("G8", "G12"), works, strict=True)]

    suite = Broken(
        Installed.here(), groups_of("G8,G12"), QUICK, lambda text: None, lambda found: heard.append([*found])
    )
    with pytest.raises(KeyboardInterrupt):
        suite.run()
    assert [["G8"]] == heard


def test_the_list_on_disk_is_whole_at_any_time(tmp_path: Path) -> None:
    """What was found has its value, the rest says that it is not measured."""
    listed = report.write_list(rows_of({"G8": Found("G8", 2.0)}, groups_of("G8,G12"), "not yet"), tmp_path)
    told = {row["goal"]: (row["value"], row.get("reason")) for row in json.loads(listed.read_text())}
    assert {"G8": (2.0, None), "G12": (None, "not yet")} == told
    assert [listed] == [*tmp_path.iterdir()]
