"""The rules for alternative texts that a program can check, written down a second time, for the tests."""

from __future__ import annotations

import re
import unicodedata

QUOTATION = re.compile(r'"[^"]*"')
PLACEHOLDERS = {"image", "picture", "photo", "imagen", "foto", "untitled", "alt", "placeholder", "spacer"}
OPENINGS = re.compile(
    r"^(an? )?(image|picture|photo|photograph|graphic) of\b|^(una? )?(imagen|foto) de\b", re.I
)
FILE_NAME = re.compile(r"\.(jpe?g|png|gif|webp|tiff?|svg)\b|\b[0-9a-f]{16,}\b", re.I)
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f]")
TAG, MARKDOWN = re.compile(r"</?[A-Za-z!][^>]*>"), re.compile(r"\*\*|```|^#|\]\(")
CASED = re.compile(r"[^\W\d_]{2,}")
LIMIT = 250


def broken_rules(text: str) -> list[str]:
    """The names of the rules that `text` breaks; quotations may shout and may hold several sentences."""
    outside = QUOTATION.sub("«»", text)
    words = outside.rstrip(".").split()
    cased = CASED.findall(outside)
    checks = {
        "placeholder": len(words) == 1 and words[0].lower() in PLACEHOLDERS,
        "file name": bool(FILE_NAME.search(outside)),
        "opening": bool(OPENINGS.search(text)),
        "length": len(text) > LIMIT,
        "two words": len(words) < 2,
        "one or two sentences": not 1 <= len(re.findall(r"\.(?:\s|$)", outside)) <= 2,
        "end punctuation": not text.endswith("."),
        "capital": not text[:1].isupper(),
        "shouting": 2 * sum(map(str.isupper, cased)) > len(cased),
        "emoji": bool(EMOJI.search(text)),
        "markup": bool(TAG.search(text) or MARKDOWN.search(outside)),
        "white space": text != " ".join(text.split()),
        "unseen characters": any(unicodedata.category(character)[0] == "C" for character in text),
        "quotes": text.count('"') not in (0, 2),
        "space before punctuation": bool(re.search(r"\s[.,;]", outside)),
    }
    return [rule for rule, broken in checks.items() if broken]
