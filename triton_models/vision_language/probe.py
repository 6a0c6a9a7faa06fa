"""A frozen measure for graphs of a decoder: what the fp32 weights say about a few fixed texts.

Made once, by transformers, when the graphs are written; compared with what a graph says wherever it is loaded, since
the same graph may say something else on another processor. The texts never change: figures stay comparable.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FILE = "probe.safetensors"
TEXTS = (
    "A brown dog runs across a wet street while two children watch from a yellow bus that waits at the corner. Behind "
    "them stands a row of narrow houses with red doors, and a man in a grey coat carries a ladder towards the trees.",
    "The photograph shows an old stone bridge over a narrow river, with small wooden boats tied to its left bank. On "
    "the bridge a woman with a large umbrella is talking to a boy with a fishing rod, who looks down at the water.",
    "Three red apples and a knife lie on a white plate beside a glass of water, on a table that is covered by a blue "
    "cloth. Next to the window a grey cat sleeps on a wooden chair, and sunlight falls on the floor of the kitchen.",
    "On the screen a line chart rises from January to June, then falls slowly until the end of the year. A second "
    "line in green stays nearly flat, while the text below says that the number of visitors was higher than expected.",
)
SHORTEST = 24
"""Tokens of the first text that are read at once, as a prompt is; of every further text one more. A recipe that the
huge activations of a first token spoil shows it only when other tokens are read together with that one."""
STEPS = 12
KEPT = 512
"""Of the likeliest tokens each has its probability in the reference; all the others have one together."""


class Probe(NamedTuple):
    """`rows` are the texts as ids. `tokens` [r, STEPS + 1, k] are the likeliest next tokens, the likeliest first,
    from the last that is read at once on; `logprobs` [r, STEPS + 1, k + 1] theirs, and that of all others together."""

    rows: tuple[tuple[int, ...], ...]
    tokens: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]


def begun(row: int) -> int:
    """How many tokens of row number `row` are read at once: rows of a batch are of different lengths, as in life."""
    return SHORTEST + row


class TooShort(Exception):
    """A tokenizer makes too few tokens of the texts."""


def write(language: Path, serving: Path) -> None:
    """Needs torch and transformers. Raises TooShort."""
    import torch
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer

    from triton_models.vision_language import decoders

    tokenizer = Tokenizer.from_file(str(language / "tokenizer.json"))
    config = json.loads((language / "config.json").read_bytes())
    model = decoders.load(language, config["model_type"])
    first = [] if config.get("bos_token_id") is None else [config["bos_token_id"]]
    encoded = [first + tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    rows = [_cut(ids, n) for n, ids in enumerate(encoded)]
    tensors: dict[str, Any] = {f"row.{n}": np.array(row, np.int64) for n, row in enumerate(rows)}
    with torch.no_grad():
        said = [model(input_ids=torch.tensor([row])).logits[0, begun(n) - 1 :] for n, row in enumerate(rows)]
    found = [likeliest(torch.log_softmax(logits.double(), -1).numpy()) for logits in said]
    tensors["tokens"] = np.stack([tokens for tokens, _ in found])
    tensors["logprobs"] = np.stack([logprobs for _, logprobs in found])
    save_file(tensors, serving / FILE)


def read(serving: Path) -> Probe:
    from safetensors.numpy import load_file

    found = load_file(serving / FILE)
    rows = tuple(tuple(found[f"row.{n}"].tolist()) for n in range(len(TEXTS)))
    return Probe(rows, found["tokens"], found["logprobs"])


def likeliest(logprobs: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """[n, vocabulary] → tokens [n, k], logprobs [n, k + 1]"""
    kept = min(KEPT, logprobs.shape[-1] - 1)
    tokens = np.argsort(-logprobs, axis=-1, kind="stable")[:, :kept].astype(np.int32)
    return tokens, grouped(logprobs, tokens)


def grouped(logprobs: npt.NDArray[np.float64], tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """[..., vocabulary] → [..., k + 1]: those of `tokens` [..., k], and that of all others together."""
    kept = np.take_along_axis(logprobs, tokens.astype(np.int64), -1)
    others = np.log(np.maximum(1 - np.exp(kept).sum(-1, keepdims=True), np.finfo(np.float32).tiny))
    return np.concatenate([kept, others], -1).astype(np.float32)


def _cut(ids: list[int], row: int) -> list[int]:
    length = begun(row) + STEPS
    if len(ids) < length:
        raise TooShort(f"{len(ids)} tokens, {length} are needed")
    return ids[:length]
