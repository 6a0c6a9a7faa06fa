"""The plain sentence, in every language and for every reader."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionstream.contracts.messages import ClaimKind, Draft
from captionstream.contracts.scene import Background, Certainty, Medium, Relation, Scene
from captionstream.contracts.values import Profile, Purpose
from services.generator.realiser import findings, long_description, plain_draft
from services.generator.sentence import WANTED, Request, sentence
from services.generator.speech import Speech
from services.generator.translation import sayable
from tests.unit.generator.alt_rules import broken_rules
from tests.unit.generator.builders import (
    BLUE_SKY,
    PLAIN_WHITE,
    WHOLE,
    calm,
    english,
    quote,
    scene,
    scenes,
    spanish,
    thing,
    vocabulary,
    word,
)


def draft(shown: Scene, request: Request | None = None, speech: Speech | None = None) -> Draft:
    speech, request = speech or english(), request or Request()
    shown = sayable(shown, speech, vocabulary())
    told = sentence(shown, request, speech)
    return plain_draft(told, long_description(shown, request, told, speech))


def said(shown: Scene, speech: Speech | None = None, **request: object) -> str:
    return draft(shown, Request(**request), speech).text  # type: ignore[arg-type]


@calm
@given(scenes(), st.sampled_from(Profile), st.sampled_from((english(), spanish())))
def test_every_scene_has_a_plain_sentence_by_the_rules(
    shown: Scene, profile: Profile, speech: Speech
) -> None:
    """There is always something to publish, and it is well-formed."""
    plain = draft(shown, Request(profile=profile), speech)
    assert broken_rules(plain.text) == [], plain.text
    assert plain.writer == "plain"


PERSON = thing("person", kind="person", plural="people")
CASES = [
    (scene(thing("umbrella")), "An umbrella.", "Un paraguas."),
    (scene(thing("hourglass")), "An hourglass.", "Un reloj de arena."),
    (scene(thing("unicycle")), "A unicycle.", "Un monociclo."),
    (scene(thing("bald eagle", kind="animal")), "A bald eagle.", "Un águila calva."),
    (scene(thing("car", colours=("orange",))), "An orange car.", "Un coche naranja."),
    (scene(thing("lamp", colours=("red",))), "A red lamp.", "Una lámpara roja."),
    (scene(thing("wolf", count=3, kind="animal")), "Three wolves.", "Tres lobos."),
    (scene(thing("lamp", count=2, colours=("red",))), "Two red lamps.", "Dos lámparas rojas."),
    (scene(thing("monkey or ape", count=2)), "Two monkeys or apes.", "Dos primates."),
    (scene(thing("bird of prey", count=2)), "Two birds of prey.", "Dos aves rapaces."),
    (scene(thing("fish", count=9, kind="animal")), "Several fish.", "Varios peces."),
    (scene(thing("person", count=2, at_least=True)), "At least two people.", "Al menos dos personas."),
    (scene(thing("clothing", mass_noun=True)), "Some clothing.", "Algo de ropa."),
    (scene(thing("scissors")), "A pair of scissors.", "Unas tijeras."),
    (scene(thing("dog", certainty=Certainty.HEDGED)), "What may be a dog.", "Lo que parece ser un perro."),
    (
        scene(thing("dog", certainty=Certainty.HEDGED, count=2)),
        "What may be two dogs.",
        "Lo que parecen ser dos perros.",
    ),
    (
        scene(thing("dog"), thing("ball"), background=BLUE_SKY),
        "A dog with a ball under a blue sky.",
        "Un perro con una pelota bajo un cielo azul.",
    ),
    (
        scene(thing("dog"), thing("ball"), thing("car"), thing("cat")),
        "A dog with a ball, a car and a cat.",
        "Un perro con una pelota, un coche y un gato.",
    ),
    (
        Scene(
            things=(PERSON, thing("car")),
            relations=(Relation(subject=0, relation="left-of", object=1, score=0.9),),
        ),
        "A person to the left of a car.",
        "Una persona a la izquierda de un coche.",
    ),
    (
        scene(thing("church", kind="place"), medium=Medium.MONOCHROME),
        "A church, in black and white.",
        "Una iglesia, en blanco y negro.",
    ),
    (scene(thing("dog"), medium=Medium.DRAWING), "A drawing of a dog.", "Un dibujo de un perro."),
    (
        scene(thing("street sign"), text=quote("Castle 2 km")),
        'A street sign. The text reads "Castle 2 km".',
        'Una señal de tráfico. El texto dice "Castle 2 km".',
    ),
    (
        Scene(text=quote("Closed today")),
        'Text in the picture reads "Closed today".',
        'El texto de la imagen dice "Closed today".',
    ),
    (
        Scene(colours=("blue", "white")),
        "A picture, mostly blue and white; its subject could not be recognised.",
        "Una imagen, mayormente azul y blanca; no se pudo reconocer su contenido.",
    ),
]


@pytest.mark.parametrize(("shown", "in_english", "in_spanish"), CASES)
def test_a_fact_is_said_as_people_say_it(shown: Scene, in_english: str, in_spanish: str) -> None:
    """Articles, plurals, genders, mass nouns, pairs, hedges, relations and quotations."""
    assert in_english == said(shown)
    assert in_spanish == said(shown, spanish())


def test_a_product_is_named_first() -> None:
    """Catalogue style: the noun phrase without an article, with its colour."""
    shown = scene(thing("sports car", colours=("red",)), background=PLAIN_WHITE)
    assert said(shown, profile=Profile.PRODUCT) == "Red sports car on a plain white background."
    assert (
        said(shown, spanish(), profile=Profile.PRODUCT) == "Coche deportivo rojo sobre un fondo blanco liso."
    )


def test_an_inspection_lists_what_is_visible() -> None:
    """Short, in order, hedges kept."""
    shown = scene(thing("car", count=2), thing("dog", certainty=Certainty.HEDGED))
    assert said(shown, profile=Profile.INSPECTION) == "Visible: two cars, what may be a dog."


def test_names_come_only_from_supplied_metadata_and_only_in_editorial_captions() -> None:
    """The picture names nobody; the file may, and then the caption says who says so."""
    shown, people = scene(PERSON, text=quote("Ana Ruiz")), ("ANA RUIZ", "img_0042.jpg", 'B"o\n Li')
    told = draft(shown, Request(Profile.EDITORIAL, people=people))
    assert (
        told.text == 'A person. The supplied metadata names Ana Ruiz and B\'o Li; the text reads "Ana Ruiz".'
    )
    assert [c.text for c in told.claims if c.kind is ClaimKind.SUPPLIED] == ["Ana Ruiz", "B'o Li"]
    assert said(shown, people=people) == 'A person. The text reads "Ana Ruiz".'


def test_a_functional_image_tells_where_it_leads() -> None:
    """Not what it looks like; an address is told by its host."""
    shown = scene(thing("shopping cart"))
    assert said(shown, purpose=Purpose.FUNCTIONAL, target="Basket.") == "Link to Basket."
    assert (
        said(shown, purpose=Purpose.FUNCTIONAL, target="https://user:pw@shop.example/a.jpg?x=1")
        == "Link to shop.example."
    )
    assert said(shown, spanish(), purpose=Purpose.FUNCTIONAL, target="Basket") == "Enlace a Basket."
    assert said(shown, purpose=Purpose.FUNCTIONAL, target="BUY NOW") == "Link to Buy Now."
    assert said(shown, purpose=Purpose.FUNCTIONAL, target="FAQ") == "Link to FAQ."
    assert said(shown, purpose=Purpose.FUNCTIONAL) == "A shopping cart."


def test_a_long_text_begins_in_the_short_version_and_is_whole_in_the_long_one() -> None:
    """Cut at a word, said to be cut, and nothing lost."""
    text = " ".join(f"word{at}" for at in range(60))
    told = draft(Scene(text=quote(text), medium=Medium.PAGE))
    assert told.text.startswith('A page of text that begins "word0 word1')
    assert len(told.text) > 200
    assert f'The text reads "{text}".' == told.long_description


def test_an_image_of_text_gives_the_text_the_room() -> None:
    """Where the text is the purpose, the surroundings make way for it."""
    text = " ".join(f"w{at}" for at in range(45))
    shown = scene(thing("street sign"), thing("car"), background=BLUE_SKY, text=quote(text))
    informative, textual = draft(shown), draft(shown, Request(purpose=Purpose.TEXT))
    assert informative.text.startswith("A street sign with a car under a blue sky.")
    assert f'A street sign with a car. The text reads "{text}".' == textual.text


def test_a_complex_image_has_a_long_description_with_every_fact() -> None:
    """Short text for the page, the facts one by one behind it."""
    shown = scene(thing("dog"), thing("ball"), background=BLUE_SKY, colours=("blue",), text=quote("Go on"))
    told = draft(shown, Request(purpose=Purpose.COMPLEX))
    assert told.long_description == 'A dog. A ball. Under a blue sky. Mostly blue. The text reads "Go on".'
    assert draft(shown).long_description is None


def test_the_sentence_drops_details_before_it_gets_long() -> None:
    """125 characters are wanted: the last optional facts go first."""
    many = [thing(name) for name in ("articulated lorry", "amphibious vehicle", "recreational vehicle")]
    shown = scene(thing("steel arch bridge", colours=("yellow",)), *many, background=BLUE_SKY)
    text = said(shown)
    assert len(text) <= WANTED
    assert text.startswith("A yellow steel arch bridge with an articulated lorry")


# ---------------------------------------------------------------- what a draft says of itself


def test_a_draft_is_as_sure_as_its_weakest_recognition() -> None:
    """Shares of an area are measured, not guessed, so they do not lower it."""
    shown = scene(
        thing("car", score=0.95, colours=("red",), colour_share=0.55), thing("dog", score=0.7),
        background=Background(kind="blue-sky", score=0.5),
    )  # fmt: skip
    told = draft(shown)
    assert (told.confidence, told.hedged, told.abstained) == (0.7, False, False)


def test_a_hedge_is_flagged() -> None:
    """Also when only a companion is unsure."""
    assert draft(scene(thing("car"), thing("dog", certainty=Certainty.HEDGED))).hedged


def test_an_unrecognised_thing_on_a_plain_ground_is_told_as_such() -> None:
    """The ground is named once, not as a dominant colour too."""
    shown = Scene(colours=("white",), background=PLAIN_WHITE)
    assert "A picture with a plain white background; its subject could not be recognised." == said(shown)
    assert "Una imagen con un fondo blanco liso; no se pudo reconocer su contenido." == said(shown, spanish())


def test_an_abstention_is_flagged_and_states_what_is_known() -> None:
    """It is not an empty alternative text."""
    told = draft(Scene(colours=("green",), background=BLUE_SKY))
    assert told.text == "A picture, mostly green, with a blue sky; its subject could not be recognised."
    assert told.abstained
    assert {"green", "blue sky"} == {claim.text for claim in told.claims}


# ---------------------------------------------------------------- languages


def test_a_word_that_spanish_lacks_gives_way_to_a_true_wider_one() -> None:
    """An affenpinscher is a dog; no English word stands in a Spanish sentence."""
    breed = word("affenpinscher")
    shown = scene(thing(breed.word, synset=breed.synset, kind="animal", colours=("brown",)))
    assert not spanish().knows(shown.things[0])
    assert said(shown, spanish()) == "Un perro marrón."


def test_a_thing_without_any_spanish_word_is_left_unsaid() -> None:
    """What stands beside it keeps its place; alone, the sentence abstains."""
    unknown, ball = thing("zeppelin factory"), thing("ball")
    assert said(scene(unknown, ball), spanish()) == "Una pelota."
    assert draft(scene(unknown), speech=spanish()).abstained


def test_spanish_has_words_for_every_kind_and_every_detector_label() -> None:
    """So each class of the tagger has at least a kind to be called by."""
    kinds = [thing(w.word, kind=w.sense) for w in vocabulary().words if w.kind != "leaf"]
    labels = [thing(label.word) for label in vocabulary().labels.values() if label.sayable]
    assert [one.noun for one in kinds + labels if not spanish().knows(one)] == []


def test_one_word_for_two_things_is_told_apart() -> None:
    """A crane flies or lifts; a kite is a toy, and the bird has a word of its own."""
    assert said(scene(thing("crane", kind="animal")), spanish()) == "Una grulla."
    assert said(scene(thing("kite", kind="artifact")), spanish()) == "Una cometa."
    assert said(scene(thing("kite bird", kind="animal")), spanish()) == "Un milano."


# ---------------------------------------------------------------- records


def test_findings_are_records_in_the_words_of_the_vocabulary() -> None:
    """Component, finding, confidence, place and the sensor's own time."""
    moment = datetime(2026, 5, 1, 8, 30, tzinfo=UTC)
    shown = scene(
        thing("car", count=2, box=WHOLE),
        thing("dog", certainty=Certainty.HEDGED, score=0.6),
        text=quote("No 7"),
    )
    records = findings(shown, moment)
    assert [(record.component, record.finding) for record in records] == [
        ("car", "count 2"),
        ("dog", "possibly present"),
        ("text", "No 7"),
    ]
    assert [record.confidence for record in records] == [0.9, 0.6, 0.95]
    assert {"2026-05-01T08:30:00+00:00"} == {record.sensor_time for record in records}
    assert records[0].box == WHOLE


def test_a_lower_bound_stays_one_in_the_record() -> None:
    """A machine must not read a count that nobody made."""
    (record,) = findings(scene(thing("car", count=2, at_least=True)), None)
    assert (record.finding, record.sensor_time) == ("count at least 2", None)
