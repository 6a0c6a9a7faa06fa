"""A record as it lies on a log, before and after its append."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to append. `partial` ones are best effort: sent at once, outside of any transaction."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was appended."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers
    appended_at: datetime

    def header(self, name: str) -> str | None:
        """The first header of that name as text, or None."""
        for key, value in self.headers:
            if key == name:
                return value.decode("utf-8", "replace")
        return None
