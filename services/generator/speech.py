"""The seam between the scene and a language: how each fact is said. No sentence is put together here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from captionstream.contracts.messages import Claim, ClaimKind
from captionstream.contracts.scene import Background, QuotedText, Scene, Thing
from services.generator.grammar import Node, Stated, sequence


class Speech(Protocol):
    """One language. A `Node` holds its own claims, worded as they stand in the text."""

    @property
    def language(self) -> str: ...

    def knows(self, thing: Thing) -> bool:
        """Whether there is a word for it."""
        ...

    def phrase(self, thing: Thing) -> Node:
        """`a red car`, `two people`, `what may be a dog`."""
        ...

    def label(self, thing: Thing) -> Node:
        """The same without an article, as catalogues write it: `red car`."""
        ...

    def beside(self, relation: str, thing: Thing, companion: Node, alone: bool) -> Node:
        """` with a ball`, ` to the left of a car`: follows the subject `thing`. `alone`: no list follows."""
        ...

    def listed(self, phrase: Node, last: bool) -> Node:
        """A further item of a list: `, a ball` or ` and a ball`."""
        ...

    def setting(self, background: Background) -> Node:
        """`on a plain white background`."""
        ...

    def monochrome(self, score: float) -> Node:
        """`, in black and white`: what follows the rest."""
        ...

    def drawing_of(self, phrase: Node, score: float) -> Node: ...

    def visible(self, phrases: Node) -> Node:
        """The start of an inspection sentence: `visible: ...`."""
        ...

    def unrecognised(self, scene: Scene) -> Node:
        """What is known of an image whose subject is not, without the full stop."""
        ...

    def only_text(self, scene: Scene, quote: QuotedText, whole: bool) -> Node:
        """An image of which only its text is known, without the full stop."""
        ...

    def quotation(self, quote: QuotedText, whole: bool) -> Node:
        """`the text reads "..."`; `begins` when the quote is not whole."""
        ...

    def supplied_names(self, names: tuple[str, ...]) -> Node:
        """`the supplied metadata names ...`."""
        ...

    def main_colours(self, scene: Scene) -> Node:
        """`mostly blue and white`."""
        ...

    def link(self, target: str) -> Node: ...


def claim(text: str, kind: ClaimKind, source: str, score: float) -> Claim:
    return Claim(text=text, kind=kind, source=source, score=score)


def stated(part: Node | str, claims: Iterable[Claim], hedged: bool = False) -> Node:
    return Stated(sequence(part), tuple(claims), hedged)


def appearance_claims(names: Iterable[str], kind: ClaimKind, score: float) -> list[Claim]:
    return [claim(name, kind, "appearance", score) for name in names]


def quoted(before: str, quote: QuotedText) -> Node:
    """`before` and the quotation, with its claim."""
    claims = [claim(quote.text, ClaimKind.QUOTATION, "reader", quote.score)]
    return stated(f'{before} "{quote.text}"', claims)


def thing_claims(thing: Thing, noun: str, colours: Iterable[str], number: str) -> list[Claim]:
    """The claims of a noun phrase, each worded as it stands in the text. `number` is empty for one."""
    claims = [claim(noun, ClaimKind.OBJECT, thing.source, thing.score)]
    claims += appearance_claims(colours, ClaimKind.ATTRIBUTE, thing.colour_share)
    if number:
        claims.append(claim(number, ClaimKind.COUNT, "detector", thing.score))
    return claims


def joined_by(names: Iterable[str], conjunction: str) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} {conjunction} {last}" if first else last
