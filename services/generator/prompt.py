"""What a language model is told: one versioned template, and the facts of a scene as data.

The model is shown words of our vocabulary and nothing else: no text from the image, no supplied names, no
page context. What those say cannot instruct it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import PromptReference
from captionstream.contracts.scene import Certainty, Scene, Thing
from services.generator.sentence import Request

ID = "scene-sentence-1"
SYSTEM = (
    "You write one short sentence that tells a blind reader what an image shows. "
    "State every fact that you are given, in the given language, and nothing else: no further object, "
    "colour, number, place, name, feeling or opinion. Say what is unsure as unsure. "
    "Do not begin with 'image of'."
)
USER = "Facts about the image, as JSON:\n{facts}\nOne sentence:"


@dataclass(frozen=True, slots=True)
class Prompt:
    system: str
    user: str


@cache
def reference() -> PromptReference:
    """Which template it is; the digest changes with every letter of it."""
    return PromptReference(id=ID, digest=sha256_hex(f"{SYSTEM}\0{USER}".encode()))


def prompt(scene: Scene, request: Request, language: str) -> Prompt:
    facts = json.dumps(_facts(scene, request, language), ensure_ascii=False)
    return Prompt(SYSTEM, USER.format(facts=facts))


def _facts(scene: Scene, request: Request, language: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"language": language, "style": request.profile, "kind of image": scene.medium}
    if scene.things:
        facts["subject"] = _thing(scene.things[0])
    if scene.things[1:]:
        facts["beside it"] = [_thing(thing) for thing in scene.things[1:]]
    if scene.background:
        facts["background"] = " ".join(filter(None, [scene.background.kind, scene.background.colour]))
    return facts


def _thing(thing: Thing) -> dict[str, Any]:
    told: dict[str, Any] = {"what": thing.noun, "how many": thing.count}
    if thing.colours:
        told["colour"] = thing.colours[0]
    if thing.certainty is Certainty.HEDGED:
        told["unsure"] = True
    return told
