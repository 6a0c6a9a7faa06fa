"""The seam to grammars: which tokens may come next, asked before each token is chosen."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Allowed = npt.NDArray[np.bool_]


class NothingAllowed(Exception):
    """A constraint that has not finished allows no token: its text has led it into a dead end."""


class Constraint(Protocol):
    """The rule that one request is written under; holds state, so it serves one request only.

    Called from the thread that owns the model, one call at a time: `mask`, then `take`, and so on. What it raises
    ends its own request, and no other.
    """

    @property
    def finished(self) -> bool:
        """Nothing more may come: the text ends here, without a token that says so."""
        ...

    def mask(self, logprobs: Floats) -> Allowed | None:
        """Of each token of the vocabulary [v], whether it may come next; None allows all.

        `logprobs` [v] are the model's own, in fp32: before temperature, penalties and any mask. End tokens are
        tokens like any other: a mask must allow them where the text may end.
        """
        ...

    def take(self, token: int) -> None:
        """That token was chosen, an end token too."""
        ...
