"""From evidence to the scene: which observations become facts that a caption may state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from captionstream.contracts.evidence import Appearance, ColourShare, Detection, ImageEvidence
from captionstream.contracts.scene import (
    Background,
    Certainty,
    Medium,
    QuotedText,
    Relation,
    Scene,
    Source,
    Thing,
)
from services.generator.naming import (
    DETECTED_SURE,
    PERSON,
    Named,
    enough_for,
    may_accompany,
    may_be_subject,
    named,
)
from services.generator.quotation import around, quoted_text
from services.generator.vocabulary import DetectorLabel, Floats, Vocabulary, Word

COMPANIONS = 3  # more things than that make a list, not a sentence
POSSIBLY_ANOTHER = 0.4  # a detection from here up may be one more of a kind: then the count is a lower bound
PROMINENT_PERSON = 0.1  # share of the image from which on a person comes before the thing they are with
CROWDED = 0.1  # companions larger than this share the foreground: its colour is not the subject's own

CHROMATIC = {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "turquoise"}
HALF = 0.5
DOMINANT, DOMINANT_PAIR = 0.4, 0.6

BLUE_SKY, PALE_SKY, GREENERY = 0.45, 0.75, 0.6
FLAT = 0.9
PAGE_AREA, PAGE_LINES = 0.12, 6
SIGN_AREA = 0.04


def scene_of(evidence: ImageEvidence, classes: Floats, vocabulary: Vocabulary) -> Scene:
    """What may be said of an image. `classes` are the tagger's [1000] probabilities."""
    text = quoted_text(evidence.lines)
    things = _things(evidence, classes, vocabulary)
    medium = _medium(evidence, text, things)
    dominant = _dominant(evidence.appearance.colours)
    return Scene(
        medium=medium,
        medium_score=evidence.appearance.flatness if medium is Medium.DRAWING else 1.0,
        things=_coloured(things, evidence.appearance, medium),
        text=text,
        colours=tuple(colour.name for colour in dominant),
        colour_share=min(1.0, sum(colour.share for colour in dominant)),
        background=_background(evidence.appearance, medium),
        relations=_relations(things),
        content_score=evidence.content_score,
    )


# ---------------------------------------------------------------- things


def _things(evidence: ImageEvidence, classes: Floats, vocabulary: Vocabulary) -> tuple[Thing, ...]:
    """The subject first, then what stands beside it: people, then things, largest first."""
    seen = _known(evidence.detections, vocabulary)
    name = named(classes, vocabulary)
    subject = _detected_subject(name, seen, classes, vocabulary) or _tagged_subject(name, seen, vocabulary)
    taken = _labels_of(subject, name, vocabulary)
    companions = [
        _detected(label, seen, vocabulary)
        for label in _companion_labels(seen, classes)
        if label.label not in taken and (subject is None or label.word != subject.noun)
    ]
    companions.sort(key=lambda thing: (thing.kind != "person", -(thing.box.area if thing.box else 0)))
    found = ([subject] if subject else []) + companions
    return _person_first(found)[: 1 + COMPANIONS]


Seen = Sequence[tuple[Detection, DetectorLabel]]


def _known(detections: Iterable[Detection], vocabulary: Vocabulary) -> Seen:
    return [(seen, vocabulary.labels[seen.label]) for seen in detections if seen.label in vocabulary.labels]


def _detected_subject(
    name: Named | None, seen: Seen, classes: Floats, vocabulary: Vocabulary
) -> Thing | None:
    """The detector's word, where the tagger has nothing as specific and nothing against it."""
    if name is not None and name.certainty is Certainty.SURE and name.word.specific:
        return None
    able = [(found, label) for found, label in seen if may_be_subject(found, label, classes)]
    if not able:
        return None
    best, label = max(able, key=lambda pair: pair[0].score)
    if label.label == PERSON and name is not None and name.certainty is Certainty.SURE:
        return None
    thing = _detected(label, seen, vocabulary)
    certainty = Certainty.SURE if best.score >= DETECTED_SURE else Certainty.HEDGED
    return thing.model_copy(update={"certainty": certainty})


def _tagged_subject(name: Named | None, seen: Seen, vocabulary: Vocabulary) -> Thing | None:
    """The tagger's word, with the box and the count of the detections of the same thing."""
    if name is None:
        return None
    same = [(found, label) for found, label in seen if _is_same(name.word, label, vocabulary)]
    sure = [found for found, label in same if found.score >= enough_for(label)]
    return Thing(
        noun=name.word.word,
        plural="",
        certainty=name.certainty,
        source=Source.TAGGER,
        score=name.mass,
        count=max(1, len(sure)),
        at_least=len(sure) > 0 and _another(same),
        box=around([found.box for found in sure]) if sure else None,
        kind=vocabulary.kind_of(name.word),
        mass_noun=name.word.mass_noun,
        synset=name.word.synset,
    )


def _companion_labels(seen: Seen, classes: Floats) -> list[DetectorLabel]:
    stated = {label.label: label for found, label in seen if may_accompany(found, label, classes)}
    return list(stated.values())


def _detected(label: DetectorLabel, seen: Seen, vocabulary: Vocabulary) -> Thing:
    """All detections of one label, as one thing that has a count."""
    same = [(found, other) for found, other in seen if other.label == label.label]
    sure = [found for found, _ in same if found.score >= enough_for(label)]
    return Thing(
        noun=label.word,
        plural=label.plural,
        certainty=Certainty.SURE,
        source=Source.DETECTOR,
        score=max(found.score for found in sure),
        count=len(sure),
        at_least=_another(same),
        box=around([found.box for found in sure]),
        kind=vocabulary.sense_of(label),
        synset=label.synset,
    )


def _another(same: Seen) -> bool:
    """Whether a weaker detection may be one more of the same."""
    return any(POSSIBLY_ANOTHER <= found.score < enough_for(label) for found, label in same)


def _is_same(word: Word, label: DetectorLabel, vocabulary: Vocabulary) -> bool:
    """Whether a detector label can mean the thing that the tagger's word names."""
    return not vocabulary.classes_of(label).isdisjoint(word.leaves)


def _labels_of(subject: Thing | None, name: Named | None, vocabulary: Vocabulary) -> set[str]:
    """The labels that the subject has used up."""
    if subject is None or name is None or subject.source is not Source.TAGGER:
        return set()
    return {key for key, label in vocabulary.labels.items() if _is_same(name.word, label, vocabulary)}


def _person_first(things: list[Thing]) -> tuple[Thing, ...]:
    """A prominent person is what a picture is of, unless it shows a place."""
    for at, thing in enumerate(things[1:], start=1):
        prominent = thing.box is not None and thing.box.area >= PROMINENT_PERSON
        if thing.kind == "person" and prominent and things[0].kind not in {"person", "place"}:
            return (thing, *things[:at], *things[at + 1 :])
    return tuple(things)


# ---------------------------------------------------------------- where they stand


def _relations(things: Sequence[Thing]) -> tuple[Relation, ...]:
    """How each other thing stands to the subject."""
    return tuple(
        Relation(
            subject=0, relation=_side(things[0], other), object=at, score=min(things[0].score, other.score)
        )
        for at, other in enumerate(things[1:], start=1)
    )


def _side(one: Thing, other: Thing) -> str:
    """`left-of` when `one` is wholly to the left of `other`, and so on; `with` when they overlap."""
    if one.box is None or other.box is None:
        return "with"
    if one.box.right <= other.box.left:
        return "left-of"
    if other.box.right <= one.box.left:
        return "right-of"
    if one.box.bottom <= other.box.top:
        return "above"
    return "below" if other.box.bottom <= one.box.top else "with"


# ---------------------------------------------------------------- how it looks


def _coloured(things: tuple[Thing, ...], appearance: Appearance, medium: Medium) -> tuple[Thing, ...]:
    """The subject with the colour of the foreground, where that is its own and is worth a word."""
    crowd = sum(thing.box.area for thing in things[1:] if thing.box)
    ranked = _basic(appearance.subject_colours)
    if (
        not things
        or not ranked
        or medium is Medium.MONOCHROME
        or crowd > CROWDED
        or things[0].kind == "person"
    ):
        return things
    main = ranked[0]
    if main.share < HALF or main.name not in CHROMATIC or main.name in things[0].noun.split():
        return things
    told = {"colours": (main.name,), "colour_share": main.share}
    return (things[0].model_copy(update=told), *things[1:])


def _basic(shares: Iterable[ColourShare]) -> list[ColourShare]:
    """Light, dark and plain shades of a colour taken together, largest share first."""
    total: dict[str, float] = {}
    for share in shares:
        name = share.name.removeprefix("light ").removeprefix("dark ")
        total[name] = min(1.0, total.get(name, 0.0) + share.share)
    together = [ColourShare(name=name, share=share) for name, share in total.items()]
    return sorted(together, key=lambda colour: -colour.share)


def _dominant(shares: Iterable[ColourShare]) -> list[ColourShare]:
    """The one or two colours that most of the picture has, if it has such."""
    ranked = _basic(shares)[:2]
    if ranked and ranked[0].share >= HALF:
        return ranked[:1]
    if sum(share.share for share in ranked) >= DOMINANT_PAIR:
        return ranked
    return ranked[:1] if ranked and ranked[0].share >= DOMINANT else []


def _background(look: Appearance, medium: Medium) -> Background | None:
    """The strongest thing that can be said of where the subject stands."""
    if look.plain_background is not None:
        plain = look.plain_background
        return Background(kind="plain", colour=_basic([plain])[0].name, score=plain.share)
    if medium is not Medium.PHOTO:
        return None
    if look.blue_sky > BLUE_SKY:
        return Background(kind="blue-sky", score=look.blue_sky)
    if look.blue_sky + look.pale_sky > PALE_SKY:
        return Background(kind="pale-sky", score=min(1.0, look.blue_sky + look.pale_sky))
    if look.greenery > GREENERY:
        return Background(kind="greenery", score=look.greenery)
    return None


def _medium(evidence: ImageEvidence, text: QuotedText | None, things: Sequence[Thing]) -> Medium:
    """What kind of picture it is, by cheap cues: monochrome pixels, share of text, few flat colours."""
    area = sum(line.box.area for line in evidence.lines) if text else 0.0
    named_surely = bool(things) and things[0].certainty is Certainty.SURE
    if text and text.lines >= PAGE_LINES and area >= PAGE_AREA and not named_surely:
        return Medium.PAGE
    if text and area >= SIGN_AREA and not things:
        return Medium.SIGN
    if evidence.appearance.monochrome:
        return Medium.MONOCHROME
    if evidence.appearance.flatness > FLAT and not text:
        return Medium.DRAWING
    return Medium.PHOTO
