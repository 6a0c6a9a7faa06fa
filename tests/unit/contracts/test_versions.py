"""Versions meet on one log: records of the one before are read, and one after does no harm.

`versions/0.1.0` holds records as that release wrote them. They stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.description.schemas import MESSAGES, schema_of
from captionstream.contracts.identity import caption_id
from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.record import Record
from captionstream.contracts.topics import IMAGE_EVENTS, TOPICS
from captionstream.contracts.values import StageName
from captionstream.runtime.advance import Advance
from captionstream.runtime.stage import Delivery
from tests.builders import NOON, record
from tests.unit.contracts.records import (
    EXAMPLES,
    body_of,
    files,
    message_name,
    name_of,
    raw_record,
    record_of,
)

RELEASED = Path(__file__).parent / "versions" / "0.1.0"
SCHEMAS = {message.__name__: schema_of(message) for message in MESSAGES}
UNKNOWN_NAMES = st.sampled_from(["new_id", "Id", "x-1", ""])
JSON_VALUES = st.sampled_from([None, True, -1, 0.5, "", "new", [], [[]], {}, {"id": "other"}])
SUBMITTED = EXAMPLES / "image-events" / "ImageSubmitted-sku-4711-front.json"


# ---------------------------------------------------------------- the version before


@pytest.mark.parametrize("path", files(RELEASED), ids=name_of)
def test_a_record_of_the_released_version_is_read(path: Path) -> None:
    """Every record that 0.1.0 left on a topic is still the message that it was."""
    message = codec.decode(record_of(path))
    assert message_name(path) == type(message).__name__
    kept = json.loads(message.model_dump_json(exclude_none=True))
    assert body_of(path)["value"] == common(kept, body_of(path)["value"])


def common(now: Any, then: Any) -> Any:
    """`now` without the fields that were not there then."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {name: common(part, then[name]) for name, part in now.items() if name in then}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [common(*pair) for pair in zip(now, then, strict=True)]
    return now


def test_the_released_records_are_of_every_type_that_there_was() -> None:
    """Seventeen records of thirteen types on nine topics: none of them was lost or written anew."""
    released = files(RELEASED)
    assert (17, 13, 9) == (
        len(released),
        len({message_name(path) for path in released}),
        len({path.parent.name for path in released}),
    )


@given(st.data())
def test_fields_that_an_older_producer_does_not_know_have_defaults(data: st.DataObject) -> None:
    """Any set of optional fields may be missing, at any depth: what is there is read as ever."""
    path = data.draw(st.sampled_from(files()))
    thinned = thin(body_of(path)["value"], SCHEMAS[message_name(path)], SCHEMAS[message_name(path)], data)
    body = body_of(path)
    message = codec.decode(raw_record(path.parent.name, thinned, body["headers"], body["key"]))
    dumped = json.loads(message.model_dump_json(exclude_none=True))
    assert thinned == common(dumped, thinned)


def thin(value: Any, schema: dict[str, Any], root: dict[str, Any], data: st.DataObject) -> Any:
    """The value without some of its optional fields; an empty choice leaves it whole."""
    schema = resolved(schema, root)
    if isinstance(value, list):
        return [thin(part, schema.get("items", {}), root, data) for part in value]
    if not isinstance(value, dict) or "properties" not in schema or schema["title"] == "ImageReference":
        return value
    optional = sorted(value.keys() - set(schema.get("required", ())))
    gone = data.draw(st.sets(st.sampled_from(optional))) if optional else set()
    return {
        name: thin(part, schema["properties"].get(name, {}), root, data)
        for name, part in value.items()
        if name not in gone
    }


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    return found


# ---------------------------------------------------------------- the version after


@given(st.data())
def test_fields_that_we_do_not_know_do_no_harm(data: st.DataObject) -> None:
    """Wherever a newer producer adds whatever it adds, we read what we know."""
    path = data.draw(st.sampled_from(files()))
    body = body_of(path)
    grown = grow(body["value"], SCHEMAS[message_name(path)], SCHEMAS[message_name(path)], data)
    assert codec.decode(record_of(path)) == codec.decode(
        raw_record(path.parent.name, grown, body["headers"], body["key"])
    )


def grow(value: Any, schema: dict[str, Any], root: dict[str, Any], data: st.DataObject) -> Any:
    """The value with unknown fields in any of its objects; not in maps, where every name is data."""
    schema = resolved(schema, root)
    if isinstance(value, list):
        return [grow(part, schema.get("items", {}), root, data) for part in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    new = data.draw(st.dictionaries(UNKNOWN_NAMES, JSON_VALUES, max_size=2))
    known = {name: grow(part, schema["properties"].get(name, {}), root, data) for name, part in value.items()}
    return {**new, **known}


@pytest.mark.parametrize(
    "changed",
    [{"profile": "poem"}, {"purpose": "artistic"}, {"priority": "yesterday"}, {"image": {"ipfs": "bafy"}}],
    ids=lambda changed: next(iter(changed)),
)
async def test_an_event_that_asks_for_something_new_is_refused_by_name(changed: dict[str, Any]) -> None:
    """A profile that this version does not serve is malformed here; the event keeps its identity and is answered."""
    wanted = codec.decode(record_of(SUBMITTED))
    assert isinstance(wanted, m.ImageSubmitted)
    refused, letter = await handled(StageName.INGEST, record_of(SUBMITTED, **changed))
    assert isinstance(refused, m.Refused) and isinstance(letter, m.DeadLetter)
    assert RefusalReason.MALFORMED is refused.reason
    assert refused.detail.startswith(next(iter(changed)))
    assert (wanted.id, wanted.source, wanted.tenant) == (
        refused.event.id, refused.event.source, refused.event.tenant,
    )  # fmt: skip


def test_an_image_event_is_told_by_its_topic() -> None:
    """A publisher's own ce_type, or a later one of ours, is no reason to refuse: image-events carries one type."""
    headers = {"ce_type": "com.example.picture.taken.v7"}
    assert codec.decode(record_of(SUBMITTED)) == codec.decode(
        raw_record(IMAGE_EVENTS.name, body_of(SUBMITTED)["value"], headers)
    )


@pytest.mark.parametrize(
    "topic", [topic for topic in TOPICS if len(topic.messages) > 1], ids=lambda t: t.name
)
def test_a_type_that_we_do_not_know_is_named(topic: Any) -> None:
    """A reader learns which type it was, and may pass over it."""
    later = raw_record(topic.name, {}, {"ce_type": "io.captionstream.something.new.v9"})
    with pytest.raises(codec.Malformed, match=r"does not carry io\.captionstream\.something\.new\.v9"):
        codec.decode(later)


BEHIND_INGEST = {"images-prepared", "images-encoded", "captions-drafted"}
CARRIED = [
    path for path in files() if path.parent.name in BEHIND_INGEST and message_name(path) != "DraftDelta"
]  # partial text is best effort: what cannot be read of it is passed over


@pytest.mark.parametrize("path", CARRIED, ids=name_of)
async def test_a_message_that_a_stage_cannot_read_costs_no_event_its_answer(path: Path) -> None:
    """While versions differ, a newer stage may write a name that an older one does not know: a stage in the timings,
    a reason, a type. The event that the message is about is refused, and no other one is made up."""
    newer = {"stage": "catalogue", "waited_ms": 1.0, "worked_ms": 1.0}
    event = getattr(codec.decode(record_of(path)), "event")  # noqa: B009
    untyped = replace(record_of(path), headers=(("ce_type", b"io.captionstream.something.new.v9"),))
    for item in (record_of(path, timings=[newer]), untyped):
        refused, letter = await handled(StageName.ENCODER, item)
        assert isinstance(refused, m.Refused) and isinstance(letter, m.DeadLetter)
        assert RefusalReason.MALFORMED is refused.reason
        assert caption_id(event) == caption_id(refused.event) == caption_id(letter.event)
        assert item.value == letter.value


def test_a_reason_that_we_do_not_know_is_named_to_operators() -> None:
    """An older stage refuses the event as malformed itself, and says what it did not know."""
    path = EXAMPLES / "images-prepared" / "Refused.json"
    with pytest.raises(codec.Malformed, match=r"^reason: Input should be"):
        codec.decode(record_of(path, reason="out-of-fashion"))


@pytest.mark.parametrize("path", CARRIED, ids=name_of)
def test_a_record_that_kills_its_worker_is_told_by_its_event(path: Path) -> None:
    """What is refused unseen, behind ingest too, is the event that a publisher waits for."""
    event = getattr(codec.decode(record_of(path)), "event")  # noqa: B009
    refused = [
        codec.decode(record(outgoing))
        for outgoing in Advance(Idle(StageName.ENCODER), clock=lambda: NOON).poisoned(record_of(path), 2)
    ]
    assert [caption_id(event)] * 2 == [caption_id(getattr(message, "event")) for message in refused]  # noqa: B009


async def handled(name: StageName, item: Record) -> list[m.Message]:
    """What a stage that never gets to work makes of a record."""
    return [
        codec.decode(record(outgoing)) async for outgoing in Advance(Idle(name), clock=lambda: NOON)(item)
    ]


class Idle:
    """A stage that must not be asked: what it is given cannot be read."""

    def __init__(self, name: StageName) -> None:
        self.name = name

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        raise AssertionError(f"{type(message).__name__} was read")
        yield message

    def refuse(self, refused: m.Refused) -> tuple[m.Message, ...]:
        return (refused,)
