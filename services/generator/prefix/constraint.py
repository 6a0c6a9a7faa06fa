"""The seam to grammars: which tokens may come next, asked before each token is chosen.

A constraint is called from the thread that owns the model, one call at a time: `mask`, then `take`, and so on. What it
raises ends its own request, and no other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triton_models.vision_language.rule import Rule as Constraint

__all__ = ["Allowed", "Constraint", "Floats", "NothingAllowed"]

Floats = npt.NDArray[np.float32]
Allowed = npt.NDArray[np.bool_]


class NothingAllowed(ValueError):
    """A constraint that has not finished allows no token: its text has led it into a dead end."""
