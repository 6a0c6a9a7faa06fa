"""The log in memory behaves as a log must."""

from __future__ import annotations

import pytest

from captionstream.runtime.memory_log import MemoryLog
from tests.contract.log_behaviour import LogBehaviour


class TestMemoryLog(LogBehaviour):
    @pytest.fixture
    def log(self) -> MemoryLog:
        return MemoryLog()
