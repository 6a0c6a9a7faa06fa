"""Prometheus' own checker: the one on PATH, else Debian's, fetched once into `.captionstream/prometheus`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HOME = Path(__file__).parents[3] / ".captionstream" / "prometheus"
PROMTOOL = HOME / "usr" / "bin" / "promtool"
FIX = "put promtool on PATH, or run `apt-get update` where apt-get can download the package `prometheus`"


class NoPromtool(Exception):
    """There is none and none can be had."""


def promtool() -> Path:
    """Where it is. Raises NoPromtool, which says what to do."""
    if found := shutil.which("promtool"):
        return Path(found)
    if not PROMTOOL.is_file():
        fetch()
    return PROMTOOL


def fetch() -> None:
    """Unpacked beside its place and moved there whole, so that two runs at once do not meet."""
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME.parent) as folder:
        os.chmod(folder, 0o755)
        try:
            subprocess.run(
                ["apt-get", "download", "prometheus"],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=100,
            )
            [package] = Path(folder).glob("prometheus_*.deb")
            subprocess.run(["dpkg-deb", "-x", package.name, "x"], cwd=folder, check=True, capture_output=True)
        except (OSError, ValueError, subprocess.SubprocessError) as failed:
            raise NoPromtool(f"There is no promtool ({failed}): {FIX}.") from failed
        if not PROMTOOL.is_file():
            shutil.rmtree(HOME, ignore_errors=True)
            (Path(folder) / "x").rename(HOME)
