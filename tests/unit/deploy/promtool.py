"""Prometheus' own checker: the one on PATH, else Debian's, fetched once into `.captionstream`."""

from __future__ import annotations

import shutil
from pathlib import Path

from captionstream.local.debian import Package
from captionstream.local.installed import Installed


def promtool() -> Path:
    """Where it is. Raises MissingPart, which says what to do."""
    if found := shutil.which("promtool"):
        return Path(found)
    return Package("prometheus", Installed.here().home).data / "usr" / "bin" / "promtool"
