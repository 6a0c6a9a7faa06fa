"""What a picture is called: the most specific word that the evidence carries, hedged or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from captionstream.contracts.scene import Certainty
from services.generator.naming import Named, agreed, named, probabilities
from tests.unit.generator.builders import logits, vocabulary


def called(**masses: float) -> tuple[str, Certainty] | None:
    name = named(probabilities(logits(**masses)), vocabulary())
    return None if name is None else (name.word.word, name.certainty)


@pytest.mark.parametrize(
    ("masses", "expected"),
    [
        ({"golden_retriever": 0.85}, ("golden retriever", Certainty.SURE)),
        ({"golden_retriever": 0.5, "collie": 0.4}, ("dog", Certainty.SURE)),
        ({"golden_retriever": 0.45, "tabby_cat": 0.45}, ("animal", Certainty.SURE)),
        ({"golden_retriever": 0.6}, ("golden retriever", Certainty.HEDGED)),
        ({"golden_retriever": 0.3, "collie": 0.3}, ("dog", Certainty.HEDGED)),
        ({"golden_retriever": 0.3, "teapot": 0.3}, None),
        ({}, None),
    ],
)
def test_the_most_specific_word_whose_mass_passes_is_said(
    masses: dict[str, float], expected: tuple[str, Certainty] | None
) -> None:
    """Sure from 0.8, hedged from 0.5, silent below; the mass of a kind is that of all its classes."""
    assert expected == called(**masses)


def test_a_sure_kind_goes_before_an_unsure_species() -> None:
    """Dog for certain is better than what may be a golden retriever."""
    assert called(golden_retriever=0.7, collie=0.2) == ("dog", Certainty.SURE)


@pytest.mark.parametrize(("mass", "expected"), [(0.85, "hoofed animal"), (0.95, "llama")])
def test_hoofed_species_need_more(mass: float, expected: str) -> None:
    """Deer and donkeys are no classes of the tagger, so a llama must be more than likely."""
    assert (expected, Certainty.SURE) == called(llama=mass)


def test_views_are_averaged_before_they_are_believed() -> None:
    """One view that shouts does not outvote two that see something else."""
    shouting, calm = logits(1, teapot=0.999), logits(2, golden_retriever=0.9)
    classes = probabilities(np.concatenate([shouting, calm]))
    assert classes.shape == (1000,)
    assert classes.sum() == pytest.approx(1.0)
    assert named(classes, vocabulary()) != Named(vocabulary().words[0], 1.0, Certainty.SURE)
    assert named(probabilities(shouting), vocabulary()) != named(classes, vocabulary())


def test_half_precision_does_not_overflow() -> None:
    """Logits travel in fp16; huge ones still give probabilities."""
    huge = np.zeros((1, 1000), np.float16)
    huge[0, 7] = np.float16(60000)
    assert probabilities(huge)[7] == pytest.approx(1.0)


def test_the_detector_is_believed_only_where_the_tagger_sees_the_like() -> None:
    """A bicycle needs some vehicle in the tagger's eyes; a person needs nobody."""
    labels = vocabulary().labels
    on_wheels, by_the_fire = probabilities(logits(mountain_bike=0.5)), probabilities(logits(teapot=0.9))
    assert agreed(labels["bicycle"], on_wheels)
    assert not agreed(labels["bicycle"], by_the_fire)
    assert agreed(labels["person"], by_the_fire)
