"""The process that decodes: `python -m services.ingest.decode_child LIMITS`, spoken to over its pipes.

Hostile bytes meet C libraries here and nowhere else, so this process has little memory, no files to write, no
secrets in its environment, and is replaced when anything looks wrong. It imports no more than it needs.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

from services.ingest.decode_pipe import ChildLimits, prefixed, read_prefixed
from services.ingest.normal_form import NormalForm, PictureLimits, TooManyPixels, Undecodable, normal_form

OPEN_FILES = 32


def main() -> None:
    limits = ChildLimits(**json.loads(sys.argv[1]))
    requests, replies = private_pipes()
    confine(limits)
    while (data := read_prefixed(requests.read, limits.memory)) is not None:
        allow_processor(limits.seconds)
        answer(data, PictureLimits(limits.max_pixels, limits.long_side), replies)


def private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes on descriptors of their own: whatever a C library prints goes nowhere."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    return requests, replies


def confine(limits: ChildLimits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def allow_processor(seconds: float) -> None:
    """The parent's clock ends a slow image; this one still ticks when the parent is gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + 2 * seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def answer(data: bytes, limits: PictureLimits, replies: BinaryIO) -> None:
    head, pixels = reply_to(data, limits)
    replies.write(prefixed(json.dumps(head).encode()))
    replies.write(pixels)
    replies.flush()


def reply_to(data: bytes, limits: PictureLimits) -> tuple[dict[str, Any], bytes]:
    try:
        return described(normal_form(data, limits))
    except Undecodable as refused:
        return {"refused": "undecodable", "detail": str(refused)}, b""
    except TooManyPixels as refused:
        return {"refused": "too-large", "detail": str(refused)}, b""
    except MemoryError:
        return {"refused": "memory"}, b""


def described(form: NormalForm) -> tuple[dict[str, Any], bytes]:
    head = asdict(form)
    pixels = head.pop("pixels")
    return head, pixels


if __name__ == "__main__":
    main()
