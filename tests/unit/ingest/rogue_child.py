"""A decoder's child in the hands of an attacker: it answers what the request names, then waits."""

from __future__ import annotations

import json
import sys
import time

from services.ingest.decode_pipe import LENGTH, prefixed

MEBIBYTE = 1024 * 1024


def answer_of(mood: str) -> bytes:
    vast = {"width": 2**31, "height": 2**31}
    return {
        "vast head": (2**62).to_bytes(LENGTH),
        "vast pixels": prefixed(json.dumps(vast).encode()) + bytes(MEBIBYTE),
        "no pixels": prefixed(json.dumps({"width": 0, "height": -1}).encode()),
        "no json": prefixed(b"\xff no json"),
        "wrong json": prefixed(b"[1, 2, 3]"),
    }[mood]


if __name__ == "__main__":
    size = int.from_bytes(sys.stdin.buffer.read(LENGTH))
    asked = sys.stdin.buffer.read(size).decode()
    if asked == "status 3":
        sys.exit(3)
    sys.stdout.buffer.write(answer_of(asked))
    sys.stdout.buffer.flush()
    time.sleep(600)
