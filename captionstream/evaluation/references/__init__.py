"""What stands on a picture, by human hand: the measure of `captionstream eval`.

`tuxpaint.jsonl` and `gcompris.jsonl` beside this file were labelled by hand for this project. They are for
evaluation only: no shipped weight is trained on them, and no threshold is tuned on more than their `tune`
half. The pictures themselves are not here: they come from the Debian packages `tuxpaint-stamps-default` and
`gcompris-qt-data`, whose licences are not ours.

One JSON object a line: `file` is the path inside the package's data, `subject` the accepted noun senses of
WordNet 3.0 as `lemma[:sense]` (sense 1 if none is given), `kind` (of Tux Paint only) photo or drawing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from enum import StrEnum
from importlib import resources

from pydantic import Field

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.values import Value


class Reference(Value):
    """One picture and what a person says of it: senses of its subject, whole sentences, or both."""

    file: str = Field(min_length=1)
    subject: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    kind: str | None = None


class Half(StrEnum):
    """Thresholds are tuned on one half and reported on the other."""

    TUNE = "tune"
    HELD_OUT = "held-out"
    ALL = "all"


BUNDLED = ("tuxpaint", "gcompris")


def bundled(name: str) -> list[Reference]:
    """The references of one of BUNDLED."""
    lines = resources.files(__package__).joinpath(f"{name}.jsonl").read_text("utf-8").splitlines()
    return [Reference.model_validate_json(line) for line in lines]


def half_of(file: str) -> Half:
    """By the name alone, so that it never changes: the parity of the first byte of its sha256."""
    return Half.HELD_OUT if int(sha256_hex(file.encode())[:2], 16) % 2 else Half.TUNE


def chosen(
    references: Iterable[Reference], half: Half = Half.ALL, limit: int | None = None, seed: int = 0
) -> list[Reference]:
    """Those of one half; with a limit, a sample of them in their old order, the same for the same seed."""
    of_half: Sequence[Reference] = [r for r in references if half in (Half.ALL, half_of(r.file))]
    if limit is None or limit >= len(of_half):
        return list(of_half)
    places = sorted(random.Random(seed).sample(range(len(of_half)), limit))
    return [of_half[place] for place in places]
