"""The sides of the proof: the whole model as transformers runs it, and its halves with a way between them.

Two engines write from what the eye has seen: transformers, and the generator's own on ONNX Runtime, which is the only
thing here that is imported from the services.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import LogitsProcessor

from captionstream.payloads.store import PayloadStore
from services.generator.prefix import engine
from services.generator.prefix.sampling import Shaping
from triton_models.vision_language import decoder_graph, halves
from triton_models.vision_language.eye import Eye
from triton_models.vision_language.language import Decoding, LanguageHalf, Message, Prompt, ended, settings
from triton_models.vision_language.questions import Question
from triton_models.vision_language.split import Split
from triton_models.vision_language.visual_tokens import MEDIA_TYPE, Precision, VisualTokens, decode, encode


class Whole:
    """The reference: transformers' `generate` on the whole model, prompts by its own processor."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    def answer(
        self, questions: Sequence[Question], decoding: Decoding, row_by_row: bool = False
    ) -> tuple[torch.Tensor, list[list[int]]]:
        """The prompts' ids [b, l] and the new tokens of each row.

        transformers draws for all rows of a batch at once. `row_by_row` gives each row uniform numbers of its own
        from numpy's generator of that seed, which choose from the probabilities that `generate` has shaped.
        """
        noise = (
            {"custom_generate": DrawnAlone(decoding.seed)} if row_by_row and decoding.seed is not None else {}
        )
        given = self._given(questions)
        if decoding.seed is not None:
            torch.manual_seed(decoding.seed)
        with torch.no_grad():
            written = self._model.generate(**given, **settings(decoding), **noise)
        ids: torch.Tensor = given["input_ids"]
        return ids, ended(written[:, ids.shape[1] :], self._model.generation_config)

    def prompts(self, questions: Sequence[Question]) -> list[list[int]]:
        """The ids of each question's prompt, not filled up."""
        rows: list[list[int]] = [self._given([question])["input_ids"][0].tolist() for question in questions]
        return rows

    def _given(self, questions: Sequence[Question]) -> Any:
        return self._processor.apply_chat_template(
            [_shown(question) for question in questions],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )


class DrawnAlone:
    """transformers' own loop of sampling, with one more rule at the end of its rules: see `_ByUniforms`."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, model: Any, input_ids: torch.Tensor, logits_processor: Any, **more: Any) -> Any:
        logits_processor.append(_ByUniforms(self._seed, len(input_ids)))
        return model._sample(input_ids, logits_processor=logits_processor, **more)


class _ByUniforms(LogitsProcessor):  # type: ignore[misc, unused-ignore]
    """Leaves one token to draw: the first at which the probabilities add up to more than a uniform number."""

    def __init__(self, seed: int, rows: int) -> None:
        self._randoms = [np.random.default_rng(seed) for _ in range(rows)]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        left = torch.full_like(scores, -torch.inf)
        for row, random in enumerate(self._randoms):
            line = torch.softmax(scores[row].double(), -1).cumsum(-1)
            left[row, int((line > random.random() * line[-1]).nonzero()[0])] = 0
        return left


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
        prompts = [Prompt(question.messages, (self.seen(question.picture),)) for question in questions]
        prefix = self._language.prefix(prompts)
        return prefix.ids, self._language.generate(prefix, decoding)

    def seen(self, picture: Image.Image) -> VisualTokens:
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
class _OnDisk:
    """As the serving engine takes a split model."""

    split: Split
    language: Path
    serving: Path


class Served:
    """The halves, the language half by ONNX Runtime: a continuous batch with fewer slots than there are questions."""

    SLOTS, TOKENS, AHEAD = 3, 4096, 2
    """A question is asked when the one before it has so many tokens: rows join and leave at different times."""
    ONLY_FP32 = engine.Limits(kl=0.0, top_1=1.0)

    def __init__(self, folder: Path, serving: Path, sight: TwoHalves) -> None:
        """`folder` is of both halves, `sight` says how their pictures are seen.

        Raises NotServable when the engine's own gate refuses the graph.
        """
        self._sight = sight
        model = _OnDisk(halves.open_halves(folder).split, folder / "language", serving)
        room = engine.Room(self.SLOTS, self.TOKENS)
        self._engine = asyncio.run(engine.PrefixEngine.open(model, room, self.ONLY_FP32))

    def answer(
        self, questions: Sequence[Question], decoding: Decoding, sight: TwoHalves | None = None
    ) -> tuple[list[list[int]], list[list[int]]]:
        """The prompts' ids and the new tokens of each."""
        eye = sight or self._sight
        asked = [self._engine.asked(one.messages, [eye.seen(one.picture)]) for one in questions]
        return [list(one.ids) for one in asked], asyncio.run(self._answers(asked, decoding))

    def close(self) -> None:
        asyncio.run(self._engine.close())

    async def _answers(self, asked: Sequence[engine.Asked], decoding: Decoding) -> list[list[int]]:
        tasks = []
        for one in asked:
            begun = asyncio.Event()
            tasks.append(asyncio.create_task(self._tokens(one, decoding, begun)))
            await begun.wait() if len(tasks) < self.SLOTS else None
        return await asyncio.gather(*tasks)

    async def _tokens(self, asked: engine.Asked, decoding: Decoding, begun: asyncio.Event) -> list[int]:
        how, written = engine.Decoding(decoding.most_tokens, decoding.seed), []
        try:
            async with aclosing(self._engine.write(asked, how)) as tokens:
                async for token in tokens:
                    written.append(token.id)
                    if len(written) == self.AHEAD:
                        begun.set()
        finally:
            begun.set()
        return written


@dataclass(frozen=True)
class Sides:
    """All that is compared about one model."""

    whole: Whole
    by_torchvision: Whole
    exact: TwoHalves
    short: TwoHalves
    served: Served | None

    @classmethod
    def of(cls, source: Path, work: Path) -> Sides:
        """`work` is the folder of the halves."""
        model = halves.whole_model(source)
        exact = TwoHalves(work, "float32")
        return cls(
            whole=Whole(model, halves.processor_of(source)),
            by_torchvision=Whole(model, halves.processor_of(source, "torchvision")),
            exact=exact,
            short=TwoHalves(work, "float16"),
            served=_served(work, exact),
        )

    def close(self) -> None:
        if self.served:
            self.served.close()


def _served(folder: Path, sight: TwoHalves) -> Served | None:
    """None for a class, or for settings, that have no graph: transformers is their only engine.

    The graph is that beside the halves, or one that is written for the proof.
    """
    with tempfile.TemporaryDirectory() as work:
        serving = folder / "serving"
        try:
            Shaping.of(folder / "language")
            if not serving.is_dir():
                serving = Path(work, "serving")
                decoder_graph.write(folder / "language", serving, "fp32")
        except decoder_graph.NotServable:
            return None
        return Served(folder, serving, sight)  # the files may go: a loaded graph and its mapped table stay
