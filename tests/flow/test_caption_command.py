"""`captionstream caption` as a person reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from captionstream.cli.demo_pictures import sign

LINEUP = """
engines: {eye: {kind: scripted, sends: pixels, local: false, always: true}, ours: {kind: scripted, always: true}}
egress: {default: nothing}
routes: [{engine: eye}, {engine: ours}]
"""


def lines(folder: Path, *arguments: str) -> list[str]:
    (folder / "sign.png").write_bytes(sign("OPEN"))
    command = [sys.executable, "-m", "captionstream", "caption", "sign.png", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout.splitlines()


def test_with_a_lineup_the_line_below_a_caption_says_who_wrote_and_why(tmp_path: Path) -> None:
    """Which engine was passed over, and what the text cost, in one line."""
    (tmp_path / "lineup.yaml").write_text(LINEUP)
    caption, below = lines(tmp_path, "--lineup", "lineup.yaml")
    assert caption.startswith("sign.png: ") and "OPEN" in caption
    told, _, spent = below.partition(" · ")
    assert "  ours (evidence): told in words; eye skipped: tenant default lets nothing leave" == told
    assert spent.endswith(" tokens")


def test_without_one_the_caption_stands_alone(tmp_path: Path) -> None:
    """Nobody else could have written it."""
    assert 1 == len(lines(tmp_path))
