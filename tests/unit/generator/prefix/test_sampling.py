"""Which token comes next."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from services.generator.prefix.constraint import NothingAllowed
from services.generator.prefix.sampling import Sampler, Shaping, chances, drawn, log_softmax
from triton_models.vision_language.decoder_graph import NotServable

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def _kept(shaping: Shaping) -> list[float]:
    return [round(float(chance), 3) for chance in chances(LOGITS, shaping)]


def test_the_settings_of_the_checkpoint_shape_the_distribution() -> None:
    """Temperature, then the likeliest k, then the likeliest that make up p."""
    assert [0.1, 0.4, 0.2, 0.3] == _kept(Shaping())
    assert [0.033, 0.533, 0.133, 0.3] == _kept(Shaping(temperature=0.5))
    assert [0.0, 0.571, 0.0, 0.429] == _kept(Shaping(top_k=2))
    assert [0.0, 0.444, 0.222, 0.333] == _kept(Shaping(top_p=0.85))
    assert [0.0, 1.0, 0.0, 0.0] == _kept(Shaping(top_p=0.01))


def test_a_draw_falls_on_a_token_as_often_as_it_is_likely() -> None:
    """The line from 0 to 1 is divided among the tokens; a token without a chance has no part of it."""
    probabilities = np.array([0.0, 0.25, 0.5, 0.25, 0.0])
    assert [1, 1, 2, 2, 3, 3] == [drawn(probabilities, at) for at in (0.0, 0.24, 0.25, 0.74, 0.75, 0.999)]


def test_a_seed_draws_the_same_tokens_again() -> None:
    """And another one draws others."""

    def tokens(seed: int) -> list[int]:
        sampler = Sampler(Shaping(), 4, [], seed)
        return [sampler.choose(LOGITS, None) for _ in range(40)]

    assert tokens(3) == tokens(3)
    assert tokens(3) != tokens(4)


def test_what_the_prompt_or_the_answer_said_becomes_less_likely() -> None:
    """Both ways of a logit: a positive one shrinks, a negative one grows."""
    sampler = Sampler(Shaping(repetition_penalty=2.0), 3, [0], None)
    logits = np.array([3.0, 2.0, -1.0], np.float32)
    assert [1, 0, 0] == [sampler.choose(logits, None) for _ in range(3)]


def test_a_mask_binds_greedy_and_sampled_alike() -> None:
    """The likeliest token that is allowed; never another one."""
    allowed = np.array([True, False, True, False])
    assert 2 == Sampler(Shaping(), 4, [], None).choose(LOGITS, allowed)
    sampler = Sampler(Shaping(), 4, [], 1)
    assert {0, 2} == {sampler.choose(LOGITS, allowed) for _ in range(50)}
    with pytest.raises(NothingAllowed):
        sampler.choose(LOGITS, np.zeros(4, np.bool_))


def test_log_probabilities_are_of_the_models_own_distribution() -> None:
    """They add up to one, and large logits do not run over."""
    assert [-2.303, -0.916, -1.609, -1.204] == [round(float(one), 3) for one in log_softmax(LOGITS + 1000)]


def _shaping(folder: Path, **settings: object) -> Shaping:
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return Shaping.of(folder)


def test_what_a_checkpoint_leaves_out_is_as_transformers_has_it(tmp_path: Path) -> None:
    """Top-k is 50 there, and a missing file is an empty one."""
    assert Shaping(ends=frozenset({2}), top_k=50) == _shaping(tmp_path, eos_token_id=2, do_sample=False)
    expected = Shaping(ends=frozenset({1, 2}), temperature=0.6, top_k=5)
    assert expected == _shaping(tmp_path, eos_token_id=[1, 2], temperature=0.6, top_k=5, top_p=None)
    assert Shaping() == Shaping.of(tmp_path / "nothing")


def test_a_setting_that_is_not_followed_is_refused(tmp_path: Path) -> None:
    """Else the model would write otherwise than its authors meant, and nobody would know."""
    with pytest.raises(NotServable, match="no_repeat_ngram_size"):
        _shaping(tmp_path, no_repeat_ngram_size=3)
    assert Shaping() == _shaping(tmp_path, num_beams=1, output_attentions=False)
