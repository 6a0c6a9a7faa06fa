"""The seam to what binds a text of the reference engine: its server is given somebody who makes rules.

Scenes, their grammars and their guides are no business of a model. Neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from triton_models.vision_language.reference import Wanted


@dataclass(frozen=True)
class Vocabulary:
    """What a rule must know of a model: `tokenizer.json`, the tokens that end a text, the width of the logits."""

    tokenizer: Path
    ends: tuple[int, ...]
    size: int


class Rule(Protocol):
    """Binds one text, token for token: `mask`, then `take`, and so on until it has finished.

    Both raise ValueError where the text cannot go on under it.
    """

    @property
    def finished(self) -> bool:
        """Nothing more may come."""
        ...

    def mask(self, logprobs: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_] | None:
        """Of each token [size], whether it may come next, end tokens too; None allows all.

        `logprobs` [size] are the model's own: before temperature, penalties and any mask.
        """
        ...

    def take(self, token: int) -> None:
        """That token was chosen."""
        ...


Rules = Callable[[Wanted], Rule]
"""Of one model. Raises ValueError for what binds nothing that it knows."""
RulesFor = Callable[[Vocabulary], Rules]
"""May take a second: it is called once for each model that is loaded, when a text is first bound."""
