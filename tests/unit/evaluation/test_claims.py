"""Claims that nothing supports are caught, and true ones are not."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from captionstream.contracts.messages import Claim, ClaimKind
from captionstream.contracts.scene import (
    Background,
    Certainty,
    Medium,
    QuotedText,
    Relation,
    Scene,
    Source,
    Thing,
)
from captionstream.contracts.values import Box
from captionstream.evaluation.claims import Caption, ClaimChecker
from captionstream.evaluation.pixels import Look
from services.generator.english import English
from services.generator.realiser import plain_draft
from services.generator.sentence import Request, sentence
from tests.unit.evaluation.small_wordnet import small_nouns

RED, BLUE, GREEN, WHITE = (200, 30, 35), (70, 130, 220), (60, 140, 50), (255, 255, 255)
LEFT, RIGHT = Box(left=0.05, top=0.3, right=0.4, bottom=0.7), Box(left=0.6, top=0.3, right=0.95, bottom=0.7)


def picture(ground: tuple[int, int, int], spot: tuple[int, int, int]) -> Look:
    """A spot of one colour on a ground of another."""
    image = Image.new("RGB", (200, 200), ground)
    ImageDraw.Draw(image).ellipse((50, 60, 150, 160), fill=spot)
    target = io.BytesIO()
    image.save(target, "PNG")
    return Look.of(target.getvalue())


def thing(noun: str, **fields: object) -> Thing:
    known = {"plural": "", "certainty": Certainty.SURE, "source": Source.DETECTOR, "score": 0.9}
    return Thing.model_validate({"noun": noun, **known, **fields})


DOG = thing("dog", kind="animal", box=LEFT)
BALL = thing("ball", box=RIGHT)
PLAIN = Background(kind="plain", colour="white", score=0.9)
SKY = Background(kind="blue-sky", score=0.8)
GRASS = Background(kind="greenery", score=0.8)
READ = QuotedText(text="Tourist information Castle", score=0.95, lines=1)

CLEAN: dict[str, tuple[Scene, Look]] = {
    "a red dog on white": (
        Scene(things=(thing("dog", colours=("red",)),), background=PLAIN), picture(WHITE, RED),
    ),
    "two dogs with a ball": (
        Scene(things=(thing("dog", count=2, box=LEFT), thing("ball"))), picture(BLUE, RED),
    ),
    "a dog left of a ball": (
        Scene(things=(DOG, BALL), relations=(Relation(subject=0, relation="left-of", object=1, score=0.9),)),
        picture(BLUE, RED),
    ),
    "a dog under a blue sky": (Scene(things=(DOG,), background=SKY), picture(BLUE, RED)),
    "a dog on green": (Scene(things=(DOG,), background=GRASS), picture(GREEN, RED)),
    "people": (
        Scene(things=(thing("person", plural="people", count=3, at_least=True, kind="person"),)), picture(BLUE, RED),
    ),
    "a sign": (Scene(medium=Medium.SIGN, text=READ), picture(BLUE, WHITE)),
    "a dog and a text": (Scene(things=(DOG,), text=READ), picture(BLUE, RED)),
    "nothing recognised": (Scene(colours=("blue",), colour_share=0.8), picture(BLUE, RED)),
    "nothing recognised on white": (Scene(background=PLAIN), picture(WHITE, RED)),
    "black and white": (
        Scene(medium=Medium.MONOCHROME, things=(DOG,)), picture((40, 40, 40), (200, 200, 200)),
    ),
    "unsure": (Scene(things=(thing("dog", certainty=Certainty.HEDGED, colours=("green",)),)), picture(BLUE, RED)),
    "a bird of prey": (Scene(things=(thing("bird of prey"),)), picture(BLUE, RED)),
    "a drawing": (Scene(medium=Medium.DRAWING, medium_score=0.95, things=(DOG,)), picture(WHITE, RED)),
}  # fmt: skip
"""Scenes whose captions our own writer makes, each with a picture of which they are true."""


@pytest.fixture(scope="module")
def checker() -> ClaimChecker:
    return ClaimChecker(small_nouns())


def written(scene: Scene) -> str:
    """What the plain writer of the product says of a scene."""
    return plain_draft(sentence(scene, Request(), English.load())).text


def kinds(checker: ClaimChecker, text: str, scene: Scene, look: Look, **known: object) -> set[str]:
    caption = Caption(text, scene, **{"accepted": ("dog",), **known})  # type: ignore[arg-type]
    return {each.kind for each in checker.unsupported(caption, look)}


@pytest.mark.parametrize("name", CLEAN)
def test_true_captions_of_the_writer_pass(checker: ClaimChecker, name: str) -> None:
    """Everything that the writer says of these scenes is borne out by the pictures."""
    scene, look = CLEAN[name]
    text = written(scene)
    assert set() == kinds(checker, text, scene, look), text


def with_colour(text: str) -> str:
    return text.replace(" dog", " purple dog", 1)


def with_companion(text: str) -> str:
    return text.replace(".", " with a car.", 1)


def with_text(text: str) -> str:
    return f'{text} The text reads "Free beer tonight".'


def with_name(text: str) -> str:
    return text.replace(".", " with Rex.", 1)


def with_number(text: str) -> str:
    for article in ("A dog", "a dog", "Two dogs"):
        text = text.replace(article, "five dogs" if article[0] == "a" else "Five dogs", 1)
    return text


def with_feeling(text: str) -> str:
    return text.replace(" dog", " happy dog", 1)


def with_action(text: str) -> str:
    return text.replace(".", " jumping.", 1)


def with_place(text: str) -> str:
    return text.replace(".", " on a plain purple background.", 1)


def with_side(text: str) -> str:
    return text.replace("to the left of", "to the right of")


def with_other_ground(text: str) -> str:
    return text.replace("mostly blue", "mostly green").replace("plain white", "plain black")


PLANTS: dict[str, Callable[[str], str]] = {
    "colour": with_colour, "companion": with_companion, "quotation": with_text, "name": with_name,
    "count": with_number, "word": with_feeling, "action": with_action, "setting": with_place,
    "relation": with_side, "ground": with_other_ground,
}  # fmt: skip


def planted() -> list[tuple[str, str, str]]:
    """(plant, scene, text) wherever the plant changes the caption of that scene, and asserts something."""
    found = []
    for name, (scene, _) in CLEAN.items():
        text = written(scene)
        for plant, change in PLANTS.items():
            hedged = name == "unsure" and plant in ("colour", "count", "word")
            if change(text) != text and not hedged:
                found.append((plant, name, change(text)))
    return found


def test_every_planted_claim_is_caught(checker: ClaimChecker) -> None:
    """A false colour, number, companion, place, side, feeling, action, name or quotation: recall is 1."""
    missed = [
        (plant, text)
        for plant, name, text in planted()
        if not kinds(checker, text, *CLEAN[name])
    ]  # fmt: skip
    assert [] == missed
    assert set(PLANTS) == {plant for plant, _, _ in planted()}
    assert 60 <= len(planted())


def test_a_planted_claim_is_caught_for_what_it_is(checker: ClaimChecker) -> None:
    """The report says what is unsupported, not merely that something is."""
    scene, look = CLEAN["a dog under a blue sky"]
    text = written(scene)
    told = {plant: kinds(checker, change(text), scene, look) for plant, change in PLANTS.items()}
    for plant in ("colour", "companion", "quotation", "name", "count", "word", "setting"):
        assert plant in told[plant], plant


def test_a_hedged_claim_is_no_assertion(checker: ClaimChecker) -> None:
    """The same false colour counts when it is stated for sure, and not when it is said to be unsure."""
    scene, look = Scene(things=(DOG,)), picture(BLUE, RED)
    assert {"colour"} == kinds(checker, "A green dog.", scene, look)
    assert set() == kinds(checker, "What may be a green dog.", scene, look)


def test_a_false_head_is_not_counted_twice(checker: ClaimChecker) -> None:
    """A wrong name is for the judge of names; the checker of claims looks at the rest."""
    assert set() == kinds(checker, "A guitar.", Scene(things=(thing("guitar"),)), picture(BLUE, RED))


def test_nothing_is_on_an_empty_picture(checker: ClaimChecker) -> None:
    """An even area shows nobody, whatever the evidence says."""
    empty = Look(np.full((160, 160, 3), 255, np.uint8))
    scene = Scene(things=(thing("person", kind="person"), BALL))
    assert {"object", "companion"} == kinds(checker, "A person with a ball.", scene, empty)


def test_a_photograph_is_no_drawing(checker: ClaimChecker) -> None:
    """The label of the picture counts; so do its colours against "black and white"."""
    scene, look = Scene(medium=Medium.DRAWING, things=(DOG,)), picture(WHITE, RED)
    assert {"medium"} == kinds(checker, "A drawing of a dog.", scene, look, kind="photo")
    assert set() == kinds(checker, "A drawing of a dog.", scene, look, kind="drawing")
    assert {"medium"} == kinds(checker, "A dog, in black and white.", scene, look)


def test_supplied_names_must_have_been_supplied(checker: ClaimChecker) -> None:
    """A name may stand in a caption only as what people wrote into the file."""
    supplied = Claim(text="Ada Lovelace", kind=ClaimKind.SUPPLIED, source="supplied", score=1.0)
    scene, look = Scene(things=(thing("person", kind="person"),)), picture(BLUE, RED)
    text = "A person. The supplied metadata names Ada Lovelace."
    assert set() == kinds(checker, text, scene, look, claims=(supplied,))
    assert {"name"} == kinds(checker, text, scene, look)


def test_a_companion_of_the_labels_is_supported(checker: ClaimChecker) -> None:
    """What a person wrote of the picture is evidence, as senses and as sentences."""
    scene, look = Scene(things=(DOG,)), picture(BLUE, RED)
    assert set() == kinds(checker, "A dog with a car.", scene, look, accepted=("dog", "car"))
    assert set() == kinds(checker, "A dog with a car.", scene, look, told=("Two cars and a dog.",))
    assert {"companion"} == kinds(checker, "A dog with a car.", scene, look)
