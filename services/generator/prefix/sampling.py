"""Which token comes next, from the model's logits: transformers' rules in transformers' order, without torch.

A penalty for repeating, the constraint's mask, temperature, top-k, top-p, and one draw.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.generator.prefix.constraint import Allowed, Floats, NothingAllowed
from triton_models.vision_language.decoder_graph import NotServable

SETTINGS = "generation_config.json"
FOLLOWED = {"temperature", "top_k", "top_p", "repetition_penalty", "eos_token_id"}
WITHOUT_EFFECT = {
    "_from_model_config", "bos_token_id", "pad_token_id", "transformers_version", "do_sample", "use_cache",
    "max_length", "max_new_tokens", "attn_implementation",
}  # fmt: skip
"""Whether and how much is sampled is the request's to say; the cache is always used."""


@dataclass(frozen=True, slots=True)
class Shaping:
    """The checkpoint's own settings. Greedy writing follows the penalty only. `ends` are its end tokens."""

    ends: frozenset[int] = frozenset()
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    @classmethod
    def of(cls, language: Path) -> Shaping:
        """As generation_config.json has it, with transformers' values for what it leaves out (top-k is 50).

        Raises NotServable for a setting that is not followed here: the text would be another one.
        """
        file = language / SETTINGS
        found = json.loads(file.read_bytes()) if file.is_file() else {}
        told = {name: value for name, value in found.items() if value is not None}
        unknown = sorted(
            name for name in told.keys() - FOLLOWED - WITHOUT_EFFECT if told[name] not in (False, 1)
        )
        if unknown:
            raise NotServable(f"{SETTINGS} asks for {', '.join(unknown)}")
        ends = told.pop("eos_token_id", [])
        return cls(
            ends=frozenset([ends] if isinstance(ends, int) else ends),
            **{name: told[name] for name in FOLLOWED & told.keys()},
        )


def log_softmax(logits: Floats) -> Floats:
    """Of the last axis. The model's own distribution, as natural logarithms."""
    lowered = logits - logits.max(axis=-1, keepdims=True)
    found: Floats = lowered - np.log(np.exp(lowered).sum(axis=-1, keepdims=True))
    return found


def penalised(scores: Floats, repeated: npt.NDArray[np.bool_], penalty: float) -> Floats:
    """Tokens that stand in the prompt or were written already get less likely (a penalty over 1)."""
    lowered = np.where(scores < 0, scores * np.float32(penalty), scores / np.float32(penalty))
    return np.where(repeated, lowered, scores)


def chances(scores: Floats, shaping: Shaping) -> npt.NDArray[np.float64]:
    """Probabilities [v] after temperature, top-k and top-p."""
    scores = scores / np.float32(shaping.temperature)
    if 0 < shaping.top_k < len(scores):
        least = np.partition(scores, -shaping.top_k)[-shaping.top_k]
        scores = np.where(scores < least, -np.inf, scores)
    if shaping.top_p < 1.0:
        scores = np.where(_tail(scores, shaping.top_p), -np.inf, scores)
    return _softmax(scores)


def _tail(scores: Floats, top_p: float) -> npt.NDArray[np.bool_]:
    """The unlikeliest tokens that together have at most 1 - top_p; never the likeliest."""
    order = np.argsort(scores, kind="stable")
    cut = np.cumsum(_softmax(scores)[order]) <= 1 - top_p
    cut[-1] = False
    tail = np.empty_like(cut)
    tail[order] = cut
    return tail


def _softmax(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    raised = np.exp(scores.astype(np.float64) - scores.max())
    found: npt.NDArray[np.float64] = raised / raised.sum()
    return found


def drawn(probabilities: npt.NDArray[np.float64], uniform: float) -> int:
    """The token in whose part of the line from 0 to 1 `uniform` lies."""
    line = np.cumsum(probabilities)
    return int(np.searchsorted(line, uniform * line[-1], side="right"))


class Sampler:
    """Chooses for one request. A seed draws the same numbers whoever else is being written."""

    def __init__(self, shaping: Shaping, vocabulary: int, prompt: Sequence[int], seed: int | None) -> None:
        self._shaping = shaping
        self._random = None if seed is None else np.random.default_rng(seed)
        self._repeated: npt.NDArray[np.bool_] | None = None
        if shaping.repetition_penalty != 1.0:
            self._repeated = np.zeros(vocabulary, np.bool_)
            self._repeated[list(prompt)] = True

    def choose(self, logits: Floats, allowed: Allowed | None) -> int:
        """Raises NothingAllowed."""
        scores = logits
        if self._repeated is not None:
            scores = penalised(scores, self._repeated, self._shaping.repetition_penalty)
        if allowed is not None:
            if not allowed.any():
                raise NothingAllowed
            scores = np.where(allowed, scores, np.float32(-np.inf))
        token = int(scores.argmax()) if self._random is None else self._draw(scores, self._random)
        if self._repeated is not None:
            self._repeated[token] = True
        return token

    def _draw(self, scores: Floats, random: np.random.Generator) -> int:
        return drawn(chances(scores, self._shaping), random.random())
