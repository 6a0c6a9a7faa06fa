"""How much memory a process and its children hold."""

from __future__ import annotations

import psutil


def resident_mb(pid: int) -> int:
    """Resident memory of the process and all below it, in MB; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return round(sum(member.memory_info().rss for member in family) / 1e6)
    except psutil.Error:
        return 0
