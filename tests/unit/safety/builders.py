"""Messages and contexts for the safety tests, small enough to read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from captionstream.contracts import messages as m
from captionstream.contracts.scene import Certainty, QuotedText, Scene, Source, Thing
from captionstream.contracts.values import Payload, PreparedImage, SuppliedMetadata
from captionstream.runtime.stage import Delivery
from services.safety.checks.check import Check, CheckContext
from services.safety.checks.language import LanguageCheck
from services.safety.lexicons import Lexicon, lexicon
from services.safety.policy import Policy, bundled, load
from services.safety.stage import SafetyStage
from services.safety.wiring import all_checks

ZERO = "0" * 64
THEN = datetime(2024, 5, 17, 12, tzinfo=UTC)
NOW = THEN + timedelta(seconds=2)
DELIVERY = Delivery(THEN, ZERO)
LANGUAGES = ("en", "es")


@cache
def lists(language: str = "en") -> Lexicon:
    return lexicon(language)


@cache
def checks() -> tuple[Check, ...]:
    return all_checks(LanguageCheck(LANGUAGES))


@cache
def policy(name: str = "default") -> Policy:
    return load(bundled(name), checks())


def stage(*, policy_name: str = "default", checked: Iterable[Check] | None = None) -> SafetyStage:
    used = checks() if checked is None else tuple(checked)
    lexicons = {name: lists(name) for name in LANGUAGES}
    return SafetyStage(used, policy(policy_name), lexicons, clock=lambda: NOW)


def event(**changes: Any) -> m.Event:
    return m.Event(**{"id": "picture-1", **changes})


def context(language: str = "en", **changes: Any) -> CheckContext:
    """`changes` go to the event, save those that are fields of the context."""
    own = {name: changes.pop(name) for name in ("supplied", "scene", "content_score") if name in changes}
    return CheckContext(event(language=language, **changes), lists(language), **own)


def supplied(**changes: Any) -> SuppliedMetadata:
    return SuppliedMetadata(**changes)


def thing(noun: str = "dog", kind: str = "animal") -> Thing:
    return Thing(
        noun=noun, plural=f"{noun}s", certainty=Certainty.SURE, source=Source.TAGGER, score=0.9, kind=kind
    )


def quoted(text: str, score: float = 0.95) -> QuotedText:
    return QuotedText(text=text, score=score)


def scene(*things: Thing, **changes: Any) -> Scene:
    return Scene(things=things or (thing(),), **changes)


def draft(text: str, writer: str = "smollm2", **changes: Any) -> m.Draft:
    return m.Draft(**{"text": text, "writer": writer, "confidence": 0.8, **changes})


def drafted(*texts: str | m.Draft, asked: m.Event | None = None, **changes: Any) -> m.CaptionDrafted:
    """Candidates, best first; the last one is the plain sentence."""
    last = len(texts) - 1
    candidates = tuple(
        text if isinstance(text, m.Draft) else draft(text, "plain" if place == last else "smollm2")
        for place, text in enumerate(texts)
    )
    image = PreparedImage(
        digest=ZERO, media_type="image/png", original_width=8, original_height=8, width=8, height=8,
        pixels=Payload(media_type="application/octet-stream", size=0, sha256=ZERO, inline=b""),
    )  # fmt: skip
    values = {
        "event": asked or event(), "event_digest": ZERO, "accepted_at": THEN, "image": image,
        "scene": scene(), "candidates": candidates, "provenance": m.Provenance(pipeline_version="test"),
    }  # fmt: skip
    return m.CaptionDrafted(**{**values, **changes})


def delta(text: str, sequence: int = 0, **changes: Any) -> m.DraftDelta:
    values = {"event": event(), "event_digest": ZERO, "accepted_at": THEN, "attempt": 1}
    return m.DraftDelta(**{**values, "text": text, "sequence": sequence, **changes})


async def produced(of: SafetyStage, message: m.Message) -> list[m.Message]:
    return [one async for one in of.advance(message, DELIVERY)]


async def answer(of: SafetyStage, message: m.CaptionDrafted) -> m.Answer:
    """The terminal message."""
    answers = [one for one in await produced(of, message) if isinstance(one, m.Answer)]
    assert len(answers) == 1, answers
    return answers[0]
