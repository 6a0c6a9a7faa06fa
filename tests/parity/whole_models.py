"""What whole models say, worked out by the Python that has torch; the proof that reads it has none.

    models-venv/bin/python -m tests.parity.whole_models free FOLDER < asked.json
    models-venv/bin/python -m tests.parity.whole_models bound FOLDER < asked.json
    models-venv/bin/python -m tests.parity.whole_models pair FOLDER < asked.json

`free`: FOLDER gets a registry with a split model of every class (its decoder's graph in fp32, where its class has one),
one more with a wrong weight in its connector, the pictures as PNG files, and `free.json`: for every model, picture and
prompt what transformers' `generate` on the WHOLE model writes, alone. `bound`: `bound.json` gets what it writes about a
picture under a grammar. `pair`: a registry with two models of one class and different weights, to be swapped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from llguidance import LLMatcher, LLTokenizer
from PIL import Image

from triton_models.registry import SERVING, Registry, SplitModel, write_ready
from triton_models.vision_language import decoder_graph, halves, tiny
from triton_models.vision_language.checkpoint import open_checkpoint
from triton_models.vision_language.classes import MODEL_TYPES
from triton_models.vision_language.language import Decoding
from triton_models.vision_language.parity import break_connector, versions
from triton_models.vision_language.questions import Question, pictures
from triton_models.vision_language.sides import Whole

BROKEN = "broken"


def main(work: str, folder: Path, asked: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    done = {"free": free, "bound": bound, "pair": pair}[work](folder, asked)
    (folder / f"{work}.json").write_text(json.dumps(done))


# ---------------------------------------------------------------- free


def free(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    shown = pictures(1)
    for number, picture in enumerate(shown):
        picture.save(folder / f"picture-{number}.png")
    registry = Registry(folder / "models")
    models: dict[str, Any] = {}
    for name in asked["classes"]:
        source = tiny.write(name, folder / "checkpoints" / name)
        digest = split(registry, source, name).digest
        models[name] = {"digest": digest, "answers": answers(source, shown, asked)}
    broken = split(registry, folder / "checkpoints" / asked["classes"][0], BROKEN, break_connector)
    return {"models": models, "broken": broken.digest, "versions": versions()}


def split(
    registry: Registry, source: Path, name: str, change: Callable[[Any], None] | None = None
) -> SplitModel:
    with registry.workplace() as work:
        made = work / "model"
        halves.write(open_checkpoint(source, MODEL_TYPES), made, change)
        try:
            decoder_graph.write(made / "language", made / SERVING, "fp32")
        except decoder_graph.NotServable as refused:
            print(f"{name}: {refused}", file=sys.stderr)
        return registry.publish(made, write_ready(made, name, "random weights for tests"))


def answers(source: Path, shown: list[Image.Image], asked: dict[str, Any]) -> list[dict[str, Any]]:
    """For each question `ids` of the prompt, and the new tokens by each way to choose them."""
    whole = Whole(halves.whole_model(source), halves.processor_of(source))
    return [_answer(whole, shown[number], number, prompt, asked) for number, prompt in asked["questions"]]


def _answer(
    whole: Whole, picture: Image.Image, number: int, prompt: int, asked: dict[str, Any]
) -> dict[str, Any]:
    question = [Question(picture, tuple(asked["prompts"][prompt]))]
    most, seed = asked["tokens"], asked["seed"]
    ids, greedy = whole.answer(question, Decoding(most))
    _, sampled = whole.answer(question, Decoding(most, seed))
    with drawn_by_numpy(seed):
        _, noise = whole.answer(question, Decoding(most, seed))
    return {
        "picture": number, "prompt": prompt, "ids": ids[0].tolist(),
        "greedy": greedy[0], "sampled": sampled[0], "sampled, same noise": noise[0],
    }  # fmt: skip


@contextmanager
def drawn_by_numpy(seed: int) -> Iterator[None]:
    """transformers' own distribution, and the uniform numbers that an engine without torch draws with its seed."""
    random, own = np.random.default_rng(seed), torch.multinomial

    def drawn(chances: torch.Tensor, num_samples: int) -> torch.Tensor:
        line = chances.double().cumsum(-1)
        place = torch.tensor([[random.random()]], dtype=torch.float64) * line[:, -1:]
        return torch.searchsorted(line, place, right=True)

    torch.multinomial = drawn
    try:
        yield
    finally:
        torch.multinomial = own


def pair(folder: Path, asked: dict[str, Any]) -> dict[str, str]:
    """Digests by the names `asked["names"]`."""
    registry, digests = Registry(folder / "models"), {}
    for seed, name in enumerate(asked["names"]):
        source = tiny.write("smolvlm", folder / "checkpoints" / name, seed)
        digests[name] = split(registry, source, name).digest
    return digests


# ---------------------------------------------------------------- under a grammar


def bound(folder: Path, asked: dict[str, Any]) -> list[str]:
    """The text of each of `asked["texts"]`: `model`, `picture`, `messages`, `grammar` (Lark)."""
    return [_bound(folder, one) for one in asked["texts"]]


def _bound(folder: Path, one: dict[str, Any]) -> str:
    source = folder / "checkpoints" / one["model"]
    model, processor = halves.whole_model(source), halves.processor_of(source)
    picture = Image.open(folder / f"picture-{one['picture']}.png").convert("RGB")
    rule = Grammar(processor.tokenizer, one["grammar"], model.config.text_config.vocab_size)
    _, (tokens,) = Whole(Ruled(model, rule), processor).answer(
        [Question(picture, tuple(one["messages"]))], Decoding(96)
    )
    return str(processor.tokenizer.decode(tokens, skip_special_tokens=True))


class Ruled:
    """The whole model, its `generate` under one rule."""

    def __init__(self, model: Any, rule: Grammar) -> None:
        self._model, self._rule = model, rule
        self.generation_config = model.generation_config

    def generate(self, **given: Any) -> Any:
        return self._model.generate(logits_processor=[self._rule], **given)


class Grammar(transformers.LogitsProcessor):  # type: ignore[misc, unused-ignore]
    """A grammar over whole texts. When it has ended, the end token is all that is left."""

    def __init__(self, tokenizer: Any, grammar: str, size: int) -> None:
        self._end = tokenizer.eos_token_id
        engine = LLTokenizer(tokenizer.backend_tokenizer.to_str(), n_vocab=size, eos_token=self._end)
        self._matcher = LLMatcher(engine, LLMatcher.grammar_from_lark(grammar), log_level=0)
        self._begun = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._begun:
            self._matcher.consume_token(int(input_ids[0, -1]))
        self._begun = True
        assert not self._matcher.is_error(), self._matcher.get_error()
        allowed = torch.zeros(scores.shape[1], dtype=torch.bool)
        for token in [self._end] if self._matcher.is_stopped() else self._allowed():
            allowed[token] = True
        return scores.masked_fill(~allowed, float("-inf"))

    def _allowed(self) -> list[int]:
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return [int(token) for token in np.flatnonzero(np.unpackbits(mask, bitorder="little"))]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.load(sys.stdin))
