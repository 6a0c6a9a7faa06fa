"""May this graph serve here? What it says is compared with what fp32 weights said, on this processor.

The fastest 8-bit recipe answers nonsense on processors without wide integer products, and reports no error. So a
graph is asked about fixed texts before anything else: read, then step by step in a batch of mixed lengths, as it will
serve. One that is too far from the reference is refused, and the next recipe is tried; fp32 is the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.generator.prefix.constraint import Floats
from services.generator.prefix.decoder import Decoder
from services.generator.prefix.sampling import log_softmax
from triton_models.vision_language import decoder_graph, probe
from triton_models.vision_language.decoder_graph import NotServable, Recipe
from triton_models.vision_language.probe import Probe


@dataclass(frozen=True, slots=True)
class Limits:
    """`kl` in nats, the most that the mean divergence from fp32 may be; `top_1` the least share of places where
    the likeliest token must be the same. A graph in fp32 has limits of its own: it differs by rounding only."""

    kl: float = 0.1
    top_1: float = 0.75


FP32 = Limits(kl=0.001, top_1=0.98)


@dataclass(frozen=True, slots=True)
class Nearness:
    """How far a recipe's graph is from fp32. Not a number anywhere makes `kl` infinite."""

    recipe: Recipe
    kl: float
    top_1: float

    def __str__(self) -> str:
        return f"{self.recipe}: KL {self.kl:.4g}, same likeliest token {self.top_1:.1%}"

    def within(self, limits: Limits) -> bool:
        return self.kl <= limits.kl and self.top_1 >= limits.top_1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What serves, and what was refused before it."""

    serving: Nearness
    refused: tuple[Nearness, ...] = ()

    @property
    def recipe(self) -> Recipe:
        return self.serving.recipe


def opened(serving: Path, slots: int, tokens: int, threads: int, limits: Limits) -> tuple[Decoder, Verdict]:
    """The first of the model's graphs that is near enough. Raises NotServable when none is."""
    reference = probe.read(serving)
    refused: list[Nearness] = []
    for recipe in decoder_graph.facts(serving).recipes:
        decoder = Decoder.open(serving, recipe, slots, tokens, threads)
        found = nearness(recipe, decoder, reference)
        if found.within(FP32 if recipe == "fp32" else limits):
            return decoder, Verdict(found, tuple(refused))
        refused.append(found)
    raise NotServable(f"no graph is near enough to fp32 on this machine: {'; '.join(map(str, refused))}")


def nearness(recipe: Recipe, decoder: Decoder, reference: Probe) -> Nearness:
    """Kullback-Leibler divergence of the graph's next-token distribution from the reference's, in the mean."""
    said = np.concatenate(list(_answers(decoder, reference)))
    if not np.isfinite(said).all():
        return Nearness(recipe, float("inf"), 0.0)
    logprobs = log_softmax(said).astype(np.float64)
    found = probe.grouped(logprobs, reference.tokens).astype(np.float64)
    expected = reference.logprobs.astype(np.float64)
    kl = (np.exp(expected) * (expected - found)).sum(-1).mean()
    same = logprobs.argmax(-1) == reference.tokens[..., 0]
    return Nearness(recipe, float(kl), float(same.mean()))


def _answers(decoder: Decoder, reference: Probe) -> Iterator[npt.NDArray[np.float32]]:
    """Logits [rows, STEPS + 1, vocabulary], for as many rows at a time as the decoder has slots."""
    for first in range(0, len(reference.rows), decoder.slots):
        rows = range(first, min(first + decoder.slots, len(reference.rows)))
        read = [_read(decoder, slot, reference.rows[row], probe.begun(row)) for slot, row in enumerate(rows)]
        steps = [_step(decoder, reference, rows, n) for n in range(probe.STEPS)]
        yield np.stack([np.stack(read), *steps], axis=1)


def _read(decoder: Decoder, slot: int, ids: tuple[int, ...], begun: int) -> Floats:
    return decoder.read(slot, decoder.embed(ids[:begun]))


def _step(decoder: Decoder, reference: Probe, rows: range, n: int) -> Floats:
    lengths = [probe.begun(row) + n for row in rows]
    ids = [reference.rows[row][length] for row, length in zip(rows, lengths, strict=True)]
    return decoder.step(decoder.embed(ids), lengths).copy()
