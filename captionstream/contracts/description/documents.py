"""The documents that are kept in `docs/contracts`, and whether they are what the code says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from captionstream.contracts.description import asyncapi
from captionstream.contracts.description.page import page
from captionstream.contracts.description.schemas import MESSAGES, schema_of


def documents() -> dict[str, str]:
    """Text by path below the folder: the page, the AsyncAPI document, a schema for each message."""
    schemas = {f"schemas/{message.__name__}.json": as_json(schema_of(message)) for message in MESSAGES}
    return {"index.html": page(), "asyncapi.json": as_json(asyncapi.document()), **schemas}


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write(folder: Path) -> list[str]:
    """Write what differs; the paths of what was written or removed."""
    wanted = documents()
    changed = differences(folder, wanted)
    for name in changed:
        path = folder / name
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name], "utf-8")
        else:
            path.unlink()
    return changed


def differences(folder: Path, wanted: dict[str, str]) -> list[str]:
    """Paths whose text differs, that are missing, or schemas of messages that are no more."""
    stale = [name for name, text in wanted.items() if text_of(folder / name) != text]
    there = {path.relative_to(folder).as_posix() for path in folder.glob("schemas/*.json")}
    return [*stale, *sorted(there - wanted.keys())]


def text_of(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None
