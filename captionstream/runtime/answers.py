"""Which events have their answer: read from the markers at assignment, bounded."""

from __future__ import annotations

from collections import OrderedDict

from captionstream.contracts.codec import event_digest_of_marker

HORIZON = 100_000  # answers remembered for one partition, about 20 MB; the oldest fall out first


class Answers:
    """Caption ids, and the digest of the event that got the answer."""

    def __init__(self, horizon: int = HORIZON) -> None:
        self._horizon = horizon
        self._digests: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, caption: str, event_digest: str) -> None:
        self._digests[bytes.fromhex(caption)] = bytes.fromhex(event_digest)[:8]
        if len(self._digests) > self._horizon:
            self._digests.popitem(last=False)

    def add_marker(self, key: bytes | None, value: bytes | None) -> None:
        """One record of the markers' topic; a tombstone or a key of no id is passed over."""
        if key is not None and value:
            self.add(key.decode(), event_digest_of_marker(value))

    def has(self, caption: str) -> bool:
        return bytes.fromhex(caption) in self._digests

    def conflicts(self, caption: str, event_digest: str) -> bool:
        """That id was answered for an event with another body."""
        return self._digests[bytes.fromhex(caption)] != bytes.fromhex(event_digest)[:8]
