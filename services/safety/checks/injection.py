"""Signs that a text was written by somebody else's instruction, or that a machine leaks through it.

Instructions to a model, echoes of a prompt, an assistant's chatter, markup, addresses of the web, and
characters that hide or reorder text. Within a quotation an instruction or an address is what the picture
says, and has its own rule.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from captionstream.contracts.messages import CheckFinding
from services.safety.checks.check import Check, CheckContext
from services.safety.words import Quotations, Span, quotations, unquoted, words

NAME = "injection"
URL = re.compile(
    r"""(?:https?://|www\.)[^\s<>"“”«»]*[^\s<>"“”«».,;:!?)]|(?<![\w@.])(?:[\w-]+\.)+(?:com|org|net|edu|gov|info|biz|io|co|es|de|fr|uk|eu)"""
    r"""\b(?!\.?\w)(?:/[^\s<>"“”«»]*)?""",
    re.IGNORECASE,
)
MARKUP = re.compile(
    r"</?[a-zA-Z!][^<>\s]*>?|\*\*|__|~~|`+|^#{1,6}(?=\s)|^[-*](?=\s)|\]\(|&(?:#\d+|[a-z]{2,8});", re.MULTILINE
)
ECHO = re.compile(
    r"<\||\|>|[{}]|\[/?INST\]|###|\b(?:system|assistant|user|evidence|caption|scene|input|output):",
    re.IGNORECASE,
)
HIDDEN = frozenset(
    "\u00ad\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2060\u2061\u2062\u2063\u2064\ufeff\ufffc\ufffd"
)
BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")
UNWANTED = frozenset({"Cc", "Cs", "Co", "Cn"})


def injection(text: str, context: CheckContext) -> list[CheckFinding]:
    quoted = quotations(text)
    return [
        CheckFinding(check=NAME, rule=rule, start=start, end=end)
        for rule, (start, end) in (*said(text, context, quoted), *leaked(text, context))
    ]


def said(text: str, context: CheckContext, quoted: Quotations) -> Iterator[tuple[str, Span]]:
    """What a picture may say, but we may not."""
    found = words(text)
    for rule, spans in (
        ("instruction", context.lexicon.instructions.spans(found)),
        ("url", [match.span() for match in URL.finditer(text)]),
    ):
        for span in spans:
            yield f"quoted-{rule}" if quoted.hold(*span) else rule, span


def leaked(text: str, context: CheckContext) -> Iterator[tuple[str, Span]]:
    """What nobody may say."""
    own = unquoted(text)
    yield from (("preamble", span) for span in context.lexicon.preamble.spans(words(own)))
    yield from (("markup", match.span()) for match in MARKUP.finditer(own))
    yield from (("echo", match.span()) for match in ECHO.finditer(own))
    yield from (("characters", span) for span in hidden_characters(text))


def hidden_characters(text: str) -> Iterator[Span]:
    """Control, bidirectional, invisible, private, unassigned characters, and what NFC would rewrite."""
    for place, character in enumerate(text):
        if character in HIDDEN or character in BIDI or unicodedata.category(character) in UNWANTED:
            yield place, place + 1
    if not unicodedata.is_normalized("NFC", text):
        yield from (match.span() for match in re.finditer(r"\S+", text) if not normal(match.group()))


def normal(token: str) -> bool:
    return unicodedata.is_normalized("NFC", token)


def unsettled(text: str, context: CheckContext) -> int:
    """Where a listed phrase begins that the text breaks off. All else that is looked for has no space."""
    found = words(text)
    lists = (context.lexicon.instructions, context.lexicon.preamble)
    return min(phrases.unsettled(text, found) for phrases in lists)


CHECK = Check(
    name=NAME,
    rules=frozenset(
        {"instruction", "quoted-instruction", "url", "quoted-url", "preamble", "markup", "echo", "characters"}
    ),
    examine=injection,
    unsettled=unsettled,
)
