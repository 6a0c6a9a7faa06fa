"""The long proof can be begun: every module of it is there."""

from __future__ import annotations

import subprocess
import sys


def test_the_runner_tells_its_options() -> None:
    """What nobody runs for weeks is imported here on every change."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.verify", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    assert "--minutes" in done.stdout
