"""What an answer means that is no sentence.

    another request would fare no better: away, busy, misconfigured, out of money, cut off    Unavailable
    this request fails: refused, filtered, too long, nonsense                                 Unusable

The reasons are fixed texts: nothing of what a server says stands in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from captionstream.runtime.errors import Unavailable
from services.generator.writer import Unusable

NOT_THIS_REQUEST = {401, 402, 403, 404, 408, 425, 429}  # and all from 500
REFUSED, TOO_LONG = "the model refused", "the sentence is too long"
KNOWN_CODES: Mapping[str, str] = {
    "content_filter": REFUSED,
    "content_policy_violation": REFUSED,
    "context_length_exceeded": "the prompt is too long",
}
ENDS: Mapping[str, str] = {
    "length": TOO_LONG,
    "content_filter": REFUSED,
    "tool_calls": "the model called a tool",
    "function_call": "the model called a tool",
}
BREAKS = {"abort", "error"}  # vLLM's words for a text that it did not finish


def check_status(engine: str, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
    """Raises Unavailable or Unusable unless it is a success. `body` says more of a refusal."""
    if status in NOT_THIS_REQUEST or status >= 500 or 300 <= status < 400:
        raise Unavailable(engine, f"HTTP {status}", rest(headers))
    if status >= 400:
        raise Unusable(KNOWN_CODES.get(error_code(body), f"the request was refused: HTTP {status}"))


def check_end(engine: str, finish_reason: str | None, refusal: str | None) -> None:
    """Raises unless the model itself ended the text."""
    if refusal:
        raise Unusable(REFUSED)
    if finish_reason in BREAKS:
        raise Unavailable(engine, "failed in the middle of a sentence")
    if (reason := ENDS.get(finish_reason or "")) is not None:
        raise Unusable(reason)


def error_code(body: bytes) -> str:
    """The `code` of an error in the API's own form; empty where there is none."""
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, LookupError, TypeError):
        return ""


def rest(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server wants to be left alone, if it says so."""
    exact = headers.get("retry-after-ms", "").strip()
    if exact.isdecimal():
        return int(exact) / 1000
    return retry_after(headers.get("retry-after"), datetime.now(UTC))


def retry_after(value: str | None, moment: datetime) -> float | None:
    """Seconds to wait, from a number of seconds or a date; None where the header says nothing sensible."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - moment).total_seconds())
