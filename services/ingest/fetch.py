"""The original bytes of a reference, of whichever kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.values import ImageReference
from captionstream.runtime.errors import Unprocessable


class Fetcher(Protocol):
    async def fetch(self, reference: ImageReference) -> bytes:
        """The bytes as they are. Raises Unprocessable (forbidden, unfetchable, too large) or Unavailable."""
        ...


class Source(Protocol):
    async def get(self, place: str) -> bytes:
        """The bytes at a URL or object key; raises as Fetcher does."""
        ...


@dataclass(frozen=True, slots=True)
class FetchByKind:
    """Inline bytes as given, URLs from the web, object keys from the stores."""

    web: Source
    objects: Source
    max_bytes: int

    async def fetch(self, reference: ImageReference) -> bytes:
        if reference.url is not None:
            return await self.web.get(reference.url)
        if reference.object_key is not None:
            return await self.objects.get(reference.object_key)
        return within(self.max_bytes, reference.inline or b"")


def within(max_bytes: int, data: bytes) -> bytes:
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    return data


def too_large(max_bytes: int) -> Unprocessable:
    return Unprocessable(RefusalReason.TOO_LARGE, f"more than {max_bytes} bytes")
