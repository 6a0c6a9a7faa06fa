"""Which observations become facts."""

from __future__ import annotations

from typing import Any

import pytest

from captionstream.contracts.evidence import Appearance
from captionstream.contracts.scene import Certainty, Medium, Scene, Source
from services.generator.naming import probabilities
from services.generator.scene import scene_of
from tests.unit.generator.builders import (
    LEFT,
    RIGHT,
    WHOLE,
    box,
    evidence,
    line,
    logits,
    seen,
    shares,
    vocabulary,
)


def facts(masses: dict[str, float] | None = None, **changes: Any) -> Scene:
    return scene_of(evidence(**changes), probabilities(logits(**masses or {})), vocabulary())


def nouns(shown: Scene) -> list[str]:
    return [thing.noun for thing in shown.things]


# ---------------------------------------------------------------- things


def test_an_empty_sight_is_an_abstention() -> None:
    """Nothing named and nothing read: the scene says so."""
    assert facts().abstained


def test_the_tagger_names_and_the_detector_places() -> None:
    """The breed comes from one, box and number from the other; the dog is not told twice."""
    shown = facts({"golden_retriever": 0.95}, detections=(seen("dog", 0.9, LEFT), seen("dog", 0.7, RIGHT)))
    (dog,) = shown.things
    assert (dog.noun, dog.count, dog.source) == ("golden retriever", 2, Source.TAGGER)
    assert dog.box == box(0.0, 0.1, 1.0, 0.9)


def test_the_detector_says_a_better_word_than_a_mere_kind() -> None:
    """Where the tagger only knows "hoofed animal", a surely detected horse is a horse."""
    masses = {"zebra": 0.3, "hartebeest": 0.3, "goat_or_ibex": 0.3}
    (animal,) = facts(masses).things
    (horse,) = facts(masses, detections=(seen("horse", 0.8),)).things
    assert (animal.noun, animal.source) == ("hoofed animal", Source.TAGGER)
    assert (horse.noun, horse.source) == ("horse", Source.DETECTOR)


@pytest.mark.parametrize(
    ("score", "certainty", "right"), [(0.62, Certainty.HEDGED, 0.8), (0.7, Certainty.SURE, 0.88)]
)
def test_a_weak_detection_is_hedged(score: float, certainty: Certainty, right: float) -> None:
    """Below 0.69 the detector's word is only what may be; the thing's score is how often it is right."""
    (car,) = facts({"car": 0.45}, detections=(seen("car", score),)).things
    assert certainty is car.certainty
    assert car.score == pytest.approx(right, abs=0.01)


@pytest.mark.parametrize(
    ("label", "score", "where"),
    [
        ("person", 0.64, WHOLE),
        ("person", 0.9, box(0, 0, 0.1, 0.1)),
        ("banana", 0.95, WHOLE),
        ("cat", 0.9, WHOLE),
    ],
)
def test_a_doubtful_detection_is_no_fact(label: str, score: float, where: Any) -> None:
    """Too weak, too small, of a label that is often wrong, or without any agreement."""
    assert nouns(facts({"teapot": 0.2}, detections=(seen(label, score, where),))) == []


def test_a_detection_that_is_wrong_more_often_than_right_is_no_fact() -> None:
    """The tagger knows horses, sees some hoofed animal and no horse: a middling score does not do."""
    masses = {"llama": 0.3, "hartebeest": 0.3, "goat_or_ibex": 0.3}
    middling, high = (facts(masses, detections=(seen("horse", score),)) for score in (0.62, 0.75))
    assert (["hoofed animal"], ["horse"]) == (nouns(middling), nouns(high))


def test_a_prominent_person_comes_first() -> None:
    """The picture is of somebody with a guitar."""
    shown = facts({"acoustic_guitar": 0.9}, detections=(seen("person", 0.9, LEFT),))
    assert nouns(shown) == ["person", "acoustic guitar"]


def test_a_place_stays_the_subject() -> None:
    """A castle with a person before it is a picture of a castle."""
    shown = facts({"castle": 0.95}, detections=(seen("person", 0.9, LEFT),))
    assert nouns(shown) == ["castle", "person"]


def test_people_are_told_before_things() -> None:
    """Who is there matters more than what, however large it is."""
    found = (seen("car", 0.9, box(0.3, 0, 1, 1)), seen("person", 0.9, box(0, 0, 0.2, 0.4)))
    assert nouns(facts({"castle": 0.95}, detections=found)) == ["castle", "person", "car"]


def test_the_number_is_a_lower_bound_where_one_more_may_be_there() -> None:
    """Two sure people and a faint third are at least two."""
    people = (seen("person", 0.9, LEFT), seen("person", 0.8, RIGHT), seen("person", 0.45, LEFT))
    (group,) = facts(detections=people).things
    assert (group.count, group.at_least) == (2, True)
    (pair,) = facts(detections=people[:2]).things
    assert (pair.count, pair.at_least) == (2, False)


def test_the_subject_is_not_told_twice_under_a_worse_name() -> None:
    """The detector has no otter and calls it a cat or a dog; a real dog beside a cat has a box of its own."""
    assert ["otter"] == nouns(facts({"otter": 0.95}, detections=(seen("cat", 0.9), seen("dog", 0.8))))
    friends = facts({"Persian_cat": 0.95}, detections=(seen("cat", 0.9, LEFT), seen("dog", 0.9, RIGHT)))
    assert ["Persian cat", "dog"] == nouns(friends)


def test_nothing_unsure_is_told_beside_a_subject() -> None:
    """The faint person on a picture of a tiger is the tiger."""
    assert ["tiger"] == nouns(facts({"tiger": 0.95}, detections=(seen("person", 0.66),)))
    assert ["person", "tiger"] == nouns(facts({"tiger": 0.95}, detections=(seen("person", 0.7),)))


def test_what_speaks_for_the_subject_speaks_for_nothing_else() -> None:
    """One hoofed animal in the tagger's eyes supports one, not a horse and a cow."""
    found = (seen("horse", 0.9, LEFT), seen("cow", 0.8, RIGHT))
    assert ["horse"] == nouns(facts({"zebra": 0.3, "goat_or_ibex": 0.3, "llama": 0.3}, detections=found))


def test_clothes_in_general_are_no_news_beside_a_person() -> None:
    """A hat may be, some clothing is not."""
    person = (seen("person", 0.9, LEFT),)
    assert ["person"] == nouns(facts({"jersey": 0.45, "suit": 0.45}, detections=person))
    assert ["person", "cowboy hat"] == nouns(facts({"cowboy_hat": 0.95}, detections=person))


def test_unknown_labels_are_passed_over() -> None:
    """A newer detector does no harm."""
    assert nouns(facts(detections=(seen("zeppelin", 0.99),))) == []


# ---------------------------------------------------------------- where they stand


@pytest.mark.parametrize(
    ("person", "car", "relation"),
    [
        (LEFT, RIGHT, "left-of"),
        (RIGHT, LEFT, "right-of"),
        (box(0.2, 0, 0.8, 0.4), box(0.1, 0.5, 0.9, 1), "above"),
        (box(0.2, 0.6, 0.8, 1), box(0.1, 0, 0.9, 0.5), "below"),
        (box(0, 0, 0.6, 1), box(0.4, 0, 1, 1), "with"),
    ],
)
def test_boxes_that_are_apart_have_a_relation(person: Any, car: Any, relation: str) -> None:
    """Only a thing that is wholly on one side is said to be there."""
    shown = facts(detections=(seen("person", 0.95, person), seen("car", 0.9, car)))
    assert nouns(shown) == ["person", "car"]
    assert [relation] == [told.relation for told in shown.relations]


# ---------------------------------------------------------------- how it looks


def look(**changes: Any) -> dict[str, Any]:
    return {"appearance": Appearance(**changes)}


@pytest.mark.parametrize(
    ("noun", "colours", "expected"),
    [
        ("sports_car", shares(red=0.7), ("red",)),
        ("sports_car", shares(red=0.4, blue=0.3), ()),
        ("sports_car", shares(grey=0.9), ()),
        ("orange", shares(orange=0.9), ()),
    ],
)
def test_only_a_chromatic_colour_of_half_the_subject_is_told(
    noun: str, colours: Any, expected: tuple[str, ...]
) -> None:
    """Grey is overused, and an orange is orange by name."""
    (subject,) = facts({noun: 0.95}, **look(subject_colours=colours)).things
    assert expected == subject.colours


def test_people_have_no_colour() -> None:
    """Whatever covers the foreground: nothing is said of a person's colour, also not through a companion."""
    detections = (seen("person", 0.9, LEFT),)
    person = facts(detections=detections, **look(subject_colours=shares(brown=0.9)))
    beside = facts({"sports_car": 0.9}, detections=detections, **look(subject_colours=shares(brown=0.9)))
    assert [thing.colours for thing in person.things] == [()]
    assert [thing.colours for thing in beside.things] == [(), ()]


def test_a_monochrome_picture_has_no_colours() -> None:
    """Sepia is not brown paint."""
    brown = {"subject_colours": shares(brown=0.9), "monochrome": True}
    shown = facts({"sports_car": 0.9}, **look(**brown))
    assert (shown.medium, shown.things[0].colours) == (Medium.MONOCHROME, ())


def test_a_colourless_thing_on_a_plain_ground_is_no_black_and_white_picture() -> None:
    """A white sock on white paper looks the same in colour."""
    measured = look(monochrome=True, plain_background=shares(white=1.0)[0])
    assert Medium.PHOTO == facts({"sock": 0.9}, **measured).medium


@pytest.mark.parametrize(
    ("measured", "kind"),
    [
        ({"blue_sky": 0.6}, "blue-sky"),
        ({"blue_sky": 0.2, "pale_sky": 0.7}, "pale-sky"),
        ({"greenery": 0.7}, "greenery"),
        ({"plain_background": shares(white=0.9)[0], "greenery": 0.9}, "plain"),
        ({"blue_sky": 0.3}, None),
    ],
)
def test_the_background_is_what_the_border_shows(measured: dict[str, Any], kind: str | None) -> None:
    """One background at most, and none that is only half there."""
    found = facts(**look(**measured)).background
    assert kind == (found.kind if found else None)


def test_a_page_is_mostly_text() -> None:
    """Many lines over much of the picture make a page, if it looks like one. A sign is a thing like any other."""
    rows = tuple(line(f"line {at}", where=box(0.1, at / 10, 0.9, at / 10 + 0.06)) for at in range(8))
    assert facts({"menu": 0.3}, lines=rows).medium == Medium.PAGE
    assert facts({"teapot": 0.95}, lines=rows).medium == Medium.PHOTO
    assert ["street sign"] == nouns(facts({"street_sign": 0.95}, lines=rows[:2]))
    assert [] == nouns(facts({"street_sign": 0.3}, lines=rows[:2]))


def test_few_flat_colours_make_a_drawing() -> None:
    """Unless there is text, which is flat on photographs of signs too."""
    flat = look(flatness=0.95)
    assert facts({"teapot": 0.9}, **flat).medium == Medium.DRAWING
    assert facts({"teapot": 0.9}, lines=(line("tea"),), **flat).medium == Medium.PHOTO


@pytest.mark.parametrize(
    ("colours", "expected"),
    [
        (shares(blue=0.7, white=0.2), ("blue",)),
        (shares(blue=0.4, white=0.3), ("blue", "white")),
        (shares(blue=0.42, white=0.1), ("blue",)),
        (shares(blue=0.3, white=0.2), ()),
    ],
)
def test_the_dominant_colours_are_those_of_most_of_the_picture(
    colours: Any, expected: tuple[str, ...]
) -> None:
    """One that covers half, or two that cover most; a mixture has none."""
    assert expected == facts(**look(colours=colours)).colours
