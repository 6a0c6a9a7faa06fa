"""Who and what is in an image: the tagger and the detector brought together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from captionstream.contracts.evidence import Detection
from captionstream.contracts.scene import Certainty, Relation, Source, Thing
from services.generator.naming import (
    HEDGED,
    PERSON,
    Named,
    certainty_of,
    contradicted,
    enough_for,
    may_accompany,
    may_be_subject,
    named,
    probably_seen,
)
from services.generator.quotation import around
from services.generator.vocabulary import DetectorLabel, Floats, Vocabulary

COMPANIONS = 3  # more things than that make a list, not a sentence
POSSIBLY_ANOTHER = 0.4  # a detection from here up may be one more of a kind: then the count is a lower bound
PROMINENT_PERSON = 0.1  # share of the image from which on a person comes before the thing they are with
CLOTHES = {"clothing", "garment", "footwear", "fabric"}


@dataclass(frozen=True)
class Sight:
    """What both models saw. `classes` are the tagger's [1000] probabilities."""

    detections: tuple[Detection, ...]
    classes: Floats
    vocabulary: Vocabulary

    @cached_property
    def name(self) -> Named | None:
        return named(self.classes, self.vocabulary)

    @cached_property
    def seen(self) -> Sequence[tuple[Detection, DetectorLabel]]:
        labels = self.vocabulary.labels
        return [(found, labels[found.label]) for found in self.detections if found.label in labels]

    def own(self, label: DetectorLabel) -> frozenset[int]:
        """The tagger's classes that are things of this label."""
        return self.vocabulary.classes_of(label)

    def sure_of(self, label: DetectorLabel) -> list[Detection]:
        return [found for found, other in self.seen if other == label and found.score >= enough_for(label)]

    def right(self, found: Detection, label: DetectorLabel) -> float:
        """How probably a detection is right."""
        return probably_seen(found, label, self.own(label), self.classes)

    def maybe_another(self, label: DetectorLabel) -> bool:
        """Whether a weaker detection may be one more of the same."""
        weaker = (found.score for found, other in self.seen if other == label)
        return any(POSSIBLY_ANOTHER <= score < enough_for(label) for score in weaker)


def things_of(sight: Sight) -> tuple[Thing, ...]:
    """The subject first, then what stands beside it: people, then things, largest first."""
    subject = detected_subject(sight) or tagged_subject(sight)
    found = [*([subject] if subject else []), *companions(sight, subject)]
    return without_clothes(person_first(found))[: 1 + COMPANIONS]


# ---------------------------------------------------------------- the subject


def detected_subject(sight: Sight) -> Thing | None:
    """The detector's word, where the tagger has nothing as specific and nothing against it."""
    name = sight.name
    sure = name is not None and name.certainty is Certainty.SURE
    if name is not None and sure and name.word.specific:
        return None
    able = [
        (found, label)
        for found, label in sight.seen
        if may_be_subject(found, label, sight.classes) and not contradicted(sight.own(label), sight.classes)
    ]
    if not able:
        return None
    best, label = max(able, key=lambda pair: pair[0].score)
    if sight.right(best, label) < HEDGED or (label.label == PERSON and sure):
        return None
    certainty = certainty_of(best, label, sight.own(label), sight.classes)
    return detected(sight, label).model_copy(update={"certainty": certainty})


def tagged_subject(sight: Sight) -> Thing | None:
    """The tagger's word, with the box and the count of the detections of the same thing."""
    name = sight.name
    if name is None:
        return None
    label = own_label(sight, name)
    sure = sight.sure_of(label) if label else []
    return Thing(
        noun=name.word.word,
        plural="",
        certainty=name.certainty,
        source=Source.TAGGER,
        score=name.score,
        count=max(1, len(sure)),
        at_least=bool(sure and label and sight.maybe_another(label)),
        box=around([found.box for found in sure]) if sure else None,
        kind=sight.vocabulary.kind_of(name.word),
        mass_noun=name.word.mass_noun,
        synset=name.word.synset,
    )


def own_label(sight: Sight, name: Named) -> DetectorLabel | None:
    """The label under which the detector saw most surely what the tagger named."""
    same = [
        (found.score, label)
        for found, label in sight.seen
        if not sight.vocabulary.classes_of(label).isdisjoint(name.word.leaves)
    ]
    return max(same, key=lambda pair: pair[0])[1] if same else None


def detected(sight: Sight, label: DetectorLabel) -> Thing:
    """All sure detections of one label, as one thing that has a count."""
    sure = sight.sure_of(label)
    return Thing(
        noun=label.word,
        plural=label.plural,
        certainty=Certainty.SURE,
        source=Source.DETECTOR,
        score=max(sight.right(found, label) for found in sure),
        count=len(sure),
        at_least=sight.maybe_another(label),
        box=around([found.box for found in sure]),
        kind=sight.vocabulary.sense_of(label),
        synset=label.synset,
    )


# ---------------------------------------------------------------- beside it


def companions(sight: Sight, subject: Thing | None) -> list[Thing]:
    """What else is surely there and is not the subject under another name."""
    rest = unexplained(sight, subject)
    labels = {label.label: label for found, label in sight.seen if may_accompany(found, label, rest)}
    others = [label for label in labels.values() if not may_mean_subject(sight, label, subject)]
    things = [detected(sight, label) for label in others]
    return sorted(things, key=lambda thing: (thing.kind != "person", -(thing.box.area if thing.box else 0)))


def unexplained(sight: Sight, subject: Thing | None) -> Floats:
    """The tagger's probabilities without those that speak for the subject: they support nothing beside it."""
    explained = set(sight.name.word.leaves) if sight.name else set()
    for label in sight.vocabulary.labels.values():
        if subject is not None and label.word == subject.noun:
            explained |= set(label.parent_node_leaves or ())
    rest = np.array(sight.classes)
    rest[list(explained)] = 0
    return rest


def may_mean_subject(sight: Sight, label: DetectorLabel, subject: Thing | None) -> bool:
    """Whether the label may be the subject itself: by its own name, or by that of kin unless it has a box.

    The detector, who knows no otters, calls one a dog.
    """
    if subject is None:
        return False
    if subject.source is Source.DETECTOR or sight.name is None:
        return label.word == subject.noun
    leaves = set(sight.name.word.leaves)
    kin = subject.box is None and leaves <= set(label.parent_node_leaves or ())
    return kin or not sight.vocabulary.classes_of(label).isdisjoint(leaves)


def person_first(things: Sequence[Thing]) -> tuple[Thing, ...]:
    """A prominent person is what a picture is of, unless it shows a place."""
    for at, thing in enumerate(things[1:], start=1):
        prominent = thing.box is not None and thing.box.area >= PROMINENT_PERSON
        if thing.kind == "person" and prominent and things[0].kind not in {"person", "place"}:
            return (thing, *things[:at], *things[at + 1 :])
    return tuple(things)


def without_clothes(things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    """Clothes in general are no news beside a person."""
    if not things or things[0].kind != "person":
        return things
    return (things[0], *(thing for thing in things[1:] if thing.noun not in CLOTHES))


# ---------------------------------------------------------------- where they stand


def relations_of(things: Sequence[Thing]) -> tuple[Relation, ...]:
    """How the subject stands to each other thing."""
    return tuple(
        Relation(
            subject=0, relation=side(things[0], other), object=at, score=min(things[0].score, other.score)
        )
        for at, other in enumerate(things[1:], start=1)
    )


def side(one: Thing, other: Thing) -> str:
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
