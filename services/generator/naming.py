"""From class logits to a word: the one that is worth most, by what it tells and how probably it is right.

Every word carries the probability mass of its classes (Deng et al., "Hedging your bets", CVPR 2012). A word's
mass says how often it is right; what it tells is the information in bits of going from 1000 classes to its
own, and a wrong word costs part of that. Said surely where it is right often enough, hedged where it is right
more often than not. Each score is the measured chance of being right, whichever model it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captionstream.contracts.evidence import Detection
from captionstream.contracts.scene import Certainty
from services.generator.vocabulary import CLASSES, DetectorLabel, Floats, Vocabulary, Word

TEMPERATURE = 0.75

OFFSET, SLOPE, WIDTH, SPREAD = 0.1, 0.7, 0.25, -1.6
"""Log-odds of being right: OFFSET + SLOPE * log-odds of the mass + WIDTH * log of the number of classes
+ SPREAD * `unlikeness`.

From a logistic regression (-0.08, 0.66, 0.25, -1.61) over the words of 243 labelled pictures: those of the
evaluation sets whose path has a SHA-256 with an even first byte, on which the other thresholds were chosen,
too. OFFSET is higher: of its words, the ones that are said are right more often. Kinds are right more often
than their mass says, single classes less often. With `unlikeness` the log loss of words of pictures that
were kept out of the fit is 0.421 instead of 0.431 (95 % interval of the difference -0.018 to -0.003).
On the other half this names 45 % of the stamps with 3 % surely wrong, 68 % of the photographs with 5 %.
"""
USUAL_SPREAD = 1.0  # of logits; nearly every labelled picture spreads a little wider, the moon 1.7

SURE, HEDGED = 0.87, 0.5  # probability of being right from which a word is said surely, and said at all
LOOK_ALIKES = 0.9  # of that probability remains in families with common members that are no class
COST = 0.5
"""What a wrong word costs, of what it were worth if right.

At no cost the narrow word wins too often: of a hundred captions four more are named surely and four fewer
hedged and wrong at this cost. Above it vague words win.
"""
LEAST_MASS = 0.4  # a wide kind has much mass by chance
LOWEST = 1e-4  # keeps log-odds finite

SEEN_OFFSET, SEEN_SLOPE, UNSEEN, IS_PERSON = -3.6, 8.0, -1.75, -1.0
"""Log-odds of a detection being right: SEEN_OFFSET + SEEN_SLOPE * its score, + UNSEEN where the tagger knows
the thing and does not see it, + IS_PERSON for people, whom the tagger does not know.

A ridge regression over the 55 best detections of sayable labels on the same pictures. A score is no
probability: 0.7 is right in 88 cases of 100, in 56 where the tagger does not see it.
"""
DETECTED = 0.6
DETECTED_SURE = 0.68
PERSON, PERSON_DETECTED = "person", 0.65
SEEN_TOO, SEEN_OTHERWISE = 0.05, 0.9  # tagger's mass on a label's own classes; on one that is none of them
AGREED_MASS = 0.4  # of the tagger, on what a detector label is a kind of
SUBJECT_AREA = 0.04
COMPANION_AREA = 0.02
RELIABLE_ALONE = {PERSON, "car", "dog"}  # of a detector that is right about one other label in three


@dataclass(frozen=True, slots=True)
class Named:
    """A word of the tagger; `score` is how probably it is right."""

    word: Word
    score: float
    certainty: Certainty


def probabilities(class_logits: npt.NDArray[np.floating]) -> Floats:
    """[views, 1000] logits of one image, unscaled → [1000] probabilities of their mean."""
    mean = np.asarray(class_logits, dtype=np.float64).mean(axis=0) / TEMPERATURE
    grown = np.exp(mean - mean.max())
    return np.asarray(grown / grown.sum())


def named(classes: Floats, vocabulary: Vocabulary) -> Named | None:
    """The word that is worth most: how much it tells, times how probably it is right, less what it may cost."""
    masses = np.clip(vocabulary.masses(classes), 0.0, 1.0)
    right = probably_right(masses, unlikeness(classes), vocabulary)
    sure = (right >= SURE) & ~vocabulary.look_alikes
    worth = (right - COST * (1 - right)) * np.log2(CLASSES / vocabulary.sizes)
    worth[(right < HEDGED) | (masses < LEAST_MASS)] = 0.0
    best = int(worth.argmax())
    if worth[best] <= 0:
        return None
    certainty = Certainty.SURE if sure[best] else Certainty.HEDGED
    return Named(vocabulary.words[best], float(right[best]), certainty)


def unlikeness(classes: Floats) -> float:
    """How unlike the classes' own pictures an image is, 0 or more: the log of how far its logits spread.

    What is none of the classes excites and inhibits many of them for its parts.
    """
    spread = float(np.log(np.maximum(classes, np.finfo(np.float64).tiny)).std())
    return float(np.log(max(spread, USUAL_SPREAD) / USUAL_SPREAD))


def probably_right(masses: Floats, unlike: float, vocabulary: Vocabulary) -> Floats:
    """[words] how often a word of this mass is right."""
    odds = np.log(np.clip(masses, LOWEST, 1 - LOWEST) / np.clip(1 - masses, LOWEST, 1))
    total = OFFSET + SLOPE * odds + WIDTH * np.log(vocabulary.sizes) + SPREAD * unlike
    right = 1 / (1 + np.exp(-total))
    return np.asarray(np.where(vocabulary.families, LOOK_ALIKES * right, right))


def probably_seen(detection: Detection, label: DetectorLabel, own: frozenset[int], classes: Floats) -> float:
    """How often such a detection is right; `own` are the tagger's classes of the label."""
    person = label.label == PERSON
    unseen = not person and bool(own) and float(classes[list(own)].sum()) < SEEN_TOO
    odds = SEEN_OFFSET + SEEN_SLOPE * detection.score + UNSEEN * unseen + IS_PERSON * person
    return float(1 / (1 + np.exp(-odds)))


def agreed(label: DetectorLabel, classes: Floats) -> bool:
    """Whether the tagger, too, sees something of this kind, where it knows any."""
    kin = label.parent_node_leaves
    return kin is None or float(classes[list(kin)].sum()) >= AGREED_MASS


def may_be_subject(detection: Detection, label: DetectorLabel, classes: Floats) -> bool:
    """Whether a detection may name what the image is of."""
    large = detection.box.area >= SUBJECT_AREA
    return label.sayable and large and detection.score >= enough_for(label) and agreed(label, classes)


def contradicted(own: frozenset[int], classes: Floats) -> bool:
    """Whether the tagger is all but certain of one class, and it is none of the label's `own`."""
    best = int(classes.argmax())
    return float(classes[best]) >= SEEN_OTHERWISE and best not in own


def certainty_of(
    detection: Detection, label: DetectorLabel, own: frozenset[int], classes: Floats
) -> Certainty:
    """Sure where it is right often enough, which takes more where the tagger does not see the same."""
    return Certainty.SURE if probably_seen(detection, label, own, classes) >= SURE else Certainty.HEDGED


def may_accompany(detection: Detection, label: DetectorLabel, classes: Floats) -> bool:
    """Whether a detection may be stated beside the subject, where nothing is hedged."""
    if not label.sayable or detection.box.area < COMPANION_AREA or detection.score < DETECTED_SURE:
        return False
    return label.label in RELIABLE_ALONE or agreed(label, classes)


def enough_for(label: DetectorLabel) -> float:
    return PERSON_DETECTED if label.label == PERSON else DETECTED
