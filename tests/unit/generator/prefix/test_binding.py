"""What binds a text arrives in the other process whole, and binds there as it does here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer

from captionstream.contracts.messages import Form
from captionstream.contracts.scene import Scene
from captionstream.contracts.values import Profile
from services.generator.guided.of_scene import guide_of
from services.generator.prefix.binding import as_json, binding_of, from_json, rules_for
from services.generator.prefix.grammar_mask import Tokens, constraint_of
from services.generator.translation import sayable
from services.generator.writer import Task
from tests.unit.generator.builders import english, scenes, spanish, vocabulary
from tests.unit.generator.prefix import small_model
from tests.unit.generator.prefix.test_grammar_mask import DOG, LANGUAGES, Model, few, task, task_in
from triton_models.vision_language.reference import Wanted
from triton_models.vision_language.rule import Rules, Vocabulary

TOKENIZER = small_model.FOLDER / "language" / "tokenizer.json"
END = 0


@cache
def here() -> Tokens:
    made = Tokenizer.from_file(str(TOKENIZER))
    return Tokens.of(made, [END], made.get_vocab_size() + 3)


@cache
def there() -> Rules:
    return rules_for(Vocabulary(TOKENIZER, here().ends, here().size))


def wanted(**bound: str | None) -> Wanted:
    return Wanted.model_validate({"model": "0" * 64, "ids": (1,), "most_tokens": 1, **bound})


def sent(asked: Task) -> Wanted:
    """As it is when it was on the wire."""
    return Wanted.model_validate_json(wanted(**binding_of(asked)._asdict()).model_dump_json())


@few
@given(shown=scenes(), language=LANGUAGES, profile=st.sampled_from(Profile))
def test_a_guide_arrives_as_it_left(shown: Scene, language: str, profile: Profile) -> None:
    """With every wording, claim and score, and with what it leaves to the model, be it nothing."""
    speech = {"en": english, "es": spanish}[language]()
    said = sayable(shown, speech, vocabulary())
    assume(said.things)
    guide = guide_of(said, speech, profile, 0.3, room=90, vocabulary=vocabulary())
    assert guide == from_json(as_json(guide))


@few
@given(shown=scenes(), language=LANGUAGES, form=st.sampled_from(Form), seed=st.integers(0, 2**32))
def test_what_binds_there_binds_as_here(shown: Scene, language: str, form: Form, seed: int) -> None:
    """Token for token, whatever the model would rather say."""
    asked = task_in(language, shown, form)
    local, remote = constraint_of(asked, here()), there()(sent(asked))
    model = Model(np.random.default_rng(seed), here().size, sure_of=3)
    for _ in range(30):
        logprobs = model.next()
        mine, theirs = local.mask(logprobs), remote.mask(logprobs)
        assert mine is not None and theirs is not None
        assert (mine == theirs).all()
        if not mine.any():
            return
        token = int(np.argmax(np.where(mine, logprobs, -np.inf)))
        local.take(token)
        remote.take(token)
        assert local.finished == remote.finished
        if local.finished:
            return


def test_a_task_is_bound_by_its_guide_or_by_its_grammar() -> None:
    """Guided by nothing is strict."""
    strict, guided = task(DOG, english(), Form.STRICT), task(DOG, english(), Form.GUIDED)
    unguided = Task(guided.prompt, guided.allowed, Form.GUIDED)
    assert guided.guide == from_json(binding_of(guided).guide or "")
    assert binding_of(guided).grammar is None
    for bound in (binding_of(strict), binding_of(unguided)):
        assert "TEXT" in (bound.grammar or "")
        assert bound.guide is None


def test_two_rules_for_one_text_are_refused() -> None:
    """Nobody has to guess which one counts."""
    with pytest.raises(ValidationError, match="a grammar or by a guide"):
        wanted(grammar="start: TEXT", guide="{}")


SPOILT: tuple[Callable[[dict[str, object]], object], ...] = (
    lambda told: told.clear(),
    lambda told: told.pop("words"),
    lambda told: told.update(least=0),
    lambda told: told.update(newer="than this"),
)


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_guide_that_is_not_understood_binds_nothing(spoil: Callable[[dict[str, object]], object]) -> None:
    """No text is written under a part of it."""
    told = json.loads(as_json(guide_of(DOG, english(), Profile.ALT, 0.3)))
    spoil(told["guide"])
    with pytest.raises(ValueError, match="no guide"):
        there()(wanted(guide=json.dumps(told)))


@pytest.mark.parametrize("bound", [{"guide": "no JSON"}, {"grammar": "start: ("}, {}])
def test_what_is_no_rule_binds_nothing(bound: dict[str, str]) -> None:
    """It is said, and no text is written free."""
    with pytest.raises(ValueError, match=r"no guide|refuses|nothing"):
        there()(wanted(**bound))
