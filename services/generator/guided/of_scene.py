"""The guide of a scene: its wordings with their claims, and the words that would say too much of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from captionstream.contracts.messages import ClaimKind
from captionstream.contracts.scene import Certainty, Medium, Scene, Thing
from captionstream.contracts.values import Profile
from services.generator.grammar import Node, Reading, read, sentences, sequence
from services.generator.guided.guide import Guide
from services.generator.guided.words import Role, Wording, lexicon
from services.generator.sentence import NOTHING, WANTED
from services.generator.speech import Speech
from services.generator.vocabulary import Vocabulary


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
