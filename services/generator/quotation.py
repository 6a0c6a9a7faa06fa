"""Text that stands in the image: put in reading order, made harmless, quoted. Nobody obeys it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from captionstream.contracts.evidence import TextLine
from captionstream.contracts.scene import QuotedText
from captionstream.contracts.values import Box

READ = 0.8  # a line below this is not quoted
QUOTED_CHARACTERS = 2000
DOUBLE_QUOTES = dict.fromkeys(map(ord, '"“”„‟«»〝〞〟＂'), "'")
UNSEEN = {"Cf", "Cs", "Co", "Cn"}  # direction marks, zero-width joiners, surrogates: nothing to see
PICTOGRAMS = re.compile("[\u2600-\u27bf\ufe0e\ufe0f\u20e3\U0001f000-\U0001faff]")
TAG = re.compile(r"<([A-Za-z/!?][^<>]*)>")


def quoted_text(lines: Iterable[TextLine]) -> QuotedText | None:
    """The legible lines as one text in reading order, at most QUOTED_CHARACTERS, or None."""
    legible = [line for line in lines if line.score >= READ and _is_text(line.text)]
    ordered = reading_order(legible)
    text = shortened(" ".join(harmless(line.text) for line in ordered), QUOTED_CHARACTERS)
    if not text:
        return None
    score = min(line.score for line in ordered)
    return QuotedText(text=text, score=score, box=around([line.box for line in ordered]), lines=len(ordered))


def _is_text(text: str) -> bool:
    """At least two letters or digits: less is mostly a texture that the reader took for a letter."""
    return sum(map(str.isalnum, harmless(text))) >= 2


def harmless(text: str) -> str:
    """The text as a reader sees it, on one line, unable to close a quotation or to be taken for markup."""
    seen = (
        " " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c
        for c in unicodedata.normalize("NFC", text)
        if unicodedata.category(c) not in UNSEEN
    )
    plain = PICTOGRAMS.sub("", "".join(seen)).translate(DOUBLE_QUOTES)
    return " ".join(TAG.sub(r"‹\1›", plain).split())


def shortened(text: str, limit: int) -> str:
    """The whole words at the start of `text` that fit in `limit` characters; a longer first word is cut."""
    if len(text) <= limit:
        return text
    whole, _, _ = text[: limit + 1].rpartition(" ")
    return (whole or text[:limit]).strip()


def reading_order(lines: Sequence[TextLine]) -> list[TextLine]:
    """Rows from the top, each from the left. A line joins a row when its middle is within the row's first."""
    rows: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda line: line.box.centre[1]):
        first = rows[-1][0].box if rows else None
        if first is not None and first.top <= line.box.centre[1] <= first.bottom:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.box.left)]


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    return Box(
        left=min(box.left for box in boxes),
        top=min(box.top for box in boxes),
        right=max(box.right for box in boxes),
        bottom=max(box.bottom for box in boxes),
    )
