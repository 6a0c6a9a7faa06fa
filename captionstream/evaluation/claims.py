"""Claims that nothing supports: read off the text of a caption, apart from the grammar that wrote it.

What counts: everything that is stated for sure *beside the head noun*: colours, numbers, companions, places,
the medium, where things stand, quotations, names, and any other word with a meaning of its own. A false head
noun is no unsupported claim here: it is counted as `wrong` or `hedged_wrong` by `judging`, and only there.
So the share of unsupported claims says nothing about names, and must be read beside those of wrong names.

What supports a claim: the labels (a noun that stands in the relation of a kind to an accepted sense), the
pixels (own measurements with wide tolerance, `pixels`), or the evidence that the message carries in its scene
(boxes and scores of the detector, the lines of the reader). Labels name the subject only: a companion that
the detector wrongly saw is supported by the detector's box and is *not* caught. What is hedged is not
asserted, and passes.

Words are looked up in lists of this package and in WordNet. A word of which nothing is known is a claim
without support: new wordings of the writer show up here until somebody decides what supports them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from captionstream.contracts.messages import Claim, ClaimKind
from captionstream.contracts.scene import Scene, Thing
from captionstream.evaluation.nouns import Nouns
from captionstream.evaluation.phrases import (
    BEFORE_NOUN,
    COLOURS,
    COUNTERS,
    CUTS,
    HEDGE,
    NUMBERS,
    QUOTED,
    SHADES,
    VAGUE_NUMBERS,
    WORD,
    NounPhrase,
    hedge_at,
    noun_phrases,
    phrases_by_sentence,
    word_list,
)
from captionstream.evaluation.pixels import Look

SHOWN_ON_SUBJECT = 0.12  # of the subject's pixels must have the colour that is said of it
SHOWN_ON_BORDER = 0.35  # of the border must have the colour of a plain background
SHOWN_MOSTLY = 0.2  # of the picture must have the colour that it "mostly" has
SHOWN_AS_SKY, SHOWN_AS_GREEN = 0.25, 0.25
PALE = 0.35  # of the upper third, for a pale sky
SEEN = 0.3  # score from which the message's evidence supports a companion
BOX_TOLERANCE = 0.05

SKY = word_list("sky skies")
GREENS = word_list("greenery grass foliage leaves vegetation lawn")
BACKGROUND = word_list("background backdrop")
MEDIUM = word_list("drawing drawings sketch illustration cartoon picture image photo photograph")
TEXT = word_list("text sign label page words reads read begins begin link visible supplied metadata names")
ABSTAINING = re.compile(r";?\s*(?:its|the)\s+subjects?\s+(?:could|can)\s*not\s+be\s+\w+", re.IGNORECASE)
SUPPLIED = re.compile(r"\bthe supplied metadata names\b[^.;]*", re.IGNORECASE)
SIDES = re.compile(r"\b(?:to the |on the |at the )?(left|right) of\b", re.IGNORECASE)
CHECKED_APART = SKY | GREENS | BACKGROUND | MEDIUM | TEXT
PLAIN_JOINTS = word_list(
    "with and on in against under beneath below of or the a an to at least from its mostly plain"
)
"""Words that assert nothing by themselves, however they join what is checked on its own."""


@dataclass(frozen=True)
class Unsupported:
    """A claim without support: its words, its kind and why."""

    kind: str
    words: str
    why: str


@dataclass(frozen=True)
class Caption:
    """What a message says, and what is known of the picture from elsewhere."""

    text: str
    scene: Scene
    claims: tuple[Claim, ...] = ()
    accepted: tuple[str, ...] = ()
    kind: str | None = None
    told: tuple[str, ...] = field(default=(), repr=False)  # reference sentences

    @cached_property
    def plain(self) -> str:
        """The text without quotations, hedges and what is no claim about the picture; the places stay."""
        text = self.text
        for pattern in (QUOTED, ABSTAINING, SUPPLIED):
            text = pattern.sub(lambda found: " " * len(found[0]), text)
        return text


@dataclass(frozen=True)
class ClaimChecker:
    nouns: Nouns

    def unsupported(self, caption: Caption, look: Look) -> list[Unsupported]:
        """Every sure claim of the caption, beside its head noun, that nothing supports."""
        return [
            *quotations(caption),
            *supplied_names(caption),
            *self._of_phrases(caption, look),
            *sides(caption),
            *medium(caption, look),
            *self._names(caption),
            *self._other_words(caption),
        ]

    # ------------------------------------------------------------ noun phrases

    def _of_phrases(self, caption: Caption, look: Look) -> Iterator[Unsupported]:
        phrases = all_phrases(caption)
        place = place_first(caption.plain)
        if place is not None:
            yield from self._setting_or_thing(place, caption, look, range(len(caption.scene.things)))
        for index, phrase in enumerate(phrases):
            if hedge_at(caption.text, phrase):
                continue
            if index == 0 and not set(phrase.words) & CHECKED_APART:
                yield from self._of_head(phrase, caption, look)
            else:
                yield from self._setting_or_thing(phrase, caption, look, range(1, len(caption.scene.things)))

    def _of_head(self, phrase: NounPhrase, caption: Caption, look: Look) -> Iterator[Unsupported]:
        yield from number(phrase, caption.scene.things[:1])
        yield from self._colours(phrase, look)
        if look.empty:
            yield Unsupported("object", " ".join(phrase.words), "there is nothing on the picture")

    def _setting_or_thing(
        self, phrase: NounPhrase, caption: Caption, look: Look, among: range
    ) -> Iterator[Unsupported]:
        words = set(phrase.words)
        if words & (BACKGROUND | SKY | GREENS):
            yield from setting(phrase, look)
        elif words <= COLOURS | SHADES | {"and"}:
            yield from mostly(phrase, look)
        elif words & (MEDIUM | TEXT):
            return
        else:
            yield from self._companion(phrase, caption, look, [caption.scene.things[i] for i in among])

    def _companion(
        self, phrase: NounPhrase, caption: Caption, look: Look, seen: Sequence[Thing]
    ) -> Iterator[Unsupported]:
        same = [thing for thing in seen if thing.score >= SEEN and self._same(thing, phrase)]
        if look.empty or not (same or self._in_labels(phrase, caption)):
            yield Unsupported("companion", " ".join(phrase.words), "neither labels nor evidence have it")
            return
        yield from number(phrase, same)
        yield from self._colours(phrase, look)

    def _same(self, thing: Thing, phrase: NounPhrase) -> bool:
        own = {form for word in phrase.words for form in self.nouns.singulars(word)}
        return set(thing.noun.lower().replace("-", " ").split()) <= own | set(phrase.words)

    def _in_labels(self, phrase: NounPhrase, caption: Caption) -> bool:
        """Whether the noun is a kind of an accepted sense or above one, or stands in a reference sentence."""
        own = {form for word in phrase.words[-1:] for form in self.nouns.singulars(word)}
        told = {form for text in caption.told for word in WORD.findall(text.lower())
                for form in self.nouns.singulars(word)}  # fmt: skip
        ending = next(self.nouns.endings(phrase.words), None)
        said = [s for lemma in ending.lemmas for s in self.nouns.senses(lemma)[:2]] if ending else []
        labels = [self.nouns.sense(name) for name in caption.accepted]
        kin = (s in self.nouns.above(label) or label in self.nouns.above(s) for s in said for label in labels)
        return bool(own & told) or any(kin)

    def _colours(self, phrase: NounPhrase, look: Look) -> Iterator[Unsupported]:
        """Colours before the noun, unless they are part of what WordNet knows as one name."""
        for colour in self._leading_colours(phrase):
            if look.share(colour, look.subject) < SHOWN_ON_SUBJECT:
                yield Unsupported("colour", colour, "next to nothing of the subject has it")

    def _leading_colours(self, phrase: NounPhrase) -> list[str]:
        return [word for word in phrase.words[:-1] if word in COLOURS]

    # ------------------------------------------------------------ single words

    def _names(self, caption: Caption) -> Iterator[Unsupported]:
        """Capital letters within a sentence, unless WordNet or the evidence writes that noun so."""
        known = {word for thing in caption.scene.things for word in thing.noun.split()}
        for match in WORD.finditer(caption.plain):
            before = caption.plain[: match.start()].rstrip()
            if match[0][0].isupper() and before and before[-1] not in ".!?:;" and match[0] not in known:
                yield Unsupported("name", match[0], "no name can be seen")

    def _other_words(self, caption: Caption) -> Iterator[Unsupported]:
        """Words outside the noun phrases and their joints: actions, feelings, qualities."""
        phrases = all_phrases(caption)
        within = {word for phrase in phrases for word in self._explained(phrase, caption)}
        place = place_first(caption.plain)
        within |= set(place.words) if place else set()
        text = HEDGE.sub(lambda found: " " * len(found[0]), caption.plain)
        for match in WORD.finditer(SIDES.sub(" ", text).lower()):
            word = match[0]
            if word not in within and word not in ALLOWED and not word.isdigit():
                yield Unsupported("word", word, "nothing is known of it")

    def _explained(self, phrase: NounPhrase, caption: Caption) -> set[str]:
        """The words of a phrase that belong to its noun; others need a support of their own."""
        if set(phrase.words) & (BACKGROUND | SKY | GREENS):
            return set()
        ending = next(self.nouns.endings(phrase.words), None)
        spare = set(ending.before if ending else phrase.words[:-1])
        nouns = {word for thing in caption.scene.things for word in thing.noun.lower().split()}
        parts = {word for part in phrase.parts for word in part} if len(phrase.parts) > 1 else set()
        return set(phrase.words) - spare | spare & nouns | parts & nouns


ALLOWED = (
    PLAIN_JOINTS | BEFORE_NOUN | COLOURS | SHADES | COUNTERS | NUMBERS.keys() | VAGUE_NUMBERS | BACKGROUND
    | SKY | GREENS | MEDIUM | TEXT | word_list("that it is no")
)  # fmt: skip
"""Words that are checked elsewhere, or assert nothing."""


def all_phrases(caption: Caption) -> list[NounPhrase]:
    return [phrase for _, found in phrases_by_sentence(caption.plain) for phrase in found]


def place_first(text: str) -> NounPhrase | None:
    """The phrase of a place that opens the sentence: `Under a blue sky, a dog.`"""
    opening = re.match(r"^\s*([a-z]+)\s+([^,.;]+),\s*", text, re.IGNORECASE)
    if opening is None or opening[1].lower() not in CUTS or opening[2].lower().startswith("least"):
        return None
    found = noun_phrases(opening[2] + ".")
    return found[0] if found else None


def quotations(caption: Caption) -> Iterator[Unsupported]:
    """Each quotation must stand in what the reader read, word after word."""
    read = _spelled(caption.scene.text.text) if caption.scene.text else ""
    for match in QUOTED.finditer(caption.text):
        said = _spelled(match[0])
        if not said or said not in read:
            yield Unsupported("quotation", match[0], "the reader read no such text")


def _spelled(text: str) -> str:
    return f" {' '.join(word.lower() for word in WORD.findall(text))} " if WORD.search(text) else ""


def supplied_names(caption: Caption) -> Iterator[Unsupported]:
    """What is passed on as supplied must have been supplied."""
    supplied = {claim.text.lower() for claim in caption.claims if claim.kind is ClaimKind.SUPPLIED}
    for match in SUPPLIED.finditer(caption.text):
        named = re.split(r",\s*|\s+and\s+", match[0].split(" names ", 1)[1])
        for name in named:
            if name.strip().lower() not in supplied:
                yield Unsupported("name", name, "nobody supplied it")


def number(phrase: NounPhrase, seen: Sequence[Thing]) -> Iterator[Unsupported]:
    """A number must be that of the boxes in the evidence; "several" needs more than one."""
    if phrase.number is None or phrase.number == "some":
        return
    most = max((thing.count for thing in seen), default=1)
    wanted = NUMBERS.get(phrase.number) or (int(phrase.number) if phrase.number.isdigit() else 2)
    fits = most >= wanted if phrase.number in VAGUE_NUMBERS else most == wanted
    if not fits:
        yield Unsupported("count", phrase.number, f"the evidence has {most}")


def setting(phrase: NounPhrase, look: Look) -> Iterator[Unsupported]:
    """Backgrounds against the border, skies against the upper third, green anywhere."""
    words, told = set(phrase.words), " ".join(phrase.words)
    if words & BACKGROUND:
        colours = [word for word in phrase.words if word in COLOURS]
        if any(look.share(colour, look.border) < SHOWN_ON_BORDER for colour in colours):
            yield Unsupported("setting", told, "the border has another colour")
    elif words & SKY:
        blue, white = look.share("blue", look.top), look.share("white", look.top)
        grey = look.share("grey", look.top)
        shown = max(white, grey, blue) >= PALE if "pale" in words else blue >= SHOWN_AS_SKY
        if not shown:
            yield Unsupported("setting", told, "the upper third does not look like that")
    elif look.share("green") < SHOWN_AS_GREEN:
        yield Unsupported("setting", told, "next to nothing is green")


def mostly(phrase: NounPhrase, look: Look) -> Iterator[Unsupported]:
    told = [word for word in phrase.words if word in COLOURS]
    for colour in told if told != ["black", "white"] else ():  # that is the medium
        if look.share(colour) < SHOWN_MOSTLY:
            yield Unsupported("colour", colour, "it covers little of the picture")


def sides(caption: Caption) -> Iterator[Unsupported]:
    """`a dog left of a car`: the boxes of the evidence must stand so."""
    boxes = [thing.box for thing in caption.scene.things[:2] if thing.box is not None]
    for match in SIDES.finditer(caption.plain):
        if len(boxes) < 2:
            yield Unsupported("relation", match[0], "the evidence has no two boxes")
            continue
        left, right = boxes if match[1].lower() == "left" else boxes[::-1]
        if left.right > right.left + BOX_TOLERANCE:
            yield Unsupported("relation", match[0], "the boxes stand otherwise")


def medium(caption: Caption, look: Look) -> Iterator[Unsupported]:
    """Black and white needs a picture without colours; a drawing must not be labelled a photograph."""
    text = caption.plain.lower()
    if (
        re.search(r"\bin black and white\b|\bblack and white (?:picture|photo|image)", text)
        and not look.colourless
    ):
        yield Unsupported("medium", "black and white", "the picture has colours")
    drawn = re.search(r"\b(?:drawing|sketch|illustration|cartoon)s?\b(?: of|,|$| with)", text)
    if drawn and caption.kind == "photo":
        yield Unsupported("medium", drawn[0].split()[0], "the labels say that it is a photograph")
