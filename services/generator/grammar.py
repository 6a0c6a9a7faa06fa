"""A sentence as a value: every way in which it may be said, and what each way claims.

One value has five readings, so they cannot disagree:

    gbnf(node)              the grammar under which a llama.cpp server decodes
    lark(node)              the same for llguidance, which masks the tokens of engines in this process
    read(node, text)        the claims of a text that the node allows, or None
    may_continue(node, text)  whether a text is the beginning of one that the node allows
    spell(node, choose)     one of the texts; `sentences(node)` is all of them
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from captionstream.contracts.messages import Claim


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """Equivalent wordings; the first one is the plainest."""

    choices: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Optional:
    """May be left out. The plain sentence says it when there is room."""

    part: Node


@dataclass(frozen=True, slots=True)
class Stated:
    """Who says `part` claims `claims`; `hedged` when `part` says that it is unsure."""

    part: Node
    claims: tuple[Claim, ...] = ()
    hedged: bool = False


Node = Literal | Sequence | OneOf | Optional | Stated


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says, in its order."""

    claims: tuple[Claim, ...] = ()
    hedged: bool = False

    def __add__(self, other: Reading) -> Reading:
        return Reading(self.claims + other.claims, self.hedged or other.hedged)


def sequence(*parts: Node | str) -> Sequence:
    return Sequence(tuple(map(_node, parts)))


def one_of(*choices: Node | str) -> Node:
    nodes = tuple(dict.fromkeys(map(_node, choices)))
    return nodes[0] if len(nodes) == 1 else OneOf(nodes)


def _node(part: Node | str) -> Node:
    return Literal(part) if isinstance(part, str) else part


def capitalised(node: Node) -> Node:
    """The same node with a capital first in every text. A sequence starts with a part that is always said."""
    match node:
        case Literal(text):
            return Literal(text[:1].upper() + text[1:])
        case Sequence(parts):
            return Sequence((capitalised(parts[0]), *parts[1:]))
        case OneOf(choices):
            return OneOf(tuple(map(capitalised, choices)))
        case Optional(part):
            return Optional(capitalised(part))
        case Stated(part, claims, hedged):
            return Stated(capitalised(part), claims, hedged)


# ---------------------------------------------------------------- for the model


def gbnf(node: Node) -> str:
    """The node in llama.cpp's grammar language, as one `root` rule."""
    return f"root ::= {_rule(node, _quoted)}"


def lark(node: Node) -> str:
    """The node in llguidance's dialect of Lark. One terminal, so no lexer decides where a word of it ends."""
    return f"start: TEXT\nTEXT: {_rule(node, _as_json)}"


def _rule(node: Node, quoted: Callable[[str], str]) -> str:
    """In both languages a sequence, a choice and an option are written alike; literals are not."""
    match node:
        case Literal(text):
            return quoted(text)
        case Sequence(parts):
            return " ".join(_rule(part, quoted) for part in parts)
        case OneOf(choices):
            return "( " + " | ".join(_rule(choice, quoted) for choice in choices) + " )"
        case Optional(part):
            return f"( {_rule(part, quoted)} )?"
        case Stated(part):
            return _rule(part, quoted)


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _as_json(text: str) -> str:
    """JSON's escapes, and one more: a bare DEL is no character of a Lark file."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"


# ---------------------------------------------------------------- for the judge


def accepts(node: Node, text: str) -> bool:
    return read(node, text) is not None


def read(node: Node, text: str) -> Reading | None:
    """What `text` says if the node allows exactly this text, else None."""
    return next((reading for end, reading in _readings(node, text, 0) if end == len(text)), None)


def _readings(node: Node, text: str, at: int) -> Iterator[tuple[int, Reading]]:
    """Every way to read `node` in `text` from `at`: where it ends and what it says."""
    match node:
        case Literal(literal):
            if text.startswith(literal, at):
                yield at + len(literal), Reading()
        case Sequence(parts):
            yield from _in_order(parts, text, at)
        case OneOf(choices):
            for choice in choices:
                yield from _readings(choice, text, at)
        case Optional(part):
            yield from _readings(part, text, at)
            yield at, Reading()
        case Stated(part, claims, hedged):
            for end, inner in _readings(part, text, at):
                yield end, inner + Reading(claims, hedged)


def _in_order(parts: tuple[Node, ...], text: str, at: int) -> Iterator[tuple[int, Reading]]:
    if not parts:
        yield at, Reading()
        return
    for end, first in _readings(parts[0], text, at):
        for last, rest in _in_order(parts[1:], text, end):
            yield last, first + rest


def may_continue(node: Node, text: str) -> bool:
    """Whether some text that the node allows starts with `text`."""
    return _runs_out(node, text, 0)


def _runs_out(node: Node, text: str, at: int) -> bool:
    """Whether `text` ends inside `node`, or at its very start or end."""
    match node:
        case Literal(literal):
            return literal.startswith(text[at:])
        case Sequence(parts):
            places = {at}
            for part in parts:
                if any(_runs_out(part, text, place) for place in places):
                    return True
                places = {end for place in places for end, _ in _readings(part, text, place)}
            return len(text) in places
        case OneOf(choices):
            return any(_runs_out(choice, text, at) for choice in choices)
        case Optional(part) | Stated(part):
            return at == len(text) or _runs_out(part, text, at)


# ---------------------------------------------------------------- for the writer

Choose = Callable[[int], int]
"""Given how many ways there are, the index of one. Of an optional part, 0 says it and 1 leaves it out."""


def spell(node: Node, choose: Choose) -> str:
    match node:
        case Literal(text):
            return text
        case Sequence(parts):
            return "".join(spell(part, choose) for part in parts)
        case OneOf(choices):
            return spell(choices[choose(len(choices))], choose)
        case Optional(part):
            return spell(part, choose) if choose(2) == 0 else ""
        case Stated(part):
            return spell(part, choose)


def sentences(node: Node) -> Iterator[str]:
    """Every text that the node allows. Lazy: there may be many."""
    match node:
        case Literal(text):
            yield text
        case Sequence(parts):
            for pieces in product(*(tuple(sentences(part)) for part in parts)):
                yield "".join(pieces)
        case OneOf(choices):
            for choice in choices:
                yield from sentences(choice)
        case Optional(part):
            yield from sentences(part)
            yield ""
        case Stated(part):
            yield from sentences(part)


def wordings(node: Node) -> int:
    """How many texts there are, equal ones counted apart; without spelling them."""
    match node:
        case Literal():
            return 1
        case Sequence(parts):
            return math.prod(map(wordings, parts))
        case OneOf(choices):
            return sum(map(wordings, choices))
        case Optional(part):
            return wordings(part) + 1
        case Stated(part):
            return wordings(part)


def plainest(node: Node, wanted: int) -> str:
    """The first wording of everything, without its last optional parts until `wanted` characters do."""
    text = ""
    for said in range(optional_parts(node), -1, -1):
        text = spell(_first_options(node, said), lambda ways: 0)
        if len(text) <= wanted:
            break
    return text


def trimmed(node: Node, allowed: int) -> Node:
    """The node without the last optional parts that could make a text longer than `allowed` characters."""
    shorter = node
    for said in range(optional_parts(node), -1, -1):
        shorter = _first_options(node, said)
        if longest(shorter) <= allowed:
            break
    return shorter


def longest(node: Node) -> int:
    """Characters of the longest text."""
    match node:
        case Literal(text):
            return len(text)
        case Sequence(parts):
            return sum(map(longest, parts))
        case OneOf(choices):
            return max(map(longest, choices))
        case Optional(part) | Stated(part):
            return longest(part)


def optional_parts(node: Node) -> int:
    """How many optional parts stand at the outermost level; of several wordings, in the one with most."""
    match node:
        case Sequence(parts):
            return sum(map(optional_parts, parts))
        case OneOf(choices):
            return max(map(optional_parts, choices))
        case Optional():
            return 1
        case Stated(part):
            return optional_parts(part)
        case _:
            return 0


def _first_options(node: Node, kept: int) -> Node:
    """The node with only the first `kept` of its outermost optional parts."""
    match node:
        case Optional():
            return node if kept else Literal("")
        case Stated(part, claims, hedged):
            return Stated(_first_options(part, kept), claims, hedged)
        case OneOf(choices):
            return OneOf(tuple(_first_options(choice, kept) for choice in choices))
        case Sequence(parts):
            shortened = []
            for part in parts:
                shortened.append(_first_options(part, kept))
                kept = max(0, kept - optional_parts(part))
            return Sequence(tuple(shortened))
        case _:
            return node


def has_choice(node: Node) -> bool:
    """Whether the node allows more than one text."""
    match node:
        case Literal():
            return False
        case Sequence(parts):
            return any(map(has_choice, parts))
        case OneOf(choices):
            return len(choices) > 1
        case Optional(part):
            return longest(part) > 0
        case Stated(part):
            return has_choice(part)
