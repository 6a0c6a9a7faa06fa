"""From class logits to a word: the most specific one whose probability mass passes (Deng et al., CVPR 2012).

The thresholds were chosen on photographs with human captions: at 0.8 about 7 % of the names are wrong, and
naming the top class outright would be wrong for more than half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captionstream.contracts.evidence import Detection
from captionstream.contracts.scene import Certainty
from services.generator.vocabulary import DetectorLabel, Floats, Vocabulary, Word

TEMPERATURE = 0.75
SURE_MASS = 0.8
HEDGED_MASS = 0.5
FAMILY_MASS = 0.9  # of hoofed animals: deer, donkey, giraffe are no classes; their mass goes to look-alikes

DETECTED = 0.6
DETECTED_SURE = 0.68
PERSON, PERSON_DETECTED = "person", 0.65
AGREED_MASS = 0.4  # of the tagger, on what a detector label is a kind of
SUBJECT_AREA = 0.04
COMPANION_AREA = 0.02
RELIABLE_ALONE = {PERSON, "car", "dog"}  # of a detector that is right about one other label in three


@dataclass(frozen=True, slots=True)
class Named:
    """A word of the tagger with the probability mass behind it."""

    word: Word
    mass: float
    certainty: Certainty


def probabilities(class_logits: npt.NDArray[np.floating]) -> Floats:
    """[views, 1000] logits of one image, unscaled → [1000] probabilities of their mean."""
    mean = np.asarray(class_logits, dtype=np.float64).mean(axis=0) / TEMPERATURE
    grown = np.exp(mean - mean.max())
    return np.asarray(grown / grown.sum())


def named(classes: Floats, vocabulary: Vocabulary) -> Named | None:
    """The most specific word whose mass is enough to be sure; failing that, enough to say "what may be"."""
    masses = classes @ vocabulary.membership
    for certainty, threshold in ((Certainty.SURE, SURE_MASS), (Certainty.HEDGED, HEDGED_MASS)):
        place = _most_specific(masses, threshold, vocabulary)
        if place is not None:
            return Named(vocabulary.words[place], min(1.0, float(masses[place])), certainty)
    return None


def _most_specific(masses: Floats, threshold: float, vocabulary: Vocabulary) -> int | None:
    """Index of the word with the fewest classes that passes; among equals, the one with the most mass."""
    needed = np.where(vocabulary.families, max(FAMILY_MASS, threshold), threshold)
    passing = np.flatnonzero(masses >= needed)
    if not len(passing):
        return None
    return int(passing[np.lexsort((-masses[passing], vocabulary.sizes[passing]))[0]])


def agreed(label: DetectorLabel, classes: Floats) -> bool:
    """Whether the tagger, too, sees something of this kind, where it knows any."""
    kin = label.parent_node_leaves
    return kin is None or float(classes[list(kin)].sum()) >= AGREED_MASS


def may_be_subject(detection: Detection, label: DetectorLabel, classes: Floats) -> bool:
    """Whether a detection may name what the image is of."""
    large = detection.box.area >= SUBJECT_AREA
    return label.sayable and large and detection.score >= enough_for(label) and agreed(label, classes)


def may_accompany(detection: Detection, label: DetectorLabel, classes: Floats) -> bool:
    """Whether a detection may be stated beside the subject, where nothing is hedged."""
    if not label.sayable or detection.box.area < COMPANION_AREA or detection.score < DETECTED_SURE:
        return False
    return label.label in RELIABLE_ALONE or agreed(label, classes)


def enough_for(label: DetectorLabel) -> float:
    return PERSON_DETECTED if label.label == PERSON else DETECTED
