"""The grammar of a scene: what it lets a writer say, and what it does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captionstream.contracts.messages import Claim, ClaimKind
from captionstream.contracts.scene import Certainty, Medium, Scene
from captionstream.contracts.values import Profile, Purpose
from services.generator.grammar import (
    Literal,
    Node,
    Stated,
    accepts,
    capitalised,
    gbnf,
    has_choice,
    longest,
    may_continue,
    one_of,
    plainest,
    read,
    sentences,
    sequence,
    spell,
    trimmed,
)
from services.generator.grammar import Optional as Maybe
from services.generator.sentence import ALLOWED, Request, sentence
from services.generator.speech import Speech
from services.generator.translation import sayable
from tests.unit.generator.alt_rules import QUOTATION, broken_rules
from tests.unit.generator.builders import (
    BLUE_SKY,
    PLAIN_WHITE,
    calm,
    english,
    quote,
    scene,
    scenes,
    spanish,
    thing,
    vocabulary,
)

LANGUAGES = st.sampled_from((english(), spanish()))
REQUESTS = st.builds(
    Request,
    profile=st.sampled_from(Profile),
    purpose=st.sampled_from([purpose for purpose in Purpose if purpose is not Purpose.DECORATIVE]),
    target=st.none()
    | st.sampled_from(("Basket", "https://shop.example/a.jpg", "/cart.html", "..."))
    | st.text(),
    people=st.lists(st.text(max_size=80), max_size=4).map(tuple),
)


def written(data: st.DataObject, node: Node) -> str:
    """Any text that the node allows."""
    return spell(node, lambda ways: data.draw(st.integers(0, ways - 1)))


def told(shown: Scene, request: Request, speech: Speech) -> Node:
    return sentence(sayable(shown, speech, vocabulary()), request, speech).whole


def head(shown: Scene) -> Node:
    return sentence(shown, Request(), english()).head


# ---------------------------------------------------------------- every path


@calm
@given(shown=scenes(), request=REQUESTS, speech=LANGUAGES, data=st.data())
def test_every_path_is_accepted_and_keeps_the_rules(
    shown: Scene, request: Request, speech: Speech, data: st.DataObject
) -> None:
    """Whatever a model chooses under the grammar of a scene is an alternative text by the rules."""
    node = told(shown, request, speech)
    text = written(data, node)
    assert broken_rules(text) == [], text
    assert accepts(node, text)


@calm
@given(shown=scenes(), request=REQUESTS, data=st.data())
def test_no_path_states_anything_outside_the_scene(
    shown: Scene, request: Request, data: st.DataObject
) -> None:
    """Each word of a sentence is grammar, or belongs to a fact of the scene, or is quoted or supplied."""
    request = Request(request.profile, request.purpose)
    text = written(data, told(shown, request, english()))
    assert set() == words_of(QUOTATION.sub("", text)) - GRAMMAR_WORDS - words_for(shown), text


GRAMMAR_WORDS = frozenset(
    {
        "a",
        "an",
        "and",
        "some",
        "with",
        "on",
        "against",
        "under",
        "beneath",
        "to",
        "the",
        "left",
        "right",
        "of",
        "in",
    }
    | {
        "below",
        "what",
        "may",
        "be",
        "looks",
        "like",
        "at",
        "least",
        "visible",
        "text",
        "reads",
        "begins",
        "page",
    }
    | {
        "sign",
        "or",
        "label",
        "that",
        "picture",
        "its",
        "subject",
        "could",
        "not",
        "recognised",
        "mostly",
        "pair",
    }
    | {"pairs", "drawing", "black", "white"}
)
SETTINGS = {
    "plain": "plain background",
    "blue-sky": "blue sky",
    "pale-sky": "pale sky",
    "greenery": "greenery",
}
NUMBERS = {1: "", 2: "two several", 3: "three several", 5: "five several", 9: "several"}


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_](?:[\w'-]*\w)?", text.lower()))


def words_for(shown: Scene) -> set[str]:
    facts = [*shown.colours]
    for one in shown.things:
        facts += [one.noun, english().plural(one.noun), *one.colours, NUMBERS[one.count]]  # type: ignore[attr-defined]
    if shown.background:
        facts += [SETTINGS[shown.background.kind], shown.background.colour or ""]
    return words_of(" ".join(facts))


@calm
@given(shown=scenes(), request=REQUESTS, speech=LANGUAGES, data=st.data())
def test_the_claims_of_a_text_stand_in_it(
    shown: Scene, request: Request, speech: Speech, data: st.DataObject
) -> None:
    """Each claim is worded as in the text, and each thing that is said has one with its score."""
    node = told(shown, request, speech)
    text = written(data, node)
    reading = read(node, text)
    assert reading is not None
    assert [claim.text for claim in reading.claims if claim.text.lower() not in text.lower()] == []
    if shown.things and request.purpose is not Purpose.FUNCTIONAL:
        first = sayable(shown, speech, vocabulary()).things
        assert {one.score for one in first[:1]} <= {claim.score for claim in reading.claims}


@calm
@given(shown=scenes(), request=REQUESTS, speech=LANGUAGES, data=st.data())
def test_every_prefix_of_a_path_is_known_as_one(
    shown: Scene, request: Request, speech: Speech, data: st.DataObject
) -> None:
    """A stream that stays on the grammar is never stopped, and one that leaves it is, at that character."""
    node = told(shown, request, speech)
    text = written(data, node)
    cut = data.draw(st.integers(0, len(text)))
    assert may_continue(node, text[:cut])
    assert not may_continue(node, text[:cut] + "\x00")


@calm
@given(shown=scenes(), request=REQUESTS, speech=LANGUAGES, data=st.data())
def test_the_grammar_for_the_model_allows_the_same_texts(
    shown: Scene, request: Request, speech: Speech, data: st.DataObject
) -> None:
    """What is sent to the language model's server and what judges its answer are one grammar."""
    node = told(shown, request, speech)
    pattern = as_pattern(gbnf(node))
    text = written(data, node)
    assert pattern.fullmatch(text)
    changed = text[:-2] + data.draw(st.characters()) + text[-1:]
    assert accepts(node, changed) == bool(pattern.fullmatch(changed))


def as_pattern(grammar: str) -> re.Pattern[str]:
    """A grammar of literals, groups, alternatives and options as a regular expression."""
    rule = grammar.removeprefix("root ::= ")
    tokens = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', rule)
    parts = []
    for literal, sign in tokens:
        assert sign in {"", "(", ")", "|", ")?"}, sign
        parts.append(sign or re.escape(unescaped(literal)))
    return re.compile("".join(parts), re.DOTALL)


def unescaped(literal: str) -> str:
    return re.sub(r"\\(U[0-9A-F]{8}|.)", lambda m: chr(int(m[1][1:], 16)) if len(m[1]) > 1 else m[1], literal)


# ---------------------------------------------------------------- what is not accepted


DOG_AND_PEOPLE = scene(
    thing("dog", certainty=Certainty.HEDGED, score=0.6),
    thing("person", plural="people", count=2, kind="person"),
    background=BLUE_SKY,
)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("nothing", "What may be a dog with two people under a blue sky."),
        ("a noun swapped", "What may be a cat with two people under a blue sky."),
        ("the hedge dropped", "A dog with two people under a blue sky."),
        ("the count raised", "What may be a dog with three people under a blue sky."),
        ("the count dropped", "What may be a dog with people under a blue sky."),
        ("a colour added", "What may be a brown dog with two people under a blue sky."),
        ("a companion left out", "What may be a dog under a blue sky."),
        ("the sky changed", "What may be a dog with two people under a grey sky."),
        ("a mood added", "What may be a happy dog with two people under a blue sky."),
        ("a sentence added", "What may be a dog with two people under a blue sky. They play."),
        ("a preamble", "Sure! What may be a dog with two people under a blue sky."),
        ("broken off", "What may be a dog with two people under a blue"),
        ("nothing written", ""),
    ],
)
def test_only_what_the_scene_supports_is_accepted(change: str, text: str) -> None:
    """One changed word is enough for a sentence to be rejected."""
    assert (change == "nothing") == accepts(head(DOG_AND_PEOPLE), text)


@calm
@given(shown=scenes(), speech=LANGUAGES, data=st.data())
def test_a_foreign_noun_is_never_accepted(shown: Scene, speech: Speech, data: st.DataObject) -> None:
    """A sentence with one of its nouns replaced by something else is not a sentence of the scene."""
    node = told(shown, Request(), speech)
    text = written(data, node)
    reading = read(node, text)
    assert reading is not None
    nouns = [claim.text for claim in reading.claims if claim.kind is ClaimKind.OBJECT]
    assume(nouns)
    noun = data.draw(st.sampled_from(nouns))
    assert not accepts(node, text.replace(noun, "zeppelin factory"))


def test_a_quotation_is_taken_verbatim_or_not_at_all() -> None:
    """One letter of a sign changed is another sign."""
    node = sentence(scene(thing("street sign"), text=quote("Exit 12 B")), Request(), english()).whole
    assert accepts(node, 'A street sign. The text reads "Exit 12 B".')
    assert not accepts(node, 'A street sign. The text reads "Exit 12 C".')
    assert not accepts(node, "A street sign.")


def test_a_hedge_may_be_worded_in_two_ways_and_is_known_as_a_hedge() -> None:
    """The reading of a text says that it is unsure, whichever words say so."""
    for text in ("What may be a dog with two people.", "What looks like a dog with two people."):
        reading = read(head(DOG_AND_PEOPLE), text)
        assert reading is not None
        assert reading.hedged


# ---------------------------------------------------------------- the value itself


CLAIM = Claim(text="sky", kind=ClaimKind.SETTING, source="appearance", score=0.5)
SMALL = sequence(
    "a ", one_of("red", "blue"), " sky", Maybe(Stated(Literal(" above"), (CLAIM,), hedged=True)), "."
)


def test_all_sentences_of_a_value_are_those_it_accepts() -> None:
    """Enumerating and judging agree on a grammar small enough to count."""
    assert list(sentences(SMALL)) == ["a red sky above.", "a red sky.", "a blue sky above.", "a blue sky."]
    assert all(accepts(SMALL, text) for text in sentences(SMALL))


def test_a_reading_holds_only_the_claims_that_were_made() -> None:
    """An optional part that is left out claims nothing."""
    with_part, without = read(SMALL, "a red sky above."), read(SMALL, "a red sky.")
    assert with_part is not None
    assert without is not None
    assert (with_part.claims, with_part.hedged) == ((CLAIM,), True)
    assert (without.claims, without.hedged) == ((), False)


def test_the_plainest_wording_leaves_out_what_there_is_no_room_for() -> None:
    """Optional parts go from the end; alternatives take their first wording."""
    assert plainest(SMALL, wanted=20) == "a red sky above."
    assert plainest(SMALL, wanted=12) == "a red sky."
    assert longest(trimmed(SMALL, allowed=12)) == len("a blue sky.")


def test_a_capital_reaches_every_first_word() -> None:
    """Each alternative at the start of a sentence gets its capital, accents included."""
    assert list(sentences(capitalised(sequence(one_of("águila", "ave"), ".")))) == ["Águila.", "Ave."]


def test_quotes_and_backslashes_cannot_leave_a_literal() -> None:
    """A sign that is written like a grammar is still one literal."""
    grammar = gbnf(Literal('\\" | root ::= "x'))
    assert grammar == r'root ::= "\\\" | root ::= \"x"'


def test_a_sentence_with_one_wording_has_no_choice() -> None:
    """Nobody needs to be asked how to say it."""
    assert not has_choice(head(scene(colours=("blue",))))
    assert has_choice(head(scene(thing("car"), background=PLAIN_WHITE)))


@calm
@given(shown=scenes(), request=REQUESTS, speech=LANGUAGES)
def test_no_path_is_longer_than_allowed(shown: Scene, request: Request, speech: Speech) -> None:
    """The longest way to say a scene still fits."""
    assert longest(told(shown, request, speech)) <= ALLOWED


def test_a_drawing_is_called_one() -> None:
    """The medium is named where it is the content, after the rule's own exception."""
    assert accepts(head(scene(thing("dog"), medium=Medium.DRAWING)), "A drawing of a dog.")
