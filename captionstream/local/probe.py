"""Small questions to a part that may not be there yet. Every one has a deadline and answers with a bool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import ClientSession


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
    import aiohttp  # imported late: a server's own process does without it

    try:
        async with _session(timeout_s) as session, session.get(url, allow_redirects=False) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def post_json(url: str, body: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any] | None:
    """The JSON object that answers a POST of `body` with status 200, or None for anything else."""
    import aiohttp

    try:
        async with (
            _session(timeout_s) as session,
            session.post(url, json=body, allow_redirects=False) as response,
        ):
            answer = await response.json() if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def _session(timeout_s: float) -> ClientSession:
    """Probes are asked for as long as a stack runs, so by the client that takes the least of the processor."""
    from aiohttp import ClientSession, ClientTimeout

    return ClientSession(timeout=ClientTimeout(timeout_s))
