"""JSON Schema 2020-12 of every message, made from its model.

What publishers send is described as it is taken in (pydantic's mode `validation`), all else as it is
written (`serialization`). In both, a field with a default may be absent: retained records of an older
version lack fields that are new. What we write never holds `null`.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from pydantic_core import core_schema

from captionstream.contracts import messages as m
from captionstream.contracts.topics import TOPICS, Outsider
from captionstream.contracts.values import ImageReference

Schema = dict[str, Any]
MESSAGES = tuple(dict.fromkeys(message for topic in TOPICS for message in topic.messages))
BASE64_URL = "^[A-Za-z0-9_-]*={0,2}$"
EITHER = "^[A-Za-z0-9+/_-]*={0,2}$"


class Published(GenerateJsonSchema):
    """Pydantic's schema, exact where JSON differs from Python: bytes, absent values, one of three references."""

    def bytes_schema(self, schema: core_schema.BytesSchema) -> Schema:
        """A limit of bytes becomes a limit of base64 letters. We write the URL-safe alphabet and take both."""
        taken = self.mode == "validation"
        text: Schema = {
            "type": "string",
            "contentEncoding": "base64" if taken else "base64url",
            "pattern": EITHER if taken else BASE64_URL,
        }
        if "max_length" in schema:
            text["maxLength"] = letters(schema["max_length"])
        return text

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Schema:
        """What we write leaves a field out instead of writing null."""
        if self.mode == "serialization":
            return self.generate_inner(schema["schema"])
        return super().nullable_schema(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        """A default of null says no more than that the field may be absent."""
        found = super().default_schema(schema)
        return without_null(found, "default")

    def field_is_required(self, field: Any, total: bool) -> bool:
        return bool(field["schema"]["type"] != "default")

    def field_title_should_be_set(self, schema: Any) -> bool:
        """The name of a field is its title."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        found = super().model_schema(schema)
        if schema["cls"] is ImageReference:
            found["oneOf"] = [given(name) for name in ImageReference.model_fields]
        return found


def letters(size: int) -> int:
    """Letters of base64, padding included, that `size` bytes take."""
    return -(-size // 3) * 4


def given(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def without_null(schema: Schema, name: str) -> Schema:
    """Without the word if it is null; without the nulls in it if it is an object."""
    word = schema.get(name)
    if isinstance(word, dict):
        return {**schema, name: {key: part for key, part in word.items() if part is not None}}
    return schema if word is not None else {key: part for key, part in schema.items() if key != name}


def mode_of(message: type[m.Message]) -> JsonSchemaMode:
    """`validation` for what publishers send, `serialization` for what we write."""
    sent = any(message in topic.messages and Outsider.PUBLISHERS in topic.writers for topic in TOPICS)
    return "validation" if sent else "serialization"


def identifier(message: type[m.Message]) -> str:
    """The `$id`: a URN, since no server of ours hands schemas out."""
    return f"urn:captionstream:schema:{message.ce_type}"


def schema_of(message: type[m.Message]) -> Schema:
    """The schema of one message, complete in itself."""
    body = TypeAdapter(message).json_schema(mode=mode_of(message), schema_generator=Published)
    return {"$schema": Published.schema_dialect, "$id": identifier(message), **body}


def shared_schemas(prefix: str) -> tuple[dict[type[m.Message], str], dict[str, Schema]]:
    """For one document that holds them all, with references that begin with `prefix`: names and schemas."""
    asked = [(message, mode_of(message)) for message in MESSAGES]
    places, found = models_json_schema(asked, ref_template=prefix + "{model}", schema_generator=Published)
    names = {model: place["$ref"].removeprefix(prefix) for (model, _), place in places.items()}
    return names, dict(sorted(found["$defs"].items()))  # type: ignore[return-value]
