"""The plain sentence: the plainest wording that the grammar has. It needs no model and is always there."""

from __future__ import annotations

from datetime import datetime

from captionstream.contracts.messages import Claim, ClaimKind, Draft
from captionstream.contracts.scene import Certainty, Finding, Scene, Thing
from captionstream.contracts.values import Purpose
from services.generator.grammar import Node, Reading, capitalised, plainest, read, sequence
from services.generator.sentence import WANTED, Request, Sentence
from services.generator.speech import Speech

PLAIN = "plain"
SCORED = {ClaimKind.OBJECT, ClaimKind.COUNT, ClaimKind.RELATION, ClaimKind.QUOTATION}
"""Claims that a recogniser scored with how sure it is. Shares of an area are measured, not guessed."""
DECORATIVE = Draft(text="", writer=PLAIN, confidence=1.0)


def plain_draft(sentence: Sentence, long_description: str | None = None) -> Draft:
    text = plainest(sentence.head, WANTED) + plainest(sentence.tail, 0)
    reading = read(sentence.whole, text)
    if reading is None:
        raise AssertionError("a sentence does not allow its own plainest wording")
    return draft(text, PLAIN, reading, sentence, long_description)


def draft(
    text: str, writer: str, reading: Reading, sentence: Sentence, long_description: str | None
) -> Draft:
    return Draft(
        text=text,
        writer=writer,
        long_description=long_description,
        claims=reading.claims,
        confidence=confidence(reading.claims),
        hedged=reading.hedged,
        abstained=sentence.abstained,
    )


def confidence(claims: tuple[Claim, ...]) -> float:
    """How sure we are that nothing stated is false: the weakest recognition; 1 where there is none."""
    return min((claim.score for claim in claims if claim.kind in SCORED), default=1.0)


def long_description(scene: Scene, request: Request, sentence: Sentence, speech: Speech) -> str | None:
    """All facts, one sentence each, where the short text cannot hold them; else None."""
    if request.purpose is not Purpose.COMPLEX and not sentence.cut:
        return None
    facts: list[Node] = []
    if scene.things:
        facts = [speech.phrase(thing) for thing in scene.things]
    if scene.background is not None and scene.things:
        facts.append(speech.setting(scene.background))
    if scene.colours:
        facts.append(speech.main_colours(scene))
    if scene.text is not None:
        facts.append(speech.quotation(scene.text, whole=True))
    return " ".join(plainest(sequence(capitalised(fact), "."), 0) for fact in facts) or None


def findings(scene: Scene, captured_at: datetime | None) -> tuple[Finding, ...]:
    """The scene as records for machines, in the words of the vocabulary whatever the language."""
    time = captured_at.isoformat() if captured_at else None
    records = [
        Finding(component=t.noun, finding=_presence(t), confidence=t.score, box=t.box, sensor_time=time)
        for t in scene.things
    ]
    if scene.text is not None:
        text = scene.text
        records.append(
            Finding(
                component="text", finding=text.text, confidence=text.score, box=text.box, sensor_time=time
            )
        )
    return tuple(records)


def _presence(thing: Thing) -> str:
    number = f"count {'at least ' if thing.at_least else ''}{thing.count}"
    finding = "present" if thing.count == 1 and not thing.at_least else number
    return finding if thing.certainty is Certainty.SURE else f"possibly {finding}"
