"""What a picture is called: the most specific word that the evidence carries, hedged or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from captionstream.contracts.scene import Certainty
from services.generator.naming import (
    Named,
    agreed,
    certainty_of,
    contradicted,
    named,
    probabilities,
    probably_seen,
    unlikeness,
)
from tests.unit.generator.builders import logits, seen, vocabulary, word


def called(**masses: float) -> tuple[str, Certainty] | None:
    name = named(probabilities(logits(**masses)), vocabulary())
    return None if name is None else (name.word.word, name.certainty)


@pytest.mark.parametrize(
    ("masses", "expected"),
    [
        ({"golden_retriever": 0.95}, ("golden retriever", Certainty.SURE)),
        ({"golden_retriever": 0.45, "collie": 0.45}, ("dog", Certainty.SURE)),
        ({"golden_retriever": 0.35, "Persian_cat": 0.35}, ("animal", Certainty.SURE)),
        ({"golden_retriever": 0.6}, ("golden retriever", Certainty.HEDGED)),
        ({"golden_retriever": 0.3, "collie": 0.3}, ("dog", Certainty.HEDGED)),
        ({"bison": 0.25, "teapot": 0.25, "viaduct": 0.25}, None),
        ({}, None),
    ],
)
def test_the_word_that_is_worth_most_is_said(
    masses: dict[str, float], expected: tuple[str, Certainty] | None
) -> None:
    """Sure, hedged or silent as the word is probably right; the mass of a kind is that of all its classes."""
    assert expected == called(**masses)


def test_a_likely_species_tells_more_than_a_sure_kind() -> None:
    """What may be a golden retriever says more than a dog; where no breed is likely, a dog is enough."""
    assert called(golden_retriever=0.7, collie=0.2) == ("golden retriever", Certainty.HEDGED)
    assert called(golden_retriever=0.5, collie=0.45) == ("dog", Certainty.SURE)


@pytest.mark.parametrize(("mass", "expected"), [(0.95, Certainty.HEDGED), (0.995, Certainty.SURE)])
def test_hoofed_species_need_more(mass: float, expected: Certainty) -> None:
    """Deer and donkeys are no classes of the tagger, so a llama must be more than likely; a teapot need not."""
    assert ("llama", expected) == called(llama=mass)
    assert ("teapot", Certainty.SURE) == called(teapot=mass)


def test_what_is_named_after_a_look_alike_is_never_sure() -> None:
    """Flowers are no class: their mass lies on hair slides, which nobody photographs, and on daisies."""
    assert ("flower", Certainty.HEDGED) == called(flower=0.999)
    assert ("daisy", Certainty.SURE) == called(daisy=0.97)


def test_the_score_is_how_often_such_a_word_is_right() -> None:
    """It grows with the mass, stays below it where the tagger is too sure of itself, and is no certainty."""
    scores = [
        name.score
        for mass in (0.7, 0.9, 0.99)
        if (name := named(probabilities(logits(teapot=mass)), vocabulary()))
    ]
    assert scores == sorted(scores)
    assert scores == [pytest.approx(mass, abs=0.15) for mass in (0.6, 0.8, 0.95)]


def test_a_wrong_word_costs_more_than_a_narrow_one_tells() -> None:
    """A breed that is wrong as often as right is not worth giving up a sure dog; a likely one is."""
    assert called(golden_retriever=0.48, collie=0.48) == ("dog", Certainty.SURE)
    assert called(golden_retriever=0.6, collie=0.3) == ("golden retriever", Certainty.HEDGED)


def test_what_resembles_no_class_is_named_less_surely() -> None:
    """The moon excites many classes a little; the same mass on a teapot then says less, in the end nothing."""
    wider = np.random.default_rng(3).normal(size=1000)
    wider[np.isin(np.arange(1000), word("teapot").leaves)] = 0.0
    pictures = [probabilities(logits(teapot=0.9) + spread * wider) for spread in (0.0, 0.9, 1.2)]
    masses = [float(classes[list(word("teapot").leaves)].sum()) for classes in pictures]
    names = [named(classes, vocabulary()) for classes in pictures]
    unlike = [unlikeness(classes) for classes in pictures]
    assert masses[1] < masses[0]
    assert unlike == sorted(unlike)
    assert unlike[0] == 0.0 < unlike[1] < unlike[2]
    assert [name.score if name else 0.0 for name in names] == sorted(
        (name.score if name else 0.0 for name in names), reverse=True
    )


def test_a_detectors_score_is_read_as_how_often_it_is_right() -> None:
    """It grows with the score, and is less where the tagger could see the same and does not, and of people."""
    labels = vocabulary().labels
    elephants = vocabulary().classes_of(labels["elephant"])
    elephant, person = labels["elephant"], labels["person"]
    there, not_there = probabilities(logits(elephant=0.9)), probabilities(logits(teapot=0.5))
    faint, clear = (probably_seen(seen("elephant", s), elephant, elephants, there) for s in (0.62, 0.8))
    unseen = probably_seen(seen("elephant", 0.8), elephant, elephants, not_there)
    someone = probably_seen(seen("person", 0.8), person, frozenset({982}), not_there)
    assert (faint, clear, unseen, someone) == pytest.approx((0.8, 0.94, 0.74, 0.86), abs=0.01)


def test_what_the_tagger_knows_and_sees_otherwise_is_no_subject() -> None:
    """A bison for certain is no cow; an elephant that the tagger would know and does not see is hedged."""
    labels = vocabulary().labels
    elephants = vocabulary().classes_of(labels["elephant"])
    ox, bison = probabilities(logits(cow_or_ox=0.5)), probabilities(logits(bison=0.97))
    assert contradicted(vocabulary().classes_of(labels["cow"]), bison)
    assert not contradicted(elephants, ox)
    assert certainty_of(seen("elephant", 0.8), labels["elephant"], elephants, ox) is Certainty.HEDGED
    assert certainty_of(seen("cow", 0.8), labels["cow"], frozenset(), ox) is Certainty.SURE


@pytest.mark.parametrize(("score", "expected"), [(0.7, Certainty.HEDGED), (0.85, Certainty.SURE)])
def test_a_person_as_the_subject_must_be_seen_clearly(score: float, expected: Certainty) -> None:
    """Nobody else can confirm one: the tagger knows no people, and flowers pass for them."""
    person = vocabulary().labels["person"]
    assert expected is certainty_of(seen("person", score), person, frozenset({982}), probabilities(logits()))


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
