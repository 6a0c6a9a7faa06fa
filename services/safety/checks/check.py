"""What a check is: a plain function from a text and its context to findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from captionstream.contracts.messages import CheckFinding, Event
from captionstream.contracts.scene import Scene
from captionstream.contracts.values import Score, SuppliedMetadata
from services.safety.lexicons import Lexicon

NOTHING_SUPPLIED = SuppliedMetadata()
FAILED = "failed"  # the `check` of a finding that stands for a check which raised


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a check may know beside the text. `scene` is None while a draft is still being written."""

    event: Event
    lexicon: Lexicon
    supplied: SuppliedMetadata = NOTHING_SUPPLIED
    scene: Scene | None = None
    content_score: Score = 0.0


class Examine(Protocol):
    """A pure function. May raise: the candidate then counts as not publishable."""

    def __call__(self, text: str, context: CheckContext) -> list[CheckFinding]: ...


class Unsettled(Protocol):
    """From which character on a continuation of `text` may still bring a finding.

    `text` ends with white space, so its words are complete. No continuation of it may bring a finding that
    covers a character before the answer, other than findings which `examine` already reports for `text`.
    """

    def __call__(self, text: str, context: CheckContext) -> int: ...


class Scope(StrEnum):
    TEXT = "text"  # any text that leaves: captions, long descriptions, quotations, claims
    CAPTION = "caption"  # the caption as a whole
    PICTURE = "picture"  # the picture, whatever the text


@dataclass(frozen=True, slots=True)
class Check:
    """A check with the names of the rules that its findings may carry.

    `unsettled` is given by checks whose findings have a place: they guard partial text. Findings without a
    place judge a whole caption.
    """

    name: str
    rules: frozenset[str]
    examine: Examine
    scope: Scope = Scope.TEXT
    unsettled: Unsettled | None = None


def failed(check: Check) -> CheckFinding:
    return CheckFinding(check=FAILED, rule=check.name)


def examined(checks: Iterable[Check], text: str, context: CheckContext) -> Iterator[CheckFinding]:
    """All findings of all checks. A check that raises is a finding, never an exception."""
    for check in checks:
        try:
            yield from check.examine(text, context)
        except Exception:
            yield failed(check)
