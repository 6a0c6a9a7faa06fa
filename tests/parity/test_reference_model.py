"""The reference engine's own model: transformers' tokens, one by one, until nobody listens. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.generator.prefix.binding import rules_for
from services.generator.prefix.constraint import Allowed, Floats
from tests.parity.conftest import Folders

pytestmark = pytest.mark.models
ABOUT = "Describe this picture."
DIGEST = "0" * 64


class Asked:
    """One model with a picture that its eye has seen, and what it was asked and told."""

    def __init__(self, folder: Path) -> None:
        from triton_models.vision_language import decoders, halves
        from triton_models.vision_language.eye import Eye
        from triton_models.vision_language.language import LanguageHalf, Prompt
        from triton_models.vision_language.questions import Question, pictures
        from triton_models.vision_language.reference_model import ReferenceModel

        split = halves.open_halves(folder).split
        picture = pictures(1)[1]
        self.seen = Eye(split, halves.graph_file(folder)).see(split.lay(split.prepare(picture)))
        text = {"type": "text", "text": ABOUT}
        question = Question(picture, ({"role": "user", "content": [{"type": "image"}, text]},))
        self.prompt = Prompt(question.messages, (self.seen,))
        self.half = LanguageHalf.open(split, folder / "language")
        decoder = decoders.load(folder / "language", _model_type(folder))
        self.model = ReferenceModel(split, decoder, folder / "language" / "tokenizer.json", rules_for)
        self.told: list[tuple[int, float, str | None]] = []

    def write(self, listening_for: int = 1000, **changes: Any) -> list[int]:
        """The tokens that were told; whoever listens leaves after so many."""
        from triton_models.vision_language.reference import Wanted
        from triton_models.vision_language.visual_tokens import encode

        self.told = []

        def tell(token: int, logprob: float, finish: str | None) -> bool:
            self.told.append((token, logprob, finish))
            return len(self.told) >= listening_for

        asked: dict[str, Any] = {
            "model": DIGEST, "ids": tuple(self.half.ids(self.prompt)),
            "seen": (encode(self.seen, "float32"),), "most_tokens": 12,
        }  # fmt: skip
        self.model.write(Wanted(**asked | changes), tell)
        return [token for token, _, _ in self.told]


def _model_type(folder: Path) -> str:
    import json

    return str(json.loads((folder / "language" / "config.json").read_bytes())["model_type"])


@pytest.fixture(params=["smolvlm", "llava_onevision", "qwen2_5_vl"])
def asked(request: pytest.FixtureRequest, halves_of: Folders) -> Iterator[Asked]:
    yield Asked(halves_of(request.param))


@pytest.mark.parametrize("seed", [None, 7])
def test_its_tokens_are_those_of_generate(asked: Asked, seed: int | None) -> None:
    """Of each class; the last one has its finish, every one the model's own probability."""
    from triton_models.vision_language.language import Decoding

    (expected,) = asked.half.generate(asked.half.prefix([asked.prompt]), Decoding(12, seed))
    assert expected == asked.write(seed=seed)
    finishes = [finish for _, _, finish in asked.told]
    assert {None} >= {*finishes[:-1]}
    assert finishes[-1] in ("length", "end")
    assert all(logprob <= 0 for _, logprob, _ in asked.told)


def test_a_greedy_token_is_the_likeliest_one_and_says_how_likely(asked: Asked) -> None:
    """Before any penalty: the logarithms are of the model's own distribution."""
    import torch

    asked.write()
    last, logprob, _ = asked.told[-1]
    own = torch.log_softmax(asked.model.newest, -1)
    assert np.isclose(float(own[last]), logprob, atol=1e-5)


def test_it_ends_with_whoever_listened(asked: Asked) -> None:
    """At the next token: the engine writes one request at a time, and others wait."""
    assert 3 == len(asked.write(listening_for=3))


def test_a_grammar_binds_every_token(asked: Asked) -> None:
    """Sampled or not, what comes is a text of it, and it ends where the text ends."""
    grammar = 'start: TEXT\nTEXT: " "? ("A dog." | "A cat sits." | "Café.")'
    for seed in (None, 1, 2):
        tokens = asked.write(seed=seed, grammar=grammar, most_tokens=40)
        text = asked.half._tokenizer.decode(tokens, skip_special_tokens=True)
        assert text.strip() in ("A dog.", "A cat sits.", "Café.")
        assert "constraint" == asked.told[-1][2]


def test_a_grammar_that_is_none_is_said(asked: Asked) -> None:
    """Nor is a guide. The request fails, and no other one."""
    from triton_models.vision_language.reference_model import Broke

    for none in ({"grammar": "start: ("}, {"guide": "{}"}):
        with pytest.raises(Broke) as broke:
            asked.write(**none)
        assert "bad-grammar" == broke.value.kind
    assert asked.write()


class Listening:
    """A rule that allows everything and notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[Floats] = []
        self.taken: list[int] = []
        self.finished = False

    def mask(self, logprobs: Floats) -> Allowed | None:
        self.heard.append(logprobs.copy())
        return None

    def take(self, token: int) -> None:
        self.taken.append(token)


class DeadEnd(Listening):
    """A rule whose text cannot go on after its second token."""

    def mask(self, logprobs: Floats) -> Allowed | None:
        return np.full(len(logprobs), len(self.taken) < 2)


class Refusing(Listening):
    def take(self, token: int) -> None:
        raise ValueError("this one is not allowed")


def ruled(asked: Asked, rule: Listening) -> Asked:
    """The same model under that rule."""
    asked.model._rules_for = lambda _vocabulary: lambda _wanted: rule
    return asked


def test_a_rule_hears_the_models_own_probabilities(asked: Asked) -> None:
    """Whatever shapes the draw: a guide weighs words by what the model itself thinks of them."""
    shaping = asked.model._decoder.generation_config
    shaping.repetition_penalty, shaping.temperature, shaping.top_k = 3.0, 0.5, 2
    rule = Listening()
    tokens = ruled(asked, rule).write(seed=3, guide="as it likes")
    assert tokens == rule.taken
    for heard, (token, logprob, _) in zip(rule.heard, asked.told, strict=True):
        assert heard.dtype == np.float32
        assert np.isclose(1.0, np.exp(heard.astype(np.float64)).sum(), atol=1e-4)
        assert float(heard[token]) == logprob


@pytest.mark.parametrize(("rule", "told"), [(DeadEnd, 2), (Refusing, 0)])
def test_a_text_that_cannot_go_on_is_said(asked: Asked, rule: type[Listening], told: int) -> None:
    """After what was told of it; no token comes that the rule did not take."""
    from triton_models.vision_language.reference_model import Broke

    with pytest.raises(Broke) as broke:
        ruled(asked, rule()).write(grammar="of its own")
    assert ("bad-grammar", told) == (broke.value.kind, len(asked.told))


def test_a_prompt_with_places_for_other_tokens_does_not_fit(asked: Asked) -> None:
    """Neither without visual tokens, nor with ids that the model does not have, nor with bytes that are none."""
    from triton_models.vision_language.split import DoesNotFit

    for change in ({"seen": ()}, {"ids": (10**6,), "seen": ()}, {"seen": (b"nothing",)}):
        with pytest.raises(DoesNotFit):
            asked.write(**change)
