"""What a caption of a scene may say for a reader: one value for the model, the judge and the realiser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from captionstream.contracts.messages import Event
from captionstream.contracts.scene import Certainty, Medium, QuotedText, Scene
from captionstream.contracts.values import Profile, Purpose, SuppliedMetadata
from services.generator.grammar import (
    Literal,
    Node,
    Optional,
    capitalised,
    longest,
    one_of,
    sequence,
    trimmed,
)
from services.generator.quotation import harmless, shortened
from services.generator.speech import Speech

WANTED, ALLOWED = 125, 250  # characters of an alternative text
NOTHING = Literal("")
SHORTEST_QUOTE = 30
NAMES, NAME_CHARACTERS = 3, 40
NAME = re.compile(r"[^\W\d_]+(?:[ '’-]{1,2}[^\W\d_]+)*")
PATH = re.compile(r"[/\\]|^[.#?]|\.[A-Za-z0-9]{2,5}$")
TARGET_CHARACTERS = 120
ABBREVIATION = 4  # letters of a link in capitals that are left so: FAQ, not BUY NOW


@dataclass(frozen=True, slots=True)
class Request:
    """For whom and what the caption is, and what people supplied with the image."""

    profile: Profile = Profile.ALT
    purpose: Purpose = Purpose.INFORMATIVE
    target: str | None = None
    people: tuple[str, ...] = ()

    @classmethod
    def of(cls, event: Event, supplied: SuppliedMetadata) -> Request:
        return cls(event.profile, event.purpose, event.context.target, supplied.people)


@dataclass(frozen=True, slots=True)
class Sentence:
    """`head` has alternatives, for a writer to choose from. `tail` follows as it is: it holds the words of
    other people (quotations, supplied names), which no model is shown. `cut` when a quotation is not whole.
    """

    head: Node
    tail: Node = NOTHING
    abstained: bool = False
    cut: bool = False

    @classmethod
    def nothing(cls) -> Sentence:
        return cls(NOTHING)

    @property
    def whole(self) -> Node:
        return sequence(self.head, self.tail)


def sentence(scene: Scene, request: Request, speech: Speech) -> Sentence:
    """Every text of the result is supported by the scene and has at most ALLOWED characters."""
    target = readable_target(request.target) if request.purpose is Purpose.FUNCTIONAL else None
    if target is not None:
        return Sentence(sequence(capitalised(speech.link(target)), "."))
    if scene.things:
        return _of_things(scene, request, speech)
    if scene.text:
        return _of_text(scene, scene.text, request, speech)
    head = sequence(capitalised(speech.unrecognised(scene)), ".")
    return Sentence(head, _tail(request, speech, None, whole=True), abstained=True)


def readable_target(target: str | None) -> str | None:
    """Where a link leads, in words: its text, or the host of an address; None for a path or a file name."""
    told = harmless(target or "")
    if "://" in told:
        told = urlsplit(told).hostname or ""
    elif PATH.search(told):
        return None
    told = shortened(told, TARGET_CHARACTERS).rstrip(".!?:; ")
    told = told.title() if told.isupper() and len(told) > ABBREVIATION else told
    return told if any(map(str.isalpha, told)) else None


# ---------------------------------------------------------------- the part that a writer may word


def _of_things(scene: Scene, request: Request, speech: Speech) -> Sentence:
    wanted = 0 if request.purpose is Purpose.TEXT else WANTED
    head = trimmed(_head(scene, request, speech, wanted), wanted)
    quote, whole = _fitting(
        scene.text, ALLOWED - longest(head) - _tail_without_quote(scene.text, request, speech)
    )
    return Sentence(head, _tail(request, speech, quote, whole), cut=not whole)


def _tail_without_quote(text: QuotedText | None, request: Request, speech: Speech) -> int:
    """Characters that the tail needs besides the quoted words."""
    return longest(_tail(request, speech, _emptied(text) if text else None, whole=False))


def _emptied(text: QuotedText) -> QuotedText:
    return text.model_copy(update={"text": ""})


def _head(scene: Scene, request: Request, speech: Speech, wanted: int) -> Node:
    match request.profile:
        case Profile.INSPECTION:
            return _inspection(scene, speech)
        case Profile.PRODUCT:
            return _product(scene, speech)
        case _:
            return _description(scene, speech, wanted)


def _description(scene: Scene, speech: Speech, wanted: int) -> Node:
    """`A dog with a ball under a blue sky.`, or the setting first if that is short enough."""
    subject = sequence(_subject(scene, speech), _companions(scene, speech))
    monochrome = _monochrome(scene, speech)
    if scene.background is None:
        return sequence(capitalised(subject), *monochrome, ".")
    setting = speech.setting(scene.background)
    subject_first = sequence(capitalised(subject), _setting(scene, speech), *monochrome, ".")
    setting_first = sequence(capitalised(setting), ", ", subject, *monochrome, ".")
    return one_of(subject_first, setting_first) if longest(setting_first) <= wanted else subject_first


def _product(scene: Scene, speech: Speech) -> Node:
    """`Red car on a plain white background.`"""
    label = capitalised(speech.label(scene.things[0]))
    setting = _setting(scene, speech)
    return sequence(label, _companions(scene, speech), setting, *_monochrome(scene, speech), ".")


def _inspection(scene: Scene, speech: Speech) -> Node:
    """`Visible: a dog, two people.`"""
    first, *others = map(speech.phrase, scene.things)
    listed = sequence(first, *(sequence(", ", other) for other in others))
    return sequence(capitalised(speech.visible(listed)), ".")


def _subject(scene: Scene, speech: Speech) -> Node:
    phrase = speech.phrase(scene.things[0])
    if scene.medium is Medium.DRAWING and scene.things[0].certainty is Certainty.SURE:
        return speech.drawing_of(phrase, scene.medium_score)
    return phrase


def _setting(scene: Scene, speech: Speech) -> Node:
    """Where it stands; must be said when there is nothing else to say of the subject."""
    if scene.background is None:
        return NOTHING
    setting = sequence(" ", speech.setting(scene.background))
    bare = len(scene.things) == 1 and not scene.things[0].colours and not scene.text
    return setting if bare else Optional(setting)


def _monochrome(scene: Scene, speech: Speech) -> Sequence[Node]:
    return [Optional(speech.monochrome(scene.medium_score))] if scene.medium is Medium.MONOCHROME else []


def _companions(scene: Scene, speech: Speech) -> Node:
    """The first companion is always said; the others when there is room."""
    if len(scene.things) < 2:
        return NOTHING
    relation = scene.relations[0].relation if len(scene.things) == 2 and scene.relations else "with"
    phrases = [speech.phrase(thing) for thing in scene.things[1:]]
    first = speech.beside(relation, scene.things[0], phrases[0], alone=len(phrases) == 1)
    return sequence(first, *_further(phrases[1:], speech))


def _further(phrases: Sequence[Node], speech: Speech) -> Sequence[Node]:
    if not phrases:
        return []
    *middle, last = phrases
    everything = sequence(
        *(speech.listed(phrase, last=False) for phrase in middle), speech.listed(last, last=True)
    )
    return [Optional(one_of(everything, speech.listed(phrases[0], last=True)))]


# ---------------------------------------------------------------- the part that nobody words


def _of_text(scene: Scene, text: QuotedText, request: Request, speech: Speech) -> Sentence:
    tail = _tail(request, speech, None, whole=True)
    taken = longest(speech.only_text(scene, _emptied(text), whole=False)) + len(".") + longest(tail)
    quote, whole = _fitting(text, ALLOWED - taken)
    head = sequence(capitalised(speech.only_text(scene, quote or text, whole)), ".")
    return Sentence(head, tail, cut=not whole)


def _fitting(text: QuotedText | None, room: int) -> tuple[QuotedText | None, bool]:
    """The text, or as many of its first words as there is room for; and whether it is whole."""
    if text is None:
        return None, True
    short = shortened(text.text, max(SHORTEST_QUOTE, room))
    return text.model_copy(update={"text": short}), short == text.text


def _tail(request: Request, speech: Speech, quote: QuotedText | None, whole: bool) -> Node:
    clauses = [*_named_people(request, speech)]
    if quote is not None:
        clauses.append(speech.quotation(quote, whole))
    if not clauses:
        return NOTHING
    first, *others = clauses
    return sequence(" ", capitalised(first), *(sequence("; ", other) for other in others), ".")


def _named_people(request: Request, speech: Speech) -> Sequence[Node]:
    """Names stand in an editorial caption, as supplied; no other caption and no picture names anybody."""
    names = tuple(dict.fromkeys(filter(None, map(readable_name, request.people))))[:NAMES]
    return [speech.supplied_names(names)] if names and request.profile is Profile.EDITORIAL else []


def readable_name(name: str) -> str | None:
    """A supplied name as it is printed, without full stops and not in capitals; None if it is no name."""
    told = " ".join(harmless(name).replace(".", " ").split())
    if not NAME.fullmatch(told) or len(told) > NAME_CHARACTERS:
        return None
    return told.title() if told.isupper() else told
