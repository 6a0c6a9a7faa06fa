"""Recorded examples as records of a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from captionstream.contracts import messages as m
from captionstream.contracts.record import Record
from tests.builders import NOON

EXAMPLES = Path(m.__file__).parent / "examples"


def files(folder: Path = EXAMPLES) -> list[Path]:
    return sorted(folder.rglob("*.json"))


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def message_name(path: Path) -> str:
    return path.stem.split("-")[0]


def body_of(path: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return body


def record_of(path: Path, **changed: Any) -> Record:
    """The record of an example; `changed` replaces fields of its value."""
    body = body_of(path)
    return raw_record(path.parent.name, {**body["value"], **changed}, body["headers"], body["key"])


def raw_record(topic: str, value: Any, headers: dict[str, str], key: str = "key") -> Record:
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    return Record(topic, 3, 17, key.encode(), json.dumps(value).encode(), pairs, NOON)
