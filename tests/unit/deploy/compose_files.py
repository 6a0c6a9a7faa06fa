"""Several compose files as one, by the rules of `docker compose -f ... -f ...`, as far as ours use them.

Mappings are merged, commands and tests of health replaced, mounts replaced by their place in the container, other
lists appended. `${NAME:-default}` is what the environment has under NAME, unless that is empty. A service without a
command runs that of its image: what the Dockerfile's stage says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REPLACED = ("command", "entrypoint", "test")
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def together(*files: Path, told: Mapping[str, str] = {}) -> dict[str, Any]:
    """The files in the order in which they are named, each over the ones before."""
    made: dict[str, Any] = {}
    for file in files:
        made = merged(made, yaml.safe_load(file.read_text()))
    return {name: filled_in(value, told) for name, value in made.items() if not name.startswith("x-")}


def merged(below: Any, above: Any, name: str = "") -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        both = {key: merged(below[key], above[key], key) for key in below.keys() & above.keys()}
        return {**below, **above, **both}
    if isinstance(below, list) and isinstance(above, list) and name not in REPLACED:
        kept = [each for each in below if name != "volumes" or place(each) not in map(place, above)]
        return kept + above
    return above


def body(dockerfile: str, stage: str) -> str:
    """What stands between the first line of a stage and the next stage."""
    return dockerfile.split(f" AS {stage}\n")[1].split("\nFROM ")[0]


def own_command(dockerfile: str, stage: str) -> list[str]:
    """What the image of a stage runs when it is told nothing."""
    [words] = re.findall(r"^CMD (\[(?:[^\]]|\\\n)*\])", body(dockerfile, stage), re.MULTILINE)
    return list(map(str, json.loads(words.replace("\\\n", ""))))


def place(mount: str | dict[str, Any]) -> str:
    """Where a mount is in the container."""
    return mount.split(":")[1] if isinstance(mount, str) else str(mount["target"])


def filled_in(value: Any, told: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled_in(each, told) for key, each in value.items()}
    if isinstance(value, list):
        return [filled_in(each, told) for each in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: told.get(found[1]) or found[2], value)
    return value
