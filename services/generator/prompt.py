"""What a language model is told: a versioned template for each form, and the facts of a scene as data.

The model is shown words of our vocabulary and nothing else: no text from the image, no supplied names, no
page context. What those say cannot instruct it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Form, PromptReference
from captionstream.contracts.scene import Certainty, Medium, Scene, Thing
from captionstream.contracts.values import Profile
from services.generator.sentence import Request

IDS = {Form.STRICT: "scene-sentence-1", Form.GUIDED: "seen-sentence-1"}
SYSTEMS = {
    Form.STRICT: (
        "Tell a blind reader in one sentence what an image shows. State every given fact and nothing else, "
        "in the given language; say what is unsure as unsure."
    ),
    Form.GUIDED: (
        "Tell a blind reader in one sentence what an image shows, in the given language. The given facts hold; "
        "add only what is clearly to be seen. Say what is unsure as unsure; name nobody."
    ),
}
USER = "Facts as JSON: {facts}\nSentence:"
"""Short, for the sake of small machines: what stands before the facts is read once, the rest every time."""


@dataclass(frozen=True, slots=True)
class Prompt:
    system: str
    user: str


@cache
def reference(form: Form = Form.STRICT) -> PromptReference:
    """Which template it is; the digest changes with every letter of it."""
    return PromptReference(id=IDS[form], digest=sha256_hex(f"{SYSTEMS[form]}\0{USER}".encode()))


def prompt(scene: Scene, request: Request, language: str, form: Form = Form.STRICT) -> Prompt:
    facts = json.dumps(_facts(scene, request, language), ensure_ascii=False)
    return Prompt(SYSTEMS[form], USER.format(facts=facts))


def _facts(scene: Scene, request: Request, language: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"language": language, "subject": [_thing(thing) for thing in scene.things[:1]]}
    if scene.things[1:]:
        facts["beside it"] = [_thing(thing) for thing in scene.things[1:]]
    if scene.background:
        facts["background"] = " ".join(filter(None, [scene.background.kind, scene.background.colour]))
    if scene.medium is not Medium.PHOTO:
        facts["medium"] = scene.medium
    if request.profile is not Profile.ALT:
        facts["style"] = request.profile
    return facts


def _thing(thing: Thing) -> str:
    """`2 red car`, `dog (unsure)`: a note for a model, not a phrase for a reader."""
    number = str(thing.count) if thing.count > 1 else ""
    doubt = "(unsure)" if thing.certainty is Certainty.HEDGED else ""
    return " ".join(filter(None, [number, *thing.colours[:1], thing.noun, doubt]))
