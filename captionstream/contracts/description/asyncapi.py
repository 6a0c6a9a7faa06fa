"""The AsyncAPI 3.0.0 document: channels and operations from the table of topics, messages from the models.

Its schemas are read as JSON Schema draft 7, where words beside a `$ref` do not count, so those are
wrapped in `allOf`.
"""

from __future__ import annotations

from typing import Any

from captionstream import __version__
from captionstream.contracts import messages as m
from captionstream.contracts.description import words
from captionstream.contracts.description.samples import Sample, samples, shortened
from captionstream.contracts.description.schemas import MESSAGES, Schema, mode_of, shared_schemas
from captionstream.contracts.topics import PARTITIONS, TOPICS, Outsider, Party, Topic
from captionstream.contracts.values import StageName

SCHEMAS = "#/components/schemas/"
BINDING = "0.5.0"
HEADERS = {
    "ce_specversion": {"const": "1.0"},
    "ce_id": {"description": "an image event's own id; elsewhere unique to the record"},
    "ce_source": {"description": "who wrote it"},
    "ce_time": {"format": "date-time"},
    "ce_subject": {"description": "id of the event that it is about"},
    "ce_tenant": {"description": "extension: tenant of the event"},
    "traceparent": {"description": "W3C trace context of this hop"},
    "ce_traceparent": {"description": "extension: trace context of the origin"},
}
OPTIONAL = {"traceparent", "ce_traceparent"}


def document() -> dict[str, Any]:
    """The whole document as JSON values."""
    names, schemas = shared_schemas(SCHEMAS)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "captionstream",
            "version": __version__,
            "description": "\n\n".join(
                ("Image events in, governed captions out.", words.VIEW, words.READ_COMMITTED, words.UNKNOWN)
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"local": local_server()},
        "channels": {topic.name: channel(topic) for topic in TOPICS},
        "operations": {name: body for topic in TOPICS for name, body in operations(topic)},
        "components": {
            "messages": {message.__name__: described(message, names[message]) for message in MESSAGES},
            "schemas": {name: draft_7(schema) for name, schema in schemas.items()},
        },
    }


def local_server() -> dict[str, Any]:
    return {
        "host": "127.0.0.1:9092",
        "protocol": "kafka",
        "description": "A stack that `captionstream up` started; `captionstream status` shows its port.",
    }


def channel(topic: Topic) -> dict[str, Any]:
    committed = {"x-isolation-level": "read_committed"} if StageName.SAFETY in topic.writers else {}
    return {
        "address": topic.name,
        "description": topic.why,
        "messages": {message.__name__: {"$ref": message_ref(message)} for message in topic.messages},
        "bindings": {"kafka": kafka_channel(topic)},
        "x-writers": list(topic.writers),
        "x-readers": list(topic.readers),
        "x-restricted": topic.restricted,
        **committed,
    }


def kafka_channel(topic: Topic) -> dict[str, Any]:
    settings = topic.kafka_settings()
    typed: dict[str, Any] = {
        name: int(value) if value.lstrip("-").isdigit() else value for name, value in settings.items()
    }
    typed["cleanup.policy"] = settings["cleanup.policy"].split(",")
    return {
        "topic": topic.name,
        "partitions": PARTITIONS,
        "topicConfiguration": typed,
        "bindingVersion": BINDING,
    }


def operations(topic: Topic) -> list[tuple[str, dict[str, Any]]]:
    """What our own parts do with a topic: its writers send, its readers receive."""
    sent = [operation(topic, party, "send") for party in topic.writers if not isinstance(party, Outsider)]
    received = [
        operation(topic, party, "receive") for party in topic.readers if not isinstance(party, Outsider)
    ]
    return [*sent, *received]


def operation(topic: Topic, party: Party, action: str) -> tuple[str, dict[str, Any]]:
    place = f"#/channels/{topic.name}"
    return f"{party}-{action}-{topic.name}", {
        "action": action,
        "channel": {"$ref": place},
        "summary": f"{party} {action}s on {topic.name}",
        "tags": [{"name": str(party)}],
        "messages": [{"$ref": f"{place}/messages/{message.__name__}"} for message in topic.messages],
    }


def message_ref(message: type[m.Message]) -> str:
    return f"#/components/messages/{message.__name__}"


def described(message: type[m.Message], schema: str) -> dict[str, Any]:
    """One message: headers, payload, key and examples."""
    topics = [topic for topic in TOPICS if message in topic.messages]
    shown = [sample for topic in topics for sample in samples(topic) if sample.message == message.__name__]
    headers = {"headers": headers_of(message, shown)} if any(sample.headers for sample in shown) else {}
    return {
        "name": message.__name__,
        "title": message.__name__,
        "summary": (message.__doc__ or "").split("\n")[0],
        "contentType": "application/json",
        **headers,
        "payload": {"$ref": SCHEMAS + schema},
        "bindings": {"kafka": {"key": key_of(topics[0]), "bindingVersion": BINDING}},
        "examples": [example(sample) for sample in shown],
    }


def key_of(topic: Topic) -> Schema:
    return {"type": "string", "description": topic.key}


def headers_of(message: type[m.Message], shown: list[Sample]) -> Schema:
    """CloudEvents 1.0 in Kafka's binary mode. A publisher may leave all of them out."""
    named: Schema = {
        "content-type": {"type": "string", "const": "application/json"},
        "ce_type": {"type": "string", "const": message.ce_type},
        **{name: {"type": "string", **more} for name, more in HEADERS.items()},
    }
    if mode_of(message) == "validation":
        named["content-type"] = {"type": "string", "description": words.IDENTITY}
        return {"type": "object", "properties": named}
    always = set(named).intersection(*(sample.headers for sample in shown)) - OPTIONAL
    return {"type": "object", "properties": named, "required": sorted(always)}


def example(sample: Sample) -> dict[str, Any]:
    headers = {"headers": sample.headers} if sample.headers else {}
    return {
        "name": sample.name or f"{sample.message}-on-{sample.topic}",
        "summary": f"A record of {sample.topic} with the key {sample.key}. Long base64 is cut.",
        **headers,
        "payload": shortened(sample.value),
    }


def draft_7(schema: Any) -> Any:
    """The same schema for readers of draft 7."""
    if isinstance(schema, list):
        return [draft_7(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema and len(schema) > 1:
        beside = {name: draft_7(part) for name, part in schema.items() if name != "$ref"}
        return {"allOf": [{"$ref": schema["$ref"]}], **beside}
    return {name: draft_7(part) for name, part in schema.items()}
