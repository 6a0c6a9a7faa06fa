"""Partial text: how much of a growing text may be shown at once.

A prefix is released only when no continuation can make any of its characters part of a finding that the
policy acts on. Each check says from where on its verdict is open; quotations are open until they are closed;
a word is open until white space follows it. Pure, and monotone: of two texts of which one continues the
other, the released prefixes continue each other as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from captionstream.contracts.messages import CheckFinding
from services.safety.checks.check import Check, CheckContext
from services.safety.words import quotations

COMPLETE = re.compile(r"\S+(?=\s)")
ActedOn = Callable[[CheckFinding], bool]


def every(finding: CheckFinding) -> bool:
    return True


def releasable(
    text_so_far: str, checks: Iterable[Check], context: CheckContext, acted_on: ActedOn = every
) -> str:
    """The longest prefix that is safe for good. May raise what a check raises: nothing is released then."""
    tokens = [match.span() for match in COMPLETE.finditer(text_so_far)]
    if not tokens:
        return ""
    complete = text_so_far[: tokens[-1][1] + 1]
    open_from = min(open_places(complete, checks, context, acted_on))
    ends = [end for _, end in tokens if end <= open_from]
    return complete[: ends[-1]] if ends else ""


def open_places(
    complete: str, checks: Iterable[Check], context: CheckContext, acted_on: ActedOn
) -> Iterator[int]:
    """From where on the text is not, or not yet, free of findings; one answer of each check."""
    quotation = quotations(complete).open_at
    yield len(complete) if quotation is None else quotation
    for check in checks:
        if check.unsettled is None:
            continue
        yield check.unsettled(complete, context)
        yield from (
            finding.start
            for finding in check.examine(complete, context)
            if finding.start is not None and acted_on(finding)
        )
