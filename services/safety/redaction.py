"""Spans of a text to neutral words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from captionstream.contracts.messages import CheckFinding, Redaction
from services.safety.words import Span, words

STICKY = re.compile(r"[\w@+%~#/\\-]|[.:](?=[\w@+%~#/\\-])")  # what makes one token of its neighbours


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without its redacted spans; `redactions` are places in this text."""

    text: str
    redactions: tuple[Redaction, ...] = ()


def redacted(text: str, findings: Iterable[CheckFinding], replacements: Mapping[str, str]) -> Redacted:
    """Every finding's span, widened to whole tokens, gives way to the word for its rule; overlaps are merged.

    `replacements` maps rules to words; `default` is for all others.
    """
    pieces: list[str] = []
    redactions: list[Redaction] = []
    done = length = 0
    for start, end, rule in merged(text, findings):
        word = replacements.get(rule, replacements["default"])
        pieces += [text[done:start], word]
        length += start - done
        redactions.append(Redaction(start=length, end=length + len(word), replacement=word, rule=rule))
        length += len(word)
        done = end
    return Redacted("".join([*pieces, text[done:]]), tuple(redactions))


def merged(text: str, findings: Iterable[CheckFinding]) -> list[tuple[int, int, str]]:
    """Spans in order, none overlapping. A merged span takes the rule of its longest part."""
    spans = sorted(
        (*whole_tokens(text, finding.start, finding.end), finding.rule)
        for finding in findings
        if finding.start is not None and finding.end is not None and finding.start < finding.end
    )
    result: list[tuple[int, int, str]] = []
    for start, end, rule in spans:
        if not result or start >= result[-1][1]:
            result.append((start, end, rule))
            continue
        first, last, earlier = result[-1]
        result[-1] = (first, max(last, end), earlier if last - first >= end - start else rule)
    return result


def whole_tokens(text: str, start: int, end: int) -> Span:
    """The span, widened while it would leave a part of a token."""
    while start > 0 and STICKY.match(text, start - 1) and STICKY.match(text, start):
        start -= 1
    while end < len(text) and STICKY.match(text, end - 1) and STICKY.match(text, end):
        end += 1
    return start, end


def says_something(result: Redacted, subject: Iterable[str], function_words: Iterable[str]) -> bool:
    """Whether the rest has a word of its own; of the nouns in `subject`, if any, one must be left."""
    rest = result.text
    for redaction in reversed(result.redactions):
        rest = rest[: redaction.start] + '"' + rest[redaction.end :]
    left = {word.folded for word in words(rest)}
    wanted = set(subject)
    return bool(left & wanted) if wanted else bool(left - set(function_words))
