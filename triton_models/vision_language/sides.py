"""The two sides of the proof: the whole model as transformers runs it, and its halves with a way between them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from captionstream.payloads.store import PayloadStore
from triton_models.vision_language import halves
from triton_models.vision_language.eye import Eye
from triton_models.vision_language.language import Decoding, LanguageHalf, Message, Prompt, ended, settings
from triton_models.vision_language.questions import Question
from triton_models.vision_language.visual_tokens import MEDIA_TYPE, Precision, VisualTokens, decode, encode


class Whole:
    """The reference: transformers' `generate` on the whole model, prompts by its own processor."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    def answer(
        self, questions: Sequence[Question], decoding: Decoding
    ) -> tuple[torch.Tensor, list[list[int]]]:
        """The prompts' ids [b, l] and the new tokens of each row."""
        given = self._processor.apply_chat_template(
            [_shown(question) for question in questions],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        if decoding.seed is not None:
            torch.manual_seed(decoding.seed)
        with torch.no_grad():
            written = self._model.generate(**given, **settings(decoding))
        ids: torch.Tensor = given["input_ids"]
        return ids, ended(written[:, ids.shape[1] :], self._model.generation_config)


def _shown(question: Question) -> list[Message]:
    """The conversation with the picture in it."""
    first, *rest = question.messages
    image, *others = first["content"]
    return [{**first, "content": [{**image, "image": question.picture}, *others]}, *rest]


class TwoHalves:
    """The halves, each from its own files, with a payload store between them."""

    def __init__(self, folder: Path, precision: Precision) -> None:
        self._halves = halves.open_halves(folder)
        self._eye = Eye(self._halves.split, halves.graph_file(folder))
        self._language = LanguageHalf.open(self._halves.split, folder / "language")
        self._precision = precision
        self._payloads = PayloadStore.open("memory")
        self.arrived: dict[bytes, VisualTokens] = {}
        self.largest = 0

    def answer(
        self, questions: Sequence[Question], decoding: Decoding
    ) -> tuple[torch.Tensor, list[list[int]]]:
        """As `Whole.answer`. A picture is seen once, however many questions there are about it."""
        prompts = [Prompt(question.messages, (self._seen(question.picture),)) for question in questions]
        prefix = self._language.prefix(prompts)
        return prefix.ids, self._language.generate(prefix, decoding)

    def _seen(self, picture: Image.Image) -> VisualTokens:
        name = picture.tobytes()
        if name not in self.arrived:
            split = self._halves.split
            self.arrived[name] = asyncio.run(self._sent(self._eye.see(split.lay(split.prepare(picture)))))
        return self.arrived[name]

    async def _sent(self, tokens: VisualTokens) -> VisualTokens:
        payload = await self._payloads.put(encode(tokens, self._precision), MEDIA_TYPE)
        self.largest = max(self.largest, payload.size)
        return decode(await self._payloads.get(payload), self._halves.split.width)


@dataclass(frozen=True)
class Sides:
    """All that is compared about one model."""

    whole: Whole
    by_torchvision: Whole
    exact: TwoHalves
    short: TwoHalves

    @classmethod
    def of(cls, source: Path, work: Path) -> Sides:
        model = halves.whole_model(source)
        return cls(
            whole=Whole(model, halves.processor_of(source)),
            by_torchvision=Whole(model, halves.processor_of(source, "torchvision")),
            exact=TwoHalves(work, "float32"),
            short=TwoHalves(work, "float16"),
        )
