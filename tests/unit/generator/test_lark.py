"""The grammar for engines in this process: llguidance reads it as the judge does, letter by letter."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from captionstream.contracts.scene import Scene
from services.generator.grammar import Literal, Node, accepts, lark, may_continue, one_of, sequence
from services.generator.grammar import Optional as Maybe
from services.generator.sentence import Request
from services.generator.speech import Speech
from tests.unit.generator.builders import HOSTILE, calm, scenes
from tests.unit.generator.test_grammar import LANGUAGES, REQUESTS, told, written


@cache
def letters() -> LLTokenizer:
    """A tokenizer whose tokens are single bytes."""
    return LLTokenizer("byte")


def matcher(node: Node) -> LLMatcher:
    made = LLMatcher(letters(), LLMatcher.grammar_from_lark(lark(node)), log_level=0)
    assert made.get_error() == ""
    return made


def reaches(node: Node, text: str) -> int:
    """How many bytes of a text the grammar takes."""
    return matcher(node).try_consume_tokens(list(text.encode()))


def is_whole(node: Node, text: str) -> bool:
    reader = matcher(node)
    data = list(text.encode())
    return reader.try_consume_tokens(data) == len(data) and reader.is_accepting()


@calm
@given(shown=scenes(), request=REQUESTS, speech=LANGUAGES, data=st.data())
def test_llguidance_takes_what_the_judge_takes(
    shown: Scene, request: Request, speech: Speech, data: st.DataObject
) -> None:
    """Every wording of a scene can be decoded, and a text with one letter changed exactly where it is a wording."""
    node = told(shown, request, speech)
    text = written(data, node)
    assert is_whole(node, text)
    at = data.draw(st.integers(0, max(0, len(text) - 1)))
    changed = text[:at] + data.draw(st.characters(exclude_categories=["Cs"])) + text[at + 1 :]
    assert accepts(node, changed) == is_whole(node, changed)
    assert may_continue(node, changed) == (reaches(node, changed) == len(changed.encode()))


@calm
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_letter_survives(text: str) -> None:
    """Quotes, backslashes, control characters and emoji of a sign stand in the grammar as themselves."""
    node = sequence("<", one_of(text, "other"), Maybe(Literal(text)), ">")
    assert is_whole(node, f"<{text}>")
    assert is_whole(node, f"<{text}{text}>")
    assert not is_whole(node, f"<{text}{text}{text}>")


@pytest.mark.parametrize("text", [*HOSTILE, "\x7f", "\x00", "\u2028", '")i "', "/x/ %ignore", "\\u0041"])
def test_no_text_leaves_its_literal(text: str) -> None:
    """A sign that is written like a grammar opens no way to other texts."""
    node = sequence('"', text, '"')
    assert is_whole(node, f'"{text}"')
    assert reaches(node, '"Z') == 1


def test_a_choice_is_not_decided_by_its_longest_beginning() -> None:
    """Of two wordings where one begins the other, both can be followed by the rest."""
    node = sequence(one_of("a dog", "a dog or"), " barks.")
    assert is_whole(node, "a dog barks.")
    assert is_whole(node, "a dog or barks.")
