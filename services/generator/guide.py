"""The guided form: which words a text may use that the scene's grammar does not write word for word.

Four kinds of wording make a guided sentence:

    joining, ending   function words of the language, free
    terms             wordings of the scene, each with its claims; said once
    colours           of a thing of the scene that has none: if the model grounds them, and never of a person
    any other word    if the model grounds it: the product of the probabilities of its pieces is at least `least`,
                      and becomes the score of its claim

What guided does *not* guarantee, and strict does. Function words are free, so they may bind true things falsely: a
dog "on" a car that stands beside one, a ball that "has" a dog. A word of the model's own is as true as the model
is well calibrated, and a probability says how the sentence goes on, not only what the picture shows. Nobody parses:
such a word is claimed as an object whatever its part of speech, a free adjective may describe a person, and a
kind of what the scene hedges ("puppy" for "what may be a dog") may be said surely. Words that are never the
model's are lists of a language, not its meaning. Nothing of the scene is obligatory, and the grammar of the
language is the model's. What always holds: no numbers, names, quotations, negations or colours of people beside
those of the scene, no bare word for what is hedged, no thing twice, one sentence, a claim for each content word.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache, cached_property
from importlib import resources

from captionstream.contracts.messages import Claim, ClaimKind
from captionstream.contracts.scene import Certainty, Medium, Scene, Thing
from captionstream.contracts.values import Profile
from services.generator.grammar import Node, Reading, read, sentences, sequence
from services.generator.sentence import NOTHING, WANTED
from services.generator.speech import Speech
from services.generator.vocabulary import Vocabulary

MODEL = "model"  # source of what a model grounds itself, before its name
OWN_WORD = re.compile("[a-zß-öø-ÿ]{1,24}")  # what a model may say of its own: no name, no number, no compound
IMPOSSIBLE = -math.inf
ROUNDING = 1e-6  # of logarithms that were added up


NO_CLAIM = Reading()


class Role(StrEnum):
    """What a wording is to its sentence: where it may stand, and what may follow."""

    START = "start"
    COMMA = "comma"
    JOINING = "joining"  # asks for more: no sentence ends here
    ENDING = "ending"
    TERM = "term"
    FREE = "free"
    COLOUR = "colour"  # stands before its thing


@dataclass(frozen=True, slots=True)
class Wording:
    """A text that may be said whole, and what it claims. `about` are the facts that it speaks of, each said once.

    `paintable` names a thing whose colour the model may say.
    """

    text: str
    role: Role
    reading: Reading = NO_CLAIM
    about: frozenset[str] = frozenset()
    paintable: bool = False

    @property
    def takes_colour(self) -> bool:
        """Whether a colour may stand directly before it: a noun and nothing else."""
        return self.paintable and [claim.text for claim in self.reading.claims] == [self.text]


START, COMMA = Wording("", Role.START), Wording("", Role.COMMA)
FREE, COLOUR = Wording("", Role.FREE), Wording("", Role.COLOUR)


@dataclass(frozen=True)
class Lexicon:
    """The words of a language that the guided form knows, in lower case. `colour_first`: before their noun."""

    joining: tuple[str, ...]
    ending: tuple[str, ...]
    colours: frozenset[str]
    colour_first: bool
    never: frozenset[str]

    @classmethod
    def load(cls, language: str) -> Lexicon:
        told = json.loads(
            resources.files(__package__).joinpath(f"lexicon/guided-{language}.json").read_text("utf-8")
        )
        never = frozenset(word for words in told["never"].values() for word in words)
        colours = frozenset(told["colours"])
        return cls(tuple(told["joining"]), tuple(told["ending"]), colours, told["colour_first"], never)

    @cached_property
    def wordings(self) -> tuple[Wording, ...]:
        joining = (Wording(text, Role.JOINING) for text in self.joining)
        return (*joining, *(Wording(text, Role.ENDING) for text in self.ending))

    @cached_property
    def short_ending(self) -> int:
        """Characters of the shortest one but one: two equal ones do not follow each other."""
        return sorted(map(len, self.ending))[1]

    @cached_property
    def function(self) -> frozenset[str]:
        return frozenset((*self.joining, *self.ending))


lexicon = cache(Lexicon.load)


@dataclass(frozen=True)
class Guide:
    """What may be said of a scene in its guided form.

    Any word that is neither in `words` nor in `terms` needs the model's own ground: a probability of at least
    `least` (above 0; more than 1 allows none), which becomes the score of its claim. `never` are words that no
    ground allows, and `room` is the most characters that a text may have.
    """

    words: Lexicon
    terms: tuple[Wording, ...]
    least: float
    never: frozenset[str] = frozenset()
    paints: bool = True
    room: int = WANTED
    _floor: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.least > 0:
            raise ValueError("a word needs some ground: `least` must be above 0")
        object.__setattr__(self, "_floor", math.log(self.least) - ROUNDING)

    @property
    def floor(self) -> float:
        """The least logarithm of a word's probability."""
        return self._floor

    @property
    def function(self) -> frozenset[str]:
        return self.words.function

    @cached_property
    def supported(self) -> frozenset[str]:
        return frozenset(term.text for term in self.terms)

    @cached_property
    def endings(self) -> tuple[Wording, ...]:
        """The terms with which a sentence may end."""
        return tuple(term for term in self.terms if term.role is Role.TERM)

    @cached_property
    def plenty(self) -> int:
        """So many characters are enough for any term and the full stop."""
        return 2 + max(self.words.short_ending, *(len(term.text) for term in self.endings), 2)

    @cached_property
    def known(self) -> Mapping[str, tuple[Wording, ...]]:
        """The wordings that start with a text, for each text that starts one. The scene's stand first."""
        begun: dict[str, list[Wording]] = {}
        for wording in (*self.terms, *self.words.wordings):
            for end in range(len(wording.text) + 1):
                begun.setdefault(wording.text[:end], []).append(wording)
        return {text: tuple(wordings) for text, wordings in begun.items()}

    @cached_property
    def taken(self) -> frozenset[str]:
        """Words that are not the model's to say, since they are somebody else's or nobody's."""
        return self.function | self.supported | self.never | self.words.never


# ---------------------------------------------------------------- from the scene


def guide_of(
    scene: Scene,
    speech: Speech,
    profile: Profile,
    least: float,
    *,
    room: int = WANTED,
    vocabulary: Vocabulary | None = None,
) -> Guide:
    """The guide of a scene in the words of `speech`, which must know all its things.

    A `vocabulary` adds the more general words that are true of them. An inspection says what recognisers found,
    so its guide leaves nothing to the model; the colour of a product is not the model's to say. Raises
    FileNotFoundError for a language without a lexicon.
    """
    words = lexicon(speech.language)
    kinds = [(at, kind) for at, thing in enumerate(scene.things) for kind in _wider(thing, vocabulary)]
    kinds = [*enumerate(scene.things), *(wider for wider in kinds if speech.knows(wider[1]))]
    told = reversed(list(_terms(scene, kinds, speech)))
    terms = tuple({(term.text, term.about): term for term in told}.values())
    unsure = {word for _, kind in kinds for word in _bare(kind, speech)} - {term.text for term in terms}
    inspected = profile is Profile.INSPECTION
    return Guide(
        words,
        terms,
        math.inf if inspected else least,
        frozenset(unsure),
        paints=profile is not Profile.PRODUCT,
        room=room,
    )


def _terms(scene: Scene, kinds: Iterable[tuple[int, Thing]], speech: Speech) -> Iterator[Wording]:
    """Of two equal texts about one thing the first one counts.

    `kinds` are the things by their number in the scene, under the words that are true of them: what is seen before
    what is only more general.
    """
    for at, kind in kinds:
        yield from _of_thing(kind, frozenset({f"thing {at}"}), speech)
    yield from _of_relation(scene, speech)
    if scene.background is not None:
        yield from _of_node(speech.setting(scene.background), frozenset({"background"}), bare=True)
    if scene.medium is Medium.MONOCHROME:
        yield from _of_node(speech.monochrome(scene.medium_score), frozenset({"medium"}), bare=False)
    if scene.medium is Medium.DRAWING:
        for drawn in _of_node(
            speech.drawing_of(NOTHING, scene.medium_score), frozenset({"medium"}), bare=False
        ):
            yield replace(drawn, text=drawn.text.rstrip(), role=Role.JOINING)


def _wider(thing: Thing, vocabulary: Vocabulary | None) -> Iterator[Thing]:
    if vocabulary is not None and thing.noun not in {"person", "people"}:
        for word in vocabulary.more_general(thing.noun, thing.synset):
            told = {"noun": word.word, "plural": "", "synset": word.synset, "mass_noun": word.mass_noun}
            yield thing.model_copy(update=told)


def _of_thing(thing: Thing, about: frozenset[str], speech: Speech) -> Iterator[Wording]:
    sure = thing.certainty is Certainty.SURE
    paintable = sure and not thing.colours and thing.kind not in {"person", "place"}
    for node in (speech.phrase(thing), speech.label(thing)):
        for wording in _of_node(node, about, bare=sure):
            yield replace(wording, paintable=paintable)
            for unnumbered in _without_number(wording):
                yield replace(unnumbered, paintable=paintable)


def _of_relation(scene: Scene, speech: Speech) -> Iterator[Wording]:
    """Where one of two things stands beside the other, in the only words that say which."""
    if len(scene.things) == 2 and scene.relations:
        subject, companion = scene.things
        beside = speech.beside(scene.relations[0].relation, subject, speech.phrase(companion), alone=True)
        about = frozenset({"thing 0", "thing 1"})
        for phrase in (speech.phrase(subject), speech.label(subject)):
            yield from _of_node(sequence(phrase, beside), about, bare=False)


def _of_node(node: Node, about: frozenset[str], *, bare: bool) -> Iterator[Wording]:
    """Every wording of a phrase; `bare`: and its noun alone, which claims only itself."""
    for text in sentences(node):
        reading = read(node, text)
        if reading is not None:
            yield Wording(text.removeprefix(", "), Role.TERM, reading, about)
            for claim in reading.claims if bare else ():
                if claim.kind in {ClaimKind.OBJECT, ClaimKind.SETTING}:
                    yield Wording(claim.text, Role.TERM, Reading((claim,)), about)


def _without_number(wording: Wording) -> Iterator[Wording]:
    """`red cars` of `two red cars`."""
    for number in wording.reading.claims:
        if number.kind is ClaimKind.COUNT and wording.text.startswith(number.text + " "):
            claims = tuple(claim for claim in wording.reading.claims if claim is not number)
            text = wording.text.removeprefix(number.text + " ")
            yield replace(wording, text=text, reading=replace(wording.reading, claims=claims))


def _bare(thing: Thing, speech: Speech) -> Iterator[str]:
    """The words for a thing that would say too much: in another number, or without their hedge."""
    for count in (1, 2):
        node = speech.phrase(thing.model_copy(update={"count": count, "at_least": False}))
        for claim in (reading.claims[0] for text in sentences(node) if (reading := read(node, text))):
            yield claim.text
            if thing.certainty is Certainty.HEDGED:
                yield from claim.text.split()


# ---------------------------------------------------------------- one sentence, as it comes


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


# ---------------------------------------------------------------- for the judge


Pieces = Iterable[tuple[str, float | None]]
"""Text as it came, each piece with the natural logarithm of its probability where the engine tells it."""


def read_so_far(guide: Guide, pieces: Pieces) -> Ways:
    ways = BEGUN
    for text, logprob in pieces:
        ways = advanced(guide, ways, text, logprob)
    return ways


def may_continue(guide: Guide, pieces: Pieces) -> bool:
    """Whether the guide lets a text that begins so come to its end."""
    return bool(read_so_far(guide, pieces))


def reading_of(guide: Guide, pieces: Pieces, author: str = "") -> Reading | None:
    """What a whole text says, each content word with its ground, else None."""
    return reading_at_end(read_so_far(guide, pieces), author)


def reading_at_end(ways: Ways, author: str = "") -> Reading | None:
    """Of several readings of one text, the one that leans least on the model."""
    whole = sorted((way for way in ways if way.ended), key=lambda way: way.free)
    return _signed(whole[0].reading, author) if whole else None


def _signed(reading: Reading, author: str) -> Reading:
    """The reading with the model's name at what only the model says."""
    source = f"{MODEL}:{author or 'unknown'}"
    claims = (
        claim.model_copy(update={"source": source}) if claim.source == MODEL else claim
        for claim in reading.claims
    )
    return replace(reading, claims=tuple(claims))
