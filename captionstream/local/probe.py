"""Small questions to a part that may not be there yet. Every one has a deadline and answers with a bool."""

from __future__ import annotations

import asyncio
from typing import Any

PLAIN: dict[str, Any] = {"trust_env": False, "verify": False}
"""How to ask a part of our own: no proxy, and no certificates, whose loading costs more than the question."""


async def connects(port: int, timeout_s: float = 2.0) -> bool:
    """Whether something accepts a TCP connection on 127.0.0.1:`port`."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def get_ok(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a GET is answered with status 200."""
    import httpx  # imported late: a server's own process does without it

    try:
        async with httpx.AsyncClient(**PLAIN, timeout=timeout_s) as client:
            return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


async def post_json(url: str, body: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any] | None:
    """The JSON object that answers a POST of `body`, or None when the answer is not status 200."""
    import httpx

    try:
        async with httpx.AsyncClient(**PLAIN, timeout=timeout_s) as client:
            response = await client.post(url, json=body)
            answer = response.json() if response.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None
