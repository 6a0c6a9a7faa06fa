"""Bytes that belong to a message: inline when small, by claim check when large."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.values import INLINE_PAYLOAD_LIMIT, Payload
from captionstream.runtime.errors import Unavailable, Unprocessable

if TYPE_CHECKING:
    from obstore.store import RetryConfig

KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}")

# The runtime waits for a store that is away, and tells the watchdog so: the client itself gives up early.
SOON: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=5)}


class PayloadStore:
    """`put` and `get` for payloads, over a folder, memory, or an object store (`s3://bucket/prefix`)."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, location: str) -> PayloadStore:
        """`memory`, a folder (made if absent), or an object store URL."""
        if location == "memory":
            return cls(MemoryStore())
        if "://" in location:
            return cls(from_url(location, retry_config=SOON))
        Path(location).mkdir(parents=True, exist_ok=True)
        return cls(LocalStore(prefix=location))

    async def put(self, data: bytes, media_type: str, *, inline_limit: int = INLINE_PAYLOAD_LIMIT) -> Payload:
        """A reference to `data`. Equal bytes share one key, so a repeat costs no space. Raises Unavailable."""
        digest = sha256_hex(data)
        if len(data) <= inline_limit:
            return Payload(media_type=media_type, size=len(data), sha256=digest, inline=data)
        key = f"{digest[:2]}/{digest}"
        try:
            await obstore.put_async(self._store, key, data)
        except (BaseError, OSError) as away:
            raise Unavailable("payload store", type(away).__name__) from away
        return Payload(media_type=media_type, size=len(data), sha256=digest, key=key)

    async def get(self, payload: Payload) -> bytes:
        """The bytes, checked against their digest. Raises Unprocessable (gone, changed) or Unavailable."""
        data = payload.inline if payload.inline is not None else await self._fetch(payload.key or "")
        if sha256_hex(data) != payload.sha256:
            raise Unprocessable(RefusalReason.INTERNAL, "a payload does not match its digest")
        return data

    async def _fetch(self, key: str) -> bytes:
        try:
            return bytes(await (await obstore.get_async(self._store, key)).bytes_async())
        except FileNotFoundError:
            raise Unprocessable(
                RefusalReason.INTERNAL, "a payload is gone: it outlived its retention"
            ) from None
        except (BaseError, OSError) as away:
            raise Unavailable("payload store", type(away).__name__) from away

    async def collect(self, older_than: timedelta) -> int:
        """Delete payloads that were last written before then; the number deleted. What else lies there stays."""
        limit = datetime.now(UTC) - older_than
        old = [
            meta["path"]
            async for batch in obstore.list(self._store)
            for meta in batch
            if meta["last_modified"] < limit and KEY.fullmatch(meta["path"])
        ]
        if old:
            await obstore.delete_async(self._store, old)
        return len(old)
