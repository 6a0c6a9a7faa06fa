"""What a text says under its guide: the reading that leans least on the model, signed with its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from services.generator.grammar import Reading
from services.generator.guided.guide import Guide
from services.generator.guided.way import BEGUN, MODEL, Ways, advanced

Pieces = Iterable[tuple[str, float | None]]
"""Text as it came, each piece with the natural logarithm of its probability where the engine tells it."""


def read_so_far(guide: Guide, pieces: Pieces) -> Ways:
    ways = BEGUN
    for text, logprob in pieces:
        ways = advanced(guide, ways, text, logprob)
    return ways


def may_continue(guide: Guide, pieces: Pieces) -> bool:
    """Whether the guide lets a text that begins so come to its end."""
    return bool(read_so_far(guide, pieces))


def reading_of(guide: Guide, pieces: Pieces, author: str = "") -> Reading | None:
    """What a whole text says, each content word with its ground, else None."""
    return reading_at_end(read_so_far(guide, pieces), author)


def reading_at_end(ways: Ways, author: str = "") -> Reading | None:
    """Of several readings of one text, the one that leans least on the model."""
    whole = sorted((way for way in ways if way.ended), key=lambda way: way.free)
    return _signed(whole[0].reading, author) if whole else None


def _signed(reading: Reading, author: str) -> Reading:
    """The reading with the model's name at what only the model says."""
    source = f"{MODEL}:{author or 'unknown'}"
    claims = (
        claim.model_copy(update={"source": source}) if claim.source == MODEL else claim
        for claim in reading.claims
    )
    return replace(reading, claims=tuple(claims))
