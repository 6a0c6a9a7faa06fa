"""What is wrong with a line that should be an image event, in words that say how to put it right."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from captionstream.contracts import messages as m
from captionstream.contracts import notification
from captionstream.contracts.values import ImageReference, PageContext

NESTED: dict[str, type[BaseModel]] = {"image": ImageReference, "context": PageContext}


def faults(line: bytes) -> list[str]:
    """A sentence for each reason why the line would be refused as malformed; empty when it would not."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as broken:
        return [f"not JSON: {broken}"]
    if not isinstance(body, dict):
        return ["an image event is a JSON object"]
    try:
        event = notification.image_event(body) if notification.is_notification(body) else body
        m.ImageSubmitted.model_validate_json(json.dumps(event))
    except notification.NotAnImageEvent as other:
        return [str(other)]
    except ValidationError as invalid:
        return [sentence(error) for error in invalid.errors(include_url=False)]
    return []


def sentence(error: Any) -> str:
    """Pydantic's words, with the nearest name where a list of names was missed."""
    said = f"{'.'.join(map(str, error['loc'])) or 'event'}: {error['msg']}"
    names = (error.get("ctx") or {}).get("expected", "") if error["type"] == "enum" else ""
    return (
        f"{said}{nearest(str(error['input']), names.replace(' or ', ', ').replace(chr(39), '').split(', '))}"
    )


def ignored(line: bytes) -> list[str]:
    """A sentence for each field that would be passed over, with the nearest one that would not."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return []
    if not isinstance(body, dict) or notification.is_notification(body):
        return []
    return list(unknown(body))


def unknown(body: dict[str, Any]) -> Iterator[str]:
    for name in body.keys() - m.ImageSubmitted.model_fields.keys():
        yield f"{name} is ignored{nearest(name, m.ImageSubmitted.model_fields)}"
    for place, model in NESTED.items():
        inner = body.get(place)
        for name in inner.keys() - model.model_fields.keys() if isinstance(inner, dict) else ():
            yield f"{place}.{name} is ignored{nearest(name, model.model_fields)}"


def nearest(word: str, names: Any) -> str:
    found = difflib.get_close_matches(word, list(names), n=1, cutoff=0.5)
    return f"; the nearest is {found[0]}" if found else ""
