"""The guided form: which words a text may use that the scene's grammar does not write word for word."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guide:
    """`function` words are free, `supported` ones are said by the scene, all in lower case.

    Any other word needs the model's own ground: a probability of at least `least` (0 to 1), which becomes the
    score of its claim.
    """

    function: frozenset[str]
    supported: frozenset[str]
    least: float
