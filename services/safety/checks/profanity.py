"""Words that offend, from the list of the language, less those that true captions say."""

from __future__ import annotations

import re

from captionstream.contracts.messages import CheckFinding
from services.safety.checks.check import Check, CheckContext
from services.safety.words import Span, fold, quotations, words

NAME = "profanity"
TOKEN = re.compile(r"""[^\s“”"«»,.;:?()\[\]]+""")


def profanity(text: str, context: CheckContext) -> list[CheckFinding]:
    """Rule `word`, or `quoted` within a quotation: what a sign says is not said by us."""
    quoted = quotations(text)
    return [
        CheckFinding(check=NAME, rule="quoted" if quoted.hold(start, end) else "word", start=start, end=end)
        for start, end in profane(text, context)
    ]


def profane(text: str, context: CheckContext) -> list[Span]:
    found = words(text)
    harmless = context.lexicon.harmless.spans(found)
    spans = [span for span in context.lexicon.profanity.spans(found) if not covered(span, harmless)]
    listed = context.lexicon.profane_tokens
    return [*spans, *(match.span() for match in TOKEN.finditer(text) if fold(match.group()) in listed)]


def covered(span: Span, harmless: list[Span]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in harmless)


def unsettled(text: str, context: CheckContext) -> int:
    """Where a phrase of the list begins that the text breaks off."""
    return context.lexicon.profanity.unsettled(text, words(text))


CHECK = Check(name=NAME, rules=frozenset({"word", "quoted"}), examine=profanity, unsettled=unsettled)
