"""What the encoder's content screen said of the picture itself: 0 harmless, 1 sexually explicit."""

from __future__ import annotations

from captionstream.contracts.messages import CheckFinding
from services.safety.checks.check import Check, CheckContext, Scope
from services.safety.words import unquoted, words

NAME = "content"
WORTH_SAYING = 0.2  # below this the screen's makers call a picture safe


def content(text: str, context: CheckContext) -> list[CheckFinding]:
    """One finding with the score; the policy has the thresholds. Unknown company counts as a person's."""
    if context.content_score < WORTH_SAYING:
        return []
    rule = "person" if with_person(context) or names_person(text, context) else "thing"
    return [CheckFinding(check=NAME, rule=rule, score=context.content_score)]


def with_person(context: CheckContext) -> bool:
    scene = context.scene
    return scene is None or not scene.things or any(thing.kind == "person" for thing in scene.things)


def names_person(text: str, context: CheckContext) -> bool:
    """A model may have seen somebody whom the scene does not hold."""
    found, lexicon = words(unquoted(text)), context.lexicon
    return bool(lexicon.people.found(found) or lexicon.compound_people.found(found))


CHECK = Check(name=NAME, rules=frozenset({"person", "thing"}), examine=content, scope=Scope.PICTURE)
