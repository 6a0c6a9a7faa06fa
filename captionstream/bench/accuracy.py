"""How near a recipe is to what transformers says in fp32, on the bench's own pictures.

`kl` is of the language half alone: both sides read the same visual tokens, and the same words before each place.
`kl_end_to_end` has our own decoding, eye and tokens in it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from captionstream.bench import model
from captionstream.bench.decoding import LIMITS
from captionstream.bench.making import IMAGE_TOKEN
from services.generator.prefix.decoder import Decoder
from services.generator.prefix.sampling import log_softmax
from services.ingest.normal_form import normal_form
from triton_models.vision_language.decoder_graph import Recipe

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Nearness:
    """Means over all places of all captions; `cosine` of the visual tokens, the worst picture."""

    kl: float
    top_1: float
    kl_end_to_end: float
    cosine: float


def of_recipe(
    folder: Path, recipe: Recipe, work: Path, files: Sequence[Path], told: Sequence[Path]
) -> Nearness:
    """`told` is what the naive script wrote of each file (naive.Naive.judge)."""
    serving = model.serving_with(folder / "serving", recipe, work)
    decoder = Decoder.open(serving, recipe, 1, model.ROOM)
    eye = model.Eye(folder, eight_bits=recipe == "dynamic8")
    image = model.token_id(folder / "language", IMAGE_TOKEN)
    rows = [
        judged(decoder, eye, image, file, dict(np.load(said))) for file, said in zip(files, told, strict=True)
    ]
    kl, same, whole, cosine = (np.array(column) for column in zip(*rows, strict=True))
    return Nearness(
        round(float(kl.mean()), 5), round(float(same.mean()), 3), round(float(whole.mean()), 5),
        round(float(cosine.min()), 5),
    )  # fmt: skip


def judged(
    decoder: Decoder, eye: model.Eye, image: int, file: Path, told: dict[str, Any]
) -> tuple[float, float, float, float]:
    """KL and share of equal likeliest tokens on the same visual tokens, KL with our own, their cosine."""
    seen = told["seen"]
    form = normal_form(file.read_bytes(), LIMITS)
    pixels = np.asarray(Image.frombytes("RGB", (form.width, form.height), form.pixels))
    own = eye.look(pixels)
    given = said(decoder, told, seen, image)
    expected = told["logprobs"]
    same = float((given.argmax(-1) == expected.argmax(-1)).mean())
    return kl_of(expected, given), same, kl_of(expected, said(decoder, told, own, image)), cosine(seen, own)


def said(decoder: Decoder, told: dict[str, Any], seen: Floats, image: int) -> Floats:
    """Log-probabilities [24, vocabulary] before each token of the reference's caption."""
    prompt, ids = told["prompt"], told["ids"]
    embeddings = decoder.embed(prompt).copy()
    embeddings[prompt == image] = seen
    rows = [decoder.read(0, embeddings)]
    for place, token in enumerate(ids[:-1]):
        rows.append(decoder.step(decoder.embed([token]), [len(prompt) + place])[0].copy())
    return log_softmax(np.stack(rows).astype(np.float32))


def kl_of(expected: Floats, given: Floats) -> float:
    """In nats, the mean over the places."""
    wanted = expected.astype(np.float64)
    return float((np.exp(wanted) * (wanted - given)).sum(-1).mean())


def cosine(one: Floats, other: Floats) -> float:
    left, right = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))
