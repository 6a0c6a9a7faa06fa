"""The rules for alternative text, each with a text that breaks it and one that does not."""

from __future__ import annotations

import pytest

from captionstream.contracts.values import PageContext, Profile, Purpose
from services.safety.checks.alt_rules import RULES, alt_rules
from tests.unit.safety.builders import context, quoted, scene

LONG = "A dog on a beach with a ball " * 9

BREAKS = [
    ("A05", "en", "Untitled"),
    ("A05", "en", "image description"),
    ("A05", "es", "sin título"),
    ("A06", "en", "IMG_2034.jpg on a table."),
    ("A06", "en", "DSC00123 on a table."),
    ("A06", "en", "A dog 3f2b8c9d1e4f5a6b7c8d on grass."),
    ("A07", "en", "Image of a dog."),
    ("A07", "en", "A photo of a dog."),
    ("A07", "en", "This picture shows a dog."),
    ("A07", "es", "Una foto de un perro."),
    ("A07", "es", "En la imagen, un perro."),
    ("A08", "en", LONG + "."),
    ("A08-wanted", "en", LONG[:200] + "."),
    ("A09", "en", "Dog."),
    ("A10", "en", "A dog on grass"),
    ("A10", "en", "A dog. A cat. A cow."),
    ("A11", "en", "a dog on grass."),
    ("A11", "en", "A DOG ON GRASS."),
    ("A13", "en", "A dog 🐶 on grass."),
    ("A13", "en", "A dog  on grass."),
    ("A13", "en", "A dog\non grass."),
    ("A13", "en", "A dog on grass. "),
    ("A13", "en", "A dog on grass #dogs."),
    ("A14", "en", "A dog on grass. Photo by Ann."),
    ("A14", "en", "A dog © Ann."),
    ("A14", "en", "Photo: Ann. A dog."),
    ("A14-list", "en", "Dog, beach, sun, sea"),
    ("A21", "en", "A beautiful dog on grass."),
    ("A21", "es", "Un perro precioso."),
]
KEEPS = [
    ("A05", "en", "An icon of a house beside a door."),
    ("A06", "en", 'A screen. The text reads "IMG_2034.jpg".'),
    ("A06", "en", "A Boeing 747 and a facade."),
    ("A07", "en", "A drawing of a dog."),
    ("A07", "en", "A picture frame on a wall."),
    ("A07", "es", "Un dibujo de un perro."),
    ("A08", "en", LONG[:200] + "."),
    ("A08-wanted", "en", "A dog on grass."),
    ("A09", "en", "A dog."),
    ("A10", "en", 'A sign. The text reads "STOP".'),
    ("A10", "en", 'A sign. The text reads "Stop. Look. Listen.".'),
    ("A10", "en", "A thermometer at 20.5 degrees. A window."),
    ("A11", "en", 'A sign. The text reads "NO ENTRY HERE".'),
    ("A11", "en", "A USB cable."),
    ("A11", "en", '"Give way" on a sign.'),
    ("A13", "en", "A thermometer at 20 °C."),
    ("A14", "en", "A credit card on a table."),
    ("A14-list", "en", "A dog, a cat, a cow and a hen."),
    ("A14-list", "en", "Apples, pears, plums and grapes in a bowl."),
    ("A21", "en", 'A poster. The text reads "Beautiful Spain".'),
]  # fmt: skip


def broken(text: str, **of: object) -> set[str]:
    return {finding.rule for finding in alt_rules(text, context(**of))}  # type: ignore[arg-type]


@pytest.mark.parametrize(("rule", "language", "text"), BREAKS)
def test_a_text_that_breaks_the_rule_is_found(rule: str, language: str, text: str) -> None:
    """The rule fires under its own id."""
    assert rule in broken(text, language=language)


@pytest.mark.parametrize(("rule", "language", "text"), KEEPS)
def test_a_text_that_keeps_the_rule_is_left_alone(rule: str, language: str, text: str) -> None:
    """The nearest harmless text does not set the rule off."""
    assert rule not in broken(text, language=language)


def test_an_empty_text_is_right_for_a_decorative_picture_only() -> None:
    """A01: the right answer may be an empty one, and an abstention is not."""
    assert "A01" not in broken("", purpose=Purpose.DECORATIVE)
    assert "A01" in broken("")
    assert "A01" in broken("A dog.", purpose=Purpose.DECORATIVE)


def test_an_empty_text_is_right_where_the_page_already_names_the_subject() -> None:
    """A01: a second telling would be noise."""
    beside = PageContext(nearby_text="Our dog after a swim.")
    assert "A01" not in broken("", context=beside, scene=scene())
    assert "A01-beside" in broken("A dog.", context=beside)
    assert "A01-beside" not in broken("A dog on a sofa.", context=beside)


def test_text_in_the_picture_is_quoted_when_it_was_read_for_sure() -> None:
    """A03: nine words of ten, for alternative texts that inform, when the reader is sure."""
    sign = scene(text=quoted("Tourist information Castle"))
    assert "A03" in broken("A street sign.", scene=sign)
    assert "A03" in broken("A sign for tourist information, castle.", scene=sign)
    assert "A03" not in broken('A street sign. The text reads "Tourist information Castle".', scene=sign)
    assert "A03" not in broken("A street sign.", scene=scene(text=quoted("Castle", score=0.7)))
    assert "A03" not in broken("A street sign.", scene=sign, profile=Profile.PRODUCT)
    assert "A03" not in broken("A street sign.", scene=scene(text=quoted("word " * 40)))


def test_a_control_may_have_one_word_and_no_full_stop() -> None:
    """A09 and A10 are for sentences: a functional picture is named like a button."""
    assert set() == broken("Search", purpose=Purpose.FUNCTIONAL) & {"A09", "A10"}


def test_every_rule_has_a_test_and_names_its_source() -> None:
    """A rule without a source, or without a text that breaks it, is a whim."""
    tested = {rule for rule, *_ in BREAKS} | {"A01", "A01-beside", "A03"}
    assert set(RULES) == tested
    sources = ("W3C", "WCAG", "GOV.UK", "IPTC")
    assert all(any(source in (rule.__doc__ or "") for source in sources) for rule in RULES.values())
