"""One sentence of the guided form as it comes: the ways to read it so far, and which are left after some more."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from captionstream.contracts.messages import Claim, ClaimKind
from services.generator.grammar import Reading
from services.generator.guided.guide import Guide
from services.generator.guided.words import COLOUR, COMMA, FREE, NO_CLAIM, START, Role, Wording

MODEL = "model"  # source of what a model grounds itself, before its name
OWN_WORD = re.compile("[a-zß-öø-ÿ]{1,24}")  # what a model may say of its own: no name, no number, no compound
IMPOSSIBLE = -math.inf


@dataclass(frozen=True, slots=True)
class Way:
    """One way to read a text so far.

    `unit` is the wording in the making, `mass` the log-probability of its last word, `last` what stands before
    it, `about` what was said of so far. `ended` once the full stop stands.
    """

    unit: str = ""
    mass: float = 0.0
    last: Wording = START
    about: frozenset[str] = frozenset()
    reading: Reading = NO_CLAIM
    free: int = 0
    length: int = 0
    ended: bool = False


Ways = tuple[Way, ...]
BEGUN: Ways = (Way(),)


def advanced(guide: Guide, ways: Ways, text: str, logprob: float | None = None) -> Ways:
    """The ways that are left after some more text; none where no sentence goes on so."""
    ground = IMPOSSIBLE if logprob is None else logprob
    if not text.strip(" "):
        return _spaced(guide, ways, text, ground)
    unpaid = True
    for character in text:
        paying = unpaid and _is_of_word(character)
        ways = _stepped(guide, ways, character, ground if paying else 0.0)
        unpaid = not _is_of_word(character) if not paying else False
        if not ways:
            break
    return ways


def _spaced(guide: Guide, ways: Ways, text: str, ground: float) -> Ways:
    """Spaces, or half a letter: its ground is that of the word which comes of it."""
    for character in text:
        ways = _stepped(guide, ways, character, 0.0)
    return tuple(replace(way, mass=way.mass + ground) for way in ways)


def _is_of_word(character: str) -> bool:
    return character.isalpha() or character in "-'’"


def _stepped(guide: Guide, ways: Ways, character: str, ground: float) -> Ways:
    """One character further. Of the ways that will go on alike, the best supported one."""
    best: dict[tuple[object, ...], Way] = {}
    for way in ways:
        for after in _after(guide, way, character, ground):
            key = (after.unit, after.last, after.about, after.ended)
            if key not in best or (after.free, -after.mass) < (best[key].free, -best[key].mass):
                best[key] = after
    return tuple(best.values())


def _after(guide: Guide, way: Way, character: str, ground: float) -> Iterator[Way]:
    if way.ended or (way.last is START and not way.unit and character.isspace()):
        if character.isspace():
            yield way
        return
    if way.unit == ",":
        if character == " ":
            yield replace(way, unit="", last=COMMA, length=way.length + 1)
        return
    for letter in _letters(way, character):
        longer = replace(way, unit=way.unit + letter, mass=way.mass + ground, length=way.length + 1)
        if _may_grow(guide, longer):
            yield longer
    if character in " ,." and way.unit:
        for closed in _closed(guide, way):
            yield from _separated(guide, closed, character)


def _letters(way: Way, character: str) -> Iterator[str]:
    """The character as its word would have it inside a sentence, which starts with a capital."""
    if way.last is START and not way.unit:
        if character.isupper():
            yield from dict.fromkeys((character.lower(), character))
    else:
        yield character


def _may_grow(guide: Guide, way: Way) -> bool:
    begun = guide.known.get(way.unit, ())
    return any(may_say(guide, way, wording) for wording in begun) or _is_free(guide, way)


def may_say(guide: Guide, way: Way, wording: Wording) -> bool:
    """Whether there is room for a wording that the unit begins, and reason to say it."""
    if way.about & wording.about or (way.last.role is Role.COLOUR and not wording.takes_colour):
        return False
    if wording.text == way.last.text:
        return False
    left = guide.room - way.length + len(way.unit) - len(wording.text)
    return left >= guide.plenty or left >= _to_end(guide, way, wording)


def _to_end(guide: Guide, way: Way, after: Wording) -> int:
    """The fewest characters with which a sentence ends after this wording."""
    about = way.about | after.about
    if after.role is not Role.JOINING and (about or after.role in {Role.TERM, Role.FREE}):
        return 1
    return 2 + _shortest(guide, about)


def _shortest(guide: Guide, about: frozenset[str]) -> int:
    """The fewest characters of a wording that ends a sentence which has said so much."""
    unsaid = (len(term.text) for term in guide.endings if not term.about & about)
    return min(unsaid, default=guide.words.short_ending if about else 2)


def _is_free(guide: Guide, way: Way) -> bool:
    """Whether the unit may become a word of the model's own."""
    return (
        way.mass >= guide.floor
        and way.last.role not in {Role.START, Role.COLOUR}
        and OWN_WORD.fullmatch(way.unit) is not None
        and way.length < guide.room
    )


# ---------------------------------------------------------------- the end of a wording


def _closed(guide: Guide, way: Way) -> Iterator[Way]:
    """The way with its unit said. A text that somebody knows is never the model's own."""
    for wording in guide.known.get(way.unit, ()):
        if wording.text == way.unit and may_say(guide, way, wording):
            yield _with(way, wording, wording.about, wording.reading)
    if _is_own(guide, way):
        yield _with(way, FREE, frozenset({way.unit}), _grounded(way, ClaimKind.OBJECT), free=1)
    if way.unit in guide.words.colours and way.unit not in guide.supported and guide.paints:
        yield from _painted(guide, way)


def _with(way: Way, last: Wording, about: frozenset[str], reading: Reading, free: int = 0) -> Way:
    return replace(
        way, unit="", mass=0.0, last=last, about=way.about | about, reading=way.reading + reading,
        free=way.free + free,
    )  # fmt: skip


def _is_own(guide: Guide, way: Way) -> bool:
    own = len(way.unit) > 1 and way.unit not in guide.taken and way.unit not in guide.words.colours
    return own and way.unit not in way.about and _is_free(guide, way)


def _painted(guide: Guide, way: Way) -> Iterator[Way]:
    """A colour beside a thing of the scene that has none: before it, or after it, as the language has it."""
    if way.mass < guide.floor:
        return
    painted = _with(way, COLOUR, frozenset(), _grounded(way, ClaimKind.ATTRIBUTE), free=1)
    if not guide.words.colour_first:
        if way.last.paintable:
            yield replace(painted, last=FREE)
    elif way.last.role is not Role.COLOUR and _is_room_for_thing(guide, way):
        yield painted


def _is_room_for_thing(guide: Guide, way: Way) -> bool:
    left = guide.room - way.length - 2
    return any(
        term.takes_colour and not term.about & way.about and len(term.text) <= left for term in guide.terms
    )


def _grounded(way: Way, kind: ClaimKind) -> Reading:
    return Reading((Claim(text=way.unit, kind=kind, source=MODEL, score=min(1.0, math.exp(way.mass))),))


def _separated(guide: Guide, way: Way, character: str) -> Iterator[Way]:
    """The way after a space, a comma or the full stop."""
    longer = replace(way, length=way.length + 1)
    waiting = way.last.role in {Role.JOINING, Role.COLOUR}
    if character == " ":
        if longer.length + _to_go_on(guide, longer) <= guide.room:
            yield longer
    elif character == ",":
        if not waiting and longer.length + 1 + _to_go_on(guide, longer) <= guide.room:
            yield replace(longer, unit=",")
    elif not waiting and way.reading.claims and longer.length <= guide.room:
        yield replace(longer, ended=True)


def _to_go_on(guide: Guide, way: Way) -> int:
    """The fewest characters of a further wording and the full stop."""
    if way.last.role is not Role.COLOUR:
        return 1 + _shortest(guide, way.about)
    painted = (term for term in guide.endings if term.takes_colour and not term.about & way.about)
    return 1 + min((len(term.text) for term in painted), default=guide.room)
