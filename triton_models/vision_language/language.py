"""The language half: prompts and visual tokens → words. The reference engine, by transformers' `generate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from triton_models.vision_language import decoders
from triton_models.vision_language.split import DoesNotFit, Split
from triton_models.vision_language.visual_tokens import VisualTokens

Message = dict[str, Any]
"""`{"role": ..., "content": [{"type": "image"}, {"type": "text", "text": ...}]}`, as chat templates take it."""


@dataclass(frozen=True)
class Prompt:
    """A conversation and its images, in the order in which it names them."""

    messages: tuple[Message, ...]
    images: tuple[VisualTokens, ...]


@dataclass(frozen=True)
class Decoding:
    """`seed` draws from the distribution that the checkpoint's own settings shape; None takes the likeliest token."""

    most_tokens: int
    seed: int | None = None


@dataclass(frozen=True)
class Prefix:
    """A batch of prompts, shorter ones filled up at their beginning. `positions` is None for plain counting."""

    ids: torch.Tensor = field(repr=False)  # [b, l]
    embeddings: torch.Tensor = field(repr=False)  # [b, l, width]
    mask: torch.Tensor = field(repr=False)  # [b, l], 0 where filled up
    positions: torch.Tensor | None = field(repr=False)  # [axes, b, l]


class LanguageHalf:
    """Holds no weight of the vision half."""

    def __init__(self, split: Split, tokenizer: Any, decoder: Any) -> None:
        self._split = split
        self._tokenizer = tokenizer
        self._decoder = decoder

    @classmethod
    def open(cls, split: Split, folder: Path) -> LanguageHalf:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model_type = json.loads((folder / "config.json").read_bytes())["model_type"]
        return cls(split, tokenizer, decoders.load(folder, model_type))

    def ids(self, prompt: Prompt) -> list[int]:
        """The conversation by the chat template, with as many `image_token` as it has visual tokens.

        Raises DoesNotFit when it names more or fewer images than it has: a text that spells the token out
        would else take an image's place.
        """
        text = self._tokenizer.apply_chat_template(
            list(prompt.messages), tokenize=False, add_generation_prompt=True
        )
        parts = text.split(self._split.image_token)
        if len(parts) != len(prompt.images) + 1:
            raise DoesNotFit(f"the prompt names {len(parts) - 1} images and has {len(prompt.images)}")
        stand_ins = [self._split.placeholder(len(image), image.grid) for image in prompt.images]
        whole = "".join(part + stand_in for part, stand_in in zip(parts, [*stand_ins, ""], strict=True))
        begun = self._tokenizer.bos_token is not None and whole.startswith(self._tokenizer.bos_token)
        ids: list[int] = self._tokenizer(whole, add_special_tokens=not begun)["input_ids"]
        return ids

    def prefix(self, prompts: Sequence[Prompt]) -> Prefix:
        """Raises DoesNotFit."""
        rows = [self.ids(prompt) for prompt in prompts]
        longest = max(map(len, rows))
        filler = self._tokenizer.pad_token_id
        ids = torch.tensor([[filler] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        return Prefix(ids, self._embedded(ids, prompts), mask, self._positions(rows, prompts, longest))

    def generate(self, prefix: Prefix, decoding: Decoding) -> list[list[int]]:
        """The new tokens of each row, up to and with the one that ends it.

        The prompt's ids go along with its embeddings: rules that look back (a penalty for repeating, say)
        look at them.
        """
        if decoding.seed is not None:
            torch.manual_seed(decoding.seed)
        positions = {} if prefix.positions is None else {"position_ids": prefix.positions}
        with torch.no_grad():
            written = self._decoder.generate(
                input_ids=prefix.ids,
                inputs_embeds=prefix.embeddings,
                attention_mask=prefix.mask,
                **positions,
                **settings(decoding),
            )
        return ended(written[:, prefix.ids.shape[1] :], self._decoder.generation_config)

    def _embedded(self, ids: torch.Tensor, prompts: Sequence[Prompt]) -> torch.Tensor:
        with torch.no_grad():
            embeddings = self._decoder.get_input_embeddings()(ids)
        seen = [torch.from_numpy(image.values).float() for prompt in prompts for image in prompt.images]
        places = ids == self._split.image_token_id
        if int(places.sum()) != sum(map(len, seen)):
            raise DoesNotFit(f"{int(places.sum())} places for {sum(map(len, seen))} visual tokens")
        if seen:
            embeddings[places] = torch.cat(seen)
        return embeddings

    def _positions(
        self, rows: Sequence[list[int]], prompts: Sequence[Prompt], longest: int
    ) -> torch.Tensor | None:
        found = [
            self._split.positions(row, [image.grid for image in prompt.images])
            for row, prompt in zip(rows, prompts, strict=True)
        ]
        filled = [np.pad(row, ((0, 0), (longest - row.shape[1], 0))) for row in found if row is not None]
        return torch.from_numpy(np.stack(filled, 1)) if filled else None


def settings(decoding: Decoding) -> dict[str, Any]:
    """What `generate` is told beside the checkpoint's own settings."""
    return {"max_new_tokens": decoding.most_tokens, "do_sample": decoding.seed is not None}


def ended(rows: torch.Tensor, settings: Any) -> list[list[int]]:
    """Without what fills a row up after its end."""
    ends = settings.eos_token_id
    known = {ends} if isinstance(ends, int) else set(ends or ())
    cut = []
    for row in rows.tolist():
        last = next((place for place, token in enumerate(row) if token in known), len(row))
        cut.append(row[: last + 1])
    return cut
