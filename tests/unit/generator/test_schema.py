"""The scene as a JSON schema, and what is taken of an answer to it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError, validate

from captionstream.contracts.messages import Form
from captionstream.contracts.scene import Certainty, Scene
from captionstream.contracts.values import Profile
from services.generator.grammar import one_of, sentences, sequence, spell
from services.generator.guided.of_scene import guide_of
from services.generator.judge import reading
from services.generator.prompt import Prompt
from services.generator.schema import LISTED, json_schema, judged
from services.generator.sentence import Request, sentence
from services.generator.speech import Speech
from services.generator.translation import sayable
from services.generator.writer import Task, Unusable
from tests.unit.generator.builders import BLUE_SKY, calm, english, scene, scenes, spanish, thing, vocabulary
from tests.unit.generator.test_grammar import LANGUAGES

DOG_AND_PEOPLE = scene(
    thing("dog", kind="animal"),
    thing("person", plural="people", count=2, kind="person"),
    background=BLUE_SKY,
)


def task(form: Form, shown: Scene = DOG_AND_PEOPLE, speech: Speech | None = None) -> Task:
    speech = speech or english()
    told = sentence(shown, Request(), speech)
    guide = guide_of(shown, speech, Profile.ALT, 0.3, vocabulary=vocabulary())
    return Task(Prompt("", ""), told.head, form, guide)


def answer(text: str, **confidences: float) -> str:
    words = [{"word": word, "confidence": confidence} for word, confidence in confidences.items()]
    return json.dumps({"sentence": text, "words": words})


def objects(schema: Any) -> list[dict[str, Any]]:
    """Every object in a schema."""
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []
    own = [schema] if isinstance(schema, dict) and schema.get("type") == "object" else []
    return own + [one for part in inner for one in objects(part)]


# ---------------------------------------------------------------- the schema


@pytest.mark.parametrize("form", Form)
def test_a_schema_is_one_that_strict_engines_take(form: Form) -> None:
    """Valid JSON schema; every object names all its fields, needs all of them and has no others."""
    schema = json_schema(task(form))
    Draft202012Validator.check_schema(schema)
    assert objects(schema)
    for one in objects(schema):
        assert one["required"] == list(one["properties"])
        assert one["additionalProperties"] is False


@calm
@given(shown=scenes(), speech=LANGUAGES, data=st.data())
def test_every_wording_of_the_scene_fits_the_strict_schema(
    shown: Scene, speech: Speech, data: st.DataObject
) -> None:
    """An engine that keeps to the schema can say all that the grammar says, and what it says is taken."""
    asked = task(Form.STRICT, sayable(shown, speech, vocabulary()), speech)
    text = spell(asked.allowed, lambda ways: data.draw(st.integers(0, ways - 1)))
    validate({"sentence": text}, json_schema(asked))
    taken, pieces = judged(asked, json.dumps({"sentence": text}))
    assert (taken, "".join(piece.text for piece in pieces)) == (text.strip(), text.strip())


def test_few_wordings_are_listed_so_that_nothing_else_can_be_said() -> None:
    """The list is the grammar; a sentence that is not on it breaks the schema."""
    asked = task(Form.STRICT)
    schema = json_schema(asked)
    assert set(schema["properties"]["sentence"]["enum"]) == set(sentences(asked.allowed))
    with pytest.raises(ValidationError):
        validate({"sentence": "A cat."}, schema)


def test_many_wordings_are_not_spelled_out() -> None:
    """More than engines take in a list leave the sentence free, and the check to the judge."""
    many = sequence(*(one_of("a", "b") for _ in range(40)))
    assert 2**40 > LISTED
    schema = json_schema(Task(Prompt("", ""), many))
    assert "enum" not in schema["properties"]["sentence"]


# ---------------------------------------------------------------- the check afterwards


@pytest.mark.parametrize(
    "text",
    ["A dog with three people.", "A cat.", "A dog", "", "A dog with two people under a blue sky. Nice!"],
)
def test_a_free_sentence_that_the_grammar_has_not_is_refused(text: str) -> None:
    """However sure the engine says it is."""
    with pytest.raises(Unusable, match="does not support"):
        judged(task(Form.STRICT), answer(text, dog=1.0, cat=1.0))


def test_a_guided_sentence_is_taken_with_what_the_engine_says_of_its_words() -> None:
    """The stated confidences are the probabilities of the pieces, and so the scores of the claims."""
    asked = task(Form.GUIDED)
    text, pieces = judged(asked, answer("A dog is lying on wet grass.", Grass=0.5, wet=0.4))
    said = reading(asked, pieces, "somebody")
    assert text == "A dog is lying on wet grass."
    assert said is not None
    assert [(claim.text, claim.source, round(claim.score, 6)) for claim in said.claims] == [
        ("dog", "tagger", 0.9),
        ("wet", "model:somebody", 0.4),
        ("grass", "model:somebody", 0.5),
    ]


@pytest.mark.parametrize(
    ("text", "confidences"),
    [
        ("A dog on grass.", {}),
        ("A dog on grass.", {"grass": 0.29}),
        ("A dog on grass.", {"grass": 0.0}),
        ("A dog on grass.", {"lawn": 1.0}),
        ("A dog with three people.", {"three": 1.0, "people": 1.0}),
        ("A dog with Rex.", {"Rex": 1.0}),
        ("A dog with no people.", {"no": 1.0}),
        ("A happy dog.", {"happy": 1.0}),
        ("A dog. Ignore the rest.", {"ignore": 1.0}),
    ],
)
def test_a_guided_sentence_without_its_ground_is_refused(text: str, confidences: dict[str, float]) -> None:
    """A word that no confidence was stated for, too low a one, or one that no confidence allows."""
    with pytest.raises(Unusable, match="does not support"):
        judged(task(Form.GUIDED), answer(text, **confidences))


def test_of_two_confidences_for_one_word_the_lower_one_counts() -> None:
    """An engine cannot raise its own word by naming it twice."""
    words = [{"word": "wet grass", "confidence": 0.9}, {"word": "grass", "confidence": 0.1}]
    with pytest.raises(Unusable, match="does not support"):
        judged(task(Form.GUIDED), json.dumps({"sentence": "A dog on wet grass.", "words": words}))


def test_a_hedge_is_kept_and_spanish_is_read() -> None:
    """The same guide stands behind every language and every engine."""
    unsure = scene(thing("dog", kind="animal", certainty=Certainty.HEDGED, score=0.6))
    asked = task(Form.GUIDED, unsure, spanish())
    _, pieces = judged(asked, answer("Lo que parece ser un perro en un jardín.", jardín=0.7))
    said = reading(asked, pieces)
    assert said is not None
    assert said.hedged
    assert math.exp(
        next(piece.logprob or 0.0 for piece in pieces if "jardín" in piece.text)
    ) == pytest.approx(0.7)
    with pytest.raises(Unusable):
        judged(asked, answer("Un perro en un jardín.", jardín=0.7, perro=1.0))


@pytest.mark.parametrize(
    "told",
    [
        "",
        "A dog.",
        "[]",
        "{}",
        '{"sentence": 5}',
        '{"sentence": null, "words": []}',
        '{"sentence": "A dog.", "words": [{"word": "dog", "confidence": 2}]}',
        '{"sentence": "A dog.", "words": [{"word": "dog", "confidence": NaN}]}',
        '{"sentence": "A dog.", "words": [{"word": "dog", "confidence": "0.9"}]}',
        '{"sentence": "A dog.", "words": [{"word": "dog", "confidence": true}]}',
        '{"sentence": "A dog.", "words": "dog"}',
        '{"sentence": "A dog."',
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_unusable(told: str) -> None:
    """Broken JSON, other types and confidences that are none are no sentence."""
    with pytest.raises(Unusable, match="not what was asked for"):
        judged(task(Form.GUIDED), told)
