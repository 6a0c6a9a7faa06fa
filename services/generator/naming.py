"""From class logits to a word: the one that is worth most, by what it tells and how probably it is right.

Every word carries the probability mass of its classes (Deng et al., "Hedging your bets", CVPR 2012). A word's
mass says how often it is right; what it tells is the information in bits of going from 1000 classes to its
own. Said surely where it is right often enough, hedged where it is right more often than not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captionstream.contracts.evidence import Detection
from captionstream.contracts.scene import Certainty
from services.generator.vocabulary import CLASSES, DetectorLabel, Floats, Vocabulary, Word

TEMPERATURE = 0.75

OFFSET, SLOPE, WIDTH = -0.25, 0.75, 0.12
"""Log-odds of being right: OFFSET + SLOPE * log-odds of the mass + WIDTH * log of the number of classes.

Chosen near a logistic regression (-0.3, 0.75, 0.17) over the words of 243 labelled pictures: those of the
evaluation sets whose path has a SHA-256 with an even first byte, on which the other thresholds were chosen,
too. On the other half this names 45 % of the stamps (37 % by fixed masses of 0.8 and 0.5) with 3 % surely
wrong (12 %), and 60 % of the backgrounds (52 %) with 5 % (8 %). Kinds are right more often than their mass
says, single classes less often.
"""

SURE, HEDGED = 0.85, 0.5  # probability of being right from which a word is said surely, and said at all
LOOK_ALIKES = 0.9  # of that probability remains in families with common members that are no class
HEDGE = 0.9  # what a hedged word is worth, of what it were worth surely
LEAST_MASS = 0.5  # a wide kind has much mass by chance
LOWEST = 1e-4  # keeps log-odds finite

DETECTED = 0.6
DETECTED_SURE = 0.68
PERSON, PERSON_DETECTED, PERSON_SURE = "person", 0.65, 0.8
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
    """The word that is worth most: how much it tells, times how probably it is right."""
    masses = np.clip(classes @ vocabulary.membership, 0.0, 1.0)
    right = probably_right(masses, vocabulary)
    sure = (right >= SURE) & ~vocabulary.look_alikes
    worth = right * np.log2(CLASSES / vocabulary.sizes) * np.where(sure, 1.0, HEDGE)
    worth[(right < HEDGED) | (masses < LEAST_MASS)] = 0.0
    best = int(worth.argmax())
    if worth[best] <= 0:
        return None
    certainty = Certainty.SURE if sure[best] else Certainty.HEDGED
    return Named(vocabulary.words[best], float(right[best]), certainty)


def probably_right(masses: Floats, vocabulary: Vocabulary) -> Floats:
    """[words] how often a word of this mass is right."""
    odds = np.log(np.clip(masses, LOWEST, 1 - LOWEST) / np.clip(1 - masses, LOWEST, 1))
    right = 1 / (1 + np.exp(-(OFFSET + SLOPE * odds + WIDTH * np.log(vocabulary.sizes))))
    return np.asarray(np.where(vocabulary.families, LOOK_ALIKES * right, right))


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
    """Sure where the score is high and the tagger sees the same, if it knows `own` classes of the label."""
    if label.label == PERSON:
        return Certainty.SURE if detection.score >= PERSON_SURE else Certainty.HEDGED
    unseen = bool(own) and float(classes[list(own)].sum()) < SEEN_TOO
    return Certainty.HEDGED if unseen or detection.score < DETECTED_SURE else Certainty.SURE


def may_accompany(detection: Detection, label: DetectorLabel, classes: Floats) -> bool:
    """Whether a detection may be stated beside the subject, where nothing is hedged."""
    if not label.sayable or detection.box.area < COMPANION_AREA or detection.score < DETECTED_SURE:
        return False
    return label.label in RELIABLE_ALONE or agreed(label, classes)


def enough_for(label: DetectorLabel) -> float:
    return PERSON_DETECTED if label.label == PERSON else DETECTED
