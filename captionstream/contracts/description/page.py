"""The contracts as one page for people: static, complete in itself, without scripts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from captionstream import __version__
from captionstream.contracts import messages as m
from captionstream.contracts.description import words
from captionstream.contracts.description.samples import Sample, samples, shortened
from captionstream.contracts.description.schemas import MESSAGES, Schema, shared_schemas
from captionstream.contracts.topics import PARTITIONS, TOPICS, Topic

REF = "#type-"
DAY_MS = 86_400_000
FIRST_TO_KNOW = ("image-events", "captions", "caption-deltas")
SIGNS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "minLength": "length ≥",
    "maxLength": "length ≤",
}


@dataclass(frozen=True)
class Row:
    """One field of a table."""

    name: str
    kind: Markup
    required: bool
    default: str
    meaning: str


@dataclass(frozen=True)
class Shape:
    """A message or one of the values that messages are made of."""

    name: str
    summary: str
    rows: tuple[Row, ...]
    names: tuple[str, ...] = ()  # of a list of names, in place of rows


def page() -> str:
    """The HTML text."""
    names, schemas = shared_schemas(REF)
    shapes = {name: shape(name, schema) for name, schema in schemas.items()}
    environment = Environment(
        loader=PackageLoader("captionstream.contracts.description", "."),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        version=__version__, words=words, partitions=PARTITIONS, topics=TOPICS, first=FIRST_TO_KNOW,
        kept=kept, as_json=as_json,
        messages=[(message, shapes[names[message]], shown(message)) for message in MESSAGES],
        values=[shapes[name] for name in schemas if name not in names.values()],
    )  # fmt: skip


def kept(topic: Topic) -> str:
    time = "for ever" if topic.retention_ms < 0 else duration(topic.retention_ms)
    return f"{time}; of each key the last" if topic.compacted else time


def duration(milliseconds: int) -> str:
    hours = milliseconds // 3_600_000
    return f"{hours} h" if milliseconds < DAY_MS else f"{milliseconds // DAY_MS} d"


def shape(name: str, schema: Schema) -> Shape:
    required = set(schema.get("required", ()))
    rows = tuple(
        Row(field, kind(part), field in required, default_of(part), part.get("description", ""))
        for field, part in schema.get("properties", {}).items()
    )
    return Shape(name, schema.get("description", ""), rows, tuple(schema.get("enum", ())))


def default_of(schema: Schema) -> str:
    """A default worth a word: an empty list or object says no more than that the field may be absent."""
    default = schema.get("default")
    return json.dumps(default) if isinstance(default, str | int | float) else ""


def kind(schema: Schema) -> Markup:
    """What a field holds, with a link where that is a value of ours."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF)
        place = "message" if any(name == message.__name__ for message in MESSAGES) else "type"
        return Markup('<a href="#{}-{}">{}</a>').format(place, name, name)
    if "anyOf" in schema:
        return Markup(" or ").join(kind(part) for part in schema["anyOf"])
    match schema.get("type"):
        case "array":
            return Markup("list of ") + kind(schema.get("items", {}))
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return Markup("names to ") + kind(schema["additionalProperties"])
        case plain:
            plain = schema.get("contentEncoding") or schema.get("format") or plain
            return escape(" ".join([str(plain), *limits(schema)]))


def limits(schema: Schema) -> list[str]:
    return [f"{sign} {schema[name]}" for name, sign in SIGNS.items() if name in schema]


def shown(message: type[m.Message]) -> Sample | None:
    """One example of a message, of the first topic that carries it."""
    found = (sample for topic in TOPICS for sample in samples(topic) if sample.message == message.__name__)
    return next(found, None)


def as_json(sample: Sample) -> str:
    record: dict[str, Any] = {"key": sample.key, "headers": sample.headers, "value": shortened(sample.value)}
    return json.dumps(record, indent=1, ensure_ascii=False)
