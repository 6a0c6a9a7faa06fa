"""A scene in the words that a language has: a more general true word stands in for a missing one."""

from __future__ import annotations

from captionstream.contracts.scene import Relation, Scene, Thing
from services.generator.speech import Speech
from services.generator.vocabulary import Vocabulary


def sayable(scene: Scene, speech: Speech, vocabulary: Vocabulary) -> Scene:
    """The scene with every thing under a word that `speech` knows. What has none is left unsaid."""
    said = {at: _said(thing, speech, vocabulary) for at, thing in enumerate(scene.things)}
    kept = [at for at, thing in said.items() if thing is not None]
    return scene.model_copy(
        update={
            "things": tuple(thing for thing in said.values() if thing is not None),
            "relations": tuple(
                _moved(relation, kept) for relation in scene.relations if _stands(relation, kept)
            ),
        }
    )


def _said(thing: Thing, speech: Speech, vocabulary: Vocabulary) -> Thing | None:
    if speech.knows(thing):
        return thing
    for word in vocabulary.more_general(thing.noun, thing.synset):
        general = thing.model_copy(
            update={"noun": word.word, "plural": "", "synset": word.synset, "mass_noun": word.mass_noun}
        )
        if speech.knows(general):
            return general
    return None


def _stands(relation: Relation, kept: list[int]) -> bool:
    return relation.subject in kept and relation.object in kept


def _moved(relation: Relation, kept: list[int]) -> Relation:
    places = {"subject": kept.index(relation.subject), "object": kept.index(relation.object)}
    return relation.model_copy(update=places)
