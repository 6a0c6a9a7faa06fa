"""An answer as a person or a program reads it: one line an event, whichever way it was asked for."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from captionstream.contracts import messages as m
from captionstream.contracts.clean import one_line


def as_line(answer: m.Answer, source: str) -> dict[str, Any]:
    """The same keys for every outcome; what an outcome does not have is null."""
    published = answer if isinstance(answer, m.CaptionPublished) else None
    spoken = answer if isinstance(answer, m.CaptionPublished | m.CaptionHeld) else None
    choice = answer.provenance.choice if answer.provenance else None
    usage = answer.provenance.usage if answer.provenance else None
    return {
        "event_id": answer.event.id,
        "source": source,
        "outcome": answer.outcome,
        "text": published.text if published else None,
        "language": spoken.language if spoken else answer.event.language,
        "profile": spoken.profile if spoken else answer.event.profile,
        "confidence": published.confidence if published else None,
        "hedged": published.hedged if published else None,
        "abstained": published.abstained if published else None,
        "caption_id": answer.caption_id,
        "reason": reason(answer),
        "scene": published.scene.model_dump(mode="json", exclude_none=True) if published else None,
        "evidence": [claim.model_dump(mode="json") for claim in published.claims] if published else [],
        "choice": choice.model_dump(mode="json") if choice else None,
        "usage": usage.model_dump(mode="json") if usage else None,
        "timings": [timing.model_dump(mode="json") for timing in answer.timings],
    }


def reason(answer: m.Answer) -> str | None:
    match answer:
        case m.CaptionHeld():
            return answer.reason
        case m.CaptionRefused():
            return f"{answer.reason}: {answer.detail}" if answer.detail else str(answer.reason)
        case _:
            return None


def as_json(answer: m.Answer, source: str) -> str:
    return json.dumps(as_line(answer, source), ensure_ascii=False)


def as_text(answer: m.Answer, source: str) -> str:
    """For a terminal: no control characters of anybody's text reach it."""
    match answer:
        case m.CaptionPublished(text=""):
            said = "(decorative: empty alternative text)"
        case m.CaptionPublished():
            said = f"{answer.text}  [{answer.confidence:.2f}]"
        case _:
            said = f"{answer.outcome}: {reason(answer)}"
    return one_line(f"{source}: {said}")


def in_full(answer: m.Answer, source: str) -> str:
    """As `as_text`, with a line below it that says who wrote and why, where more than the plain sentence was set up."""
    told = answer.provenance if isinstance(answer, m.CaptionPublished) else None
    if told is None or told.choice is None or not _in_play(told.choice):
        return as_text(answer, source)
    spent = f" · {_spent(told.usage)}" if told.usage else ""
    return f"{as_text(answer, source)}\n{one_line(f'  {_author(told.choice)}{spent}')}"


def _in_play(choice: m.EngineChoice) -> bool:
    """Whether an engine wrote, or was passed over."""
    return choice.archetype is not m.Archetype.PLAIN or "skipped:" in choice.reason


def _author(choice: m.EngineChoice) -> str:
    """`smolvlm (split): visual tokens present`."""
    way = "" if choice.archetype is m.Archetype.PLAIN else f" ({choice.archetype})"
    return f"{choice.engine}{way}{choice.reason.removeprefix(choice.engine)}"


def _spent(usage: m.Usage) -> str:
    """Tokens in and out, and the money: two digits of it that say something."""
    if not usage.input_tokens and not usage.output_tokens:
        return "text of before"
    tokens = f"{usage.input_tokens} + {usage.output_tokens} tokens"
    if usage.cost is None:
        return tokens
    digits = Decimal(f"{usage.cost:.2g}" if usage.cost < 1 else f"{usage.cost:.2f}").normalize()
    return f"{tokens}, {digits:f} {usage.currency or ''}".rstrip()
