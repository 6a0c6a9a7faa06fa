"""Text of strangers, made harmless for a line: a terminal, a log, a page."""

from __future__ import annotations

import unicodedata


def one_line(text: str) -> str:
    """NFC, with every control, format (bidi marks among them) and separator character replaced by a space."""
    kept = (
        " " if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp", "Cs"} else c
        for c in unicodedata.normalize("NFC", text)
    )
    return "".join(kept)
