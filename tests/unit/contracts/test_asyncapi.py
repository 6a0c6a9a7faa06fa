"""The AsyncAPI document says what the table of topics and the models say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from captionstream.contracts.description.asyncapi import document
from captionstream.contracts.description.schemas import MESSAGES
from captionstream.contracts.topics import PARTITIONS, TOPICS, Outsider, Topic
from tests.unit.contracts.records import body_of, files, message_name, name_of

DOCUMENT = document()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from references(part)


def at(reference: str) -> Any:
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_is_a_channel(topic: Topic) -> None:
    """Address, partitions, retention and messages are those of the table; restricted ones are marked."""
    channel = DOCUMENT["channels"][topic.name]
    kafka = channel["bindings"]["kafka"]
    assert (topic.name, topic.name) == (channel["address"], kafka["topic"])
    assert (PARTITIONS, topic.retention_ms) == (
        kafka["partitions"],
        kafka["topicConfiguration"]["retention.ms"],
    )
    assert (["compact", "delete"] if topic.compacted else ["delete"]) == kafka["topicConfiguration"][
        "cleanup.policy"
    ]
    assert [message.__name__ for message in topic.messages] == list(channel["messages"])
    assert topic.restricted is channel["x-restricted"]


def test_operations_are_ours() -> None:
    """We receive what publishers send and send what consumers read; no outsider has an operation."""
    made = {(body["tags"][0]["name"], body["action"], body["channel"]["$ref"].rsplit("/", 1)[-1])
            for body in DOCUMENT["operations"].values()}  # fmt: skip
    sends = {(str(party), "send", topic.name) for topic in TOPICS for party in topic.writers}
    receives = {(str(party), "receive", topic.name) for topic in TOPICS for party in topic.readers}
    assert {row for row in sends | receives if row[0] not in set(Outsider)} == made
    assert {("ingest", "receive", "image-events"), ("safety", "send", "captions")} <= made


def test_read_committed_is_said_where_it_matters() -> None:
    """A reader of answers cannot miss it."""
    assert "read_committed" == DOCUMENT["channels"]["captions"]["x-isolation-level"]
    assert "read_committed" in DOCUMENT["info"]["description"]


def test_every_reference_leads_somewhere() -> None:
    """Nothing outside of the document is needed, and words beside a reference are not lost on draft 7."""
    found = list(references(DOCUMENT))
    assert all(at(reference) for reference in found)
    assert len(found) > 100
    assert {message.__name__ for message in MESSAGES} == set(DOCUMENT["components"]["messages"])


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_every_example_fits_headers_payload_and_key(path: Path) -> None:
    """What an outsider generates from the document takes in what we really wrote."""
    message, body = DOCUMENT["components"]["messages"][message_name(path)], body_of(path)
    schemas = {"components": {"schemas": DOCUMENT["components"]["schemas"]}}
    assert Draft7Validator({**schemas, **message["payload"]}).is_valid(body["value"])
    assert not Draft7Validator({**schemas, "allOf": [message["payload"]]}).is_valid({})
    assert Draft7Validator(message.get("headers", {"maxProperties": 0})).is_valid(body["headers"])
    assert Draft7Validator(message["bindings"]["kafka"]["key"]).is_valid(body["key"])


def test_another_type_in_the_headers_does_not_fit() -> None:
    """The header ce_type tells the message, so it is fixed; of what we write none of the rest may lack."""
    headers = DOCUMENT["components"]["messages"]["CaptionPublished"]["headers"]
    held = next(path for path in files() if message_name(path) == "CaptionHeld")
    assert not Draft7Validator(headers).is_valid(body_of(held)["headers"])
    assert not Draft7Validator(headers).is_valid({"ce_type": headers["properties"]["ce_type"]["const"]})
    assert Draft7Validator(DOCUMENT["components"]["messages"]["ImageSubmitted"]["headers"]).is_valid({})


def test_examples_are_the_recorded_ones() -> None:
    """Every example file is shown, on the message that it is an example of."""
    shown = [
        example for message in DOCUMENT["components"]["messages"].values() for example in message["examples"]
    ]
    assert len(files()) == len(shown)
    assert len(json.dumps(DOCUMENT)) < 200_000
