"""Ports of a local stack: the usual number where it is free, else the next free one."""

from __future__ import annotations

import socket
from collections.abc import Container

_TRIED = 400


def choose_port(preferred: int, taken: Container[int] = ()) -> int:
    """The first port from `preferred` on that is neither `taken` nor in use on 127.0.0.1.

    Counted upwards, not taken from the kernel: the kernel's choice lies where outgoing connections get
    theirs, and one of those may hold the port when its server is started again. Raises `OSError`.
    """
    for port in range(preferred, min(preferred + _TRIED, 65536)):
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no free port from {preferred} on")


def is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
