"""Connections to engines that speak HTTP."""

from __future__ import annotations

import httpx

KEPT_S = 2.0  # shorter than the 5 s after which llama.cpp and uvicorn close an idle connection


def kept(connections: int) -> httpx.Limits:
    """So many at most, each let go before its server does: one that is taken just as it closes loses a request."""
    return httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEPT_S
    )
