"""A YAML file that people write, read into a model: what is wrong with it is said with file, line and a way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from captionstream.runtime.errors import Misconfigured

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str | int, ...]
ENUM_MEMBER = re.compile(r"<\w+\.\w+: ('[^']*')>")  # as pydantic shows what a Literal of them allows


class BadFile(Misconfigured):
    """The file cannot be used. Each line says where, what is wrong, and what was perhaps meant."""


class Read(NamedTuple, Generic[Model]):
    """What a file says, and where each part of it stands."""

    value: Model
    source: str
    tree: yaml.Node

    def at(self, *place: str | int) -> str:
        """`file:line` of a part, or of what is around it."""
        return f"{self.source}:{line(self.tree, place)}"


def load(path: Path, model: type[Model], keys: Iterable[str] = ()) -> Read[Model]:
    """`keys` are all that the file may hold anywhere. Raises BadFile."""
    try:
        data = path.read_bytes()
    except OSError as unreadable:
        raise BadFile(f"{path}: {unreadable.strerror}") from None
    return parsed(data, str(path), model, keys)


def parsed(data: bytes, source: str, model: type[Model], keys: Iterable[str] = ()) -> Read[Model]:
    """Raises BadFile."""
    tree, content = read_yaml(data, source)
    try:
        return Read(model.model_validate(content), source, tree)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        told = dict.fromkeys(_described(error, tree, source, keys) for error in errors)
        raise BadFile("\n".join(told)) from None


def read_yaml(data: bytes, source: str) -> tuple[yaml.Node, Any]:
    """The file as a tree, whose nodes know their lines, and what it says. Raises BadFile."""
    try:
        tree = yaml.compose(data, yaml.SafeLoader)
        content = yaml.safe_load(data)
    except yaml.MarkedYAMLError as broken:
        mark = broken.problem_mark
        raise BadFile(f"{source}:{mark.line + 1 if mark else 1}: {broken.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        raise BadFile(f"{source}:1: not YAML: {broken}") from None
    if tree is None:
        raise BadFile(f"{source}:1: the file is empty")
    return tree, content


def _described(error: Mapping[str, Any], tree: yaml.Node, source: str, keys: Iterable[str]) -> str:
    named = ".".join(map(str, _written(tree, error["loc"]))) or "the file"
    where = f"{source}:{line(tree, error['loc'])}: {named}"
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key{perhaps(str(error['loc'][-1]), keys)}"
        case "missing":
            return f"{where} is missing"
        case _:
            return f"{where}: {_plain(error['msg'])}"


def _plain(message: str) -> str:
    return ENUM_MEMBER.sub(r"\1", message.removeprefix("Value error, "))


def perhaps(given: str, known: Iterable[str]) -> str:
    """The way out for a name that is not known."""
    names = sorted(set(known))
    nearest = difflib.get_close_matches(given, names, 1, cutoff=0.5)
    if nearest:
        return f"; did you mean `{nearest[0]}`?"
    return f"; known are {', '.join(names)}" if names else ""


def line(tree: yaml.Node, place: Place) -> int:
    """The line on which a value stands, or the nearest one around it that is there."""
    found, node = tree.start_mark.line, tree
    for step in place:
        if (pair := _step(node, step)) is not None:
            found, node = pair[0].start_mark.line, pair[1]
    return int(found) + 1


def _written(tree: yaml.Node, place: Place) -> Iterable[str | int]:
    """The steps that stand in the file, and the last one: pydantic names the kind of a value among them too."""
    node = tree
    for step in place[:-1]:
        if (pair := _step(node, step)) is not None:
            node = pair[1]
            yield step
    yield from place[-1:]


def _step(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The key and the value one step further; in a list both are the value."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None
