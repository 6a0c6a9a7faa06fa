"""The example records beside the contracts, as outsiders are shown them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionstream.contracts import messages as m
from captionstream.contracts.topics import Topic

FOLDER = Path(m.__file__).parent / "examples"
LONGEST = 1_000  # characters of a text that is shown whole; what is longer is base64
SHOWN = 64  # a multiple of four, so that what is left is base64 still


@dataclass(frozen=True)
class Sample:
    """One record: `<topic>/<Message>[-<name>].json`."""

    topic: str
    message: str
    name: str
    key: str
    headers: dict[str, str]
    value: dict[str, Any]


def samples(topic: Topic) -> Iterator[Sample]:
    for path in sorted((FOLDER / topic.name).glob("*.json")):
        body = json.loads(path.read_text("utf-8"))
        message, _, name = path.stem.partition("-")
        yield Sample(topic.name, message, name, body["key"], body["headers"], body["value"])


def shortened(value: Any) -> Any:
    """The same value with long base64 cut off, for the eye."""
    match value:
        case dict():
            return {name: shortened(part) for name, part in value.items()}
        case list():
            return [shortened(part) for part in value]
        case str() if len(value) > LONGEST:
            return value[:SHOWN]
        case _:
            return value
