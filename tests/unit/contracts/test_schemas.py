"""The JSON Schemas say what the models say, and are kept in step with them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from captionstream.cli.app import app
from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.description.documents import differences, documents, write
from captionstream.contracts.description.schemas import MESSAGES, identifier, schema_of
from captionstream.contracts.description.words import REASONS
from captionstream.contracts.topics import IMAGE_EVENTS
from captionstream.contracts.values import INLINE_IMAGE_LIMIT, Profile
from tests.unit.contracts.records import body_of, files, message_name, name_of, raw_record

DOCS = Path(__file__).resolve().parents[3] / "docs" / "contracts"
VALIDATORS = {
    message.__name__: Draft202012Validator(
        schema_of(message), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    for message in MESSAGES
}
SUBMITTED = VALIDATORS["ImageSubmitted"]


def places(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all fields of a JSON value."""
    inside = value.items() if isinstance(value, dict) else ()
    return [place for name, part in inside for place in [(*at, name), *places(part, (*at, name))]]


def altered(value: Any, place: tuple[str, ...], new: Any) -> Any:
    if not place:
        return new
    return {**value, place[0]: altered(value[place[0]], place[1:], new)}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_every_message_has_a_schema_of_its_own(message: type[m.Message]) -> None:
    """It is JSON Schema 2020-12, has an id of its own, and says what the message is."""
    schema = schema_of(message)
    Draft202012Validator.check_schema(schema)
    assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"]
    assert (identifier(message), message.__name__) == (schema["$id"], schema["title"])
    assert schema["description"]
    assert len(MESSAGES) == len({schema_of(other)["$id"] for other in MESSAGES})


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_every_example_is_valid(path: Path) -> None:
    """What we really wrote fits the schema of its type, whichever topic it lay on."""
    assert [] == [
        error.message for error in VALIDATORS[message_name(path)].iter_errors(body_of(path)["value"])
    ]


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_a_broken_example_is_not(path: Path) -> None:
    """Each needed field counts, and so does the kind of every field: nothing there is a list of lists."""
    value, validator = body_of(path)["value"], VALIDATORS[message_name(path)]
    for name in validator.schema["required"]:
        assert not validator.is_valid({key: part for key, part in value.items() if key != name}), name
    kinds = [place for place in places(value) if place[0] in validator.schema["properties"]]
    passed = {".".join(place) for place in kinds if validator.is_valid(altered(value, place, [[[]]]))}
    assert set() == passed
    assert kinds


def event(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "image": {"url": "https://shop.example/a.jpg"}, **fields}


def taken(body: Any) -> bool:
    """Whether the codec takes the body for an image event."""
    try:
        codec.decode(raw_record(IMAGE_EVENTS.name, body, {}))
    except codec.Malformed:
        return False
    return True


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        (event(), True),
        (event(brand_new=1), True),
        (event(context=None), False),
        (event(human_text=None), True),
        (event(image={}), False),
        (event(image={"url": None}), False),
        (event(image={"url": "https://a", "object_key": None}), True),
        (event(image={"url": "https://a", "object_key": "b"}), False),
        (event(image={"inline": base64.b64encode(b"\xfb\xff").decode()}), True),
        (event(image={"inline": base64.urlsafe_b64encode(b"\xfb\xff").decode()}), True),
        (event(image={"inline": "no base64!"}), False),
        (event(id=""), False),
        (event(id="a" * 257), False),
        (event(profile="poem"), False),
        (event(revision=-1), False),
        (event(deadline_s=0), False),
        (event(language="../etc"), False),
        ([], False),
        ({"image": {"url": "https://a"}}, False),
    ],
)
def test_schema_and_codec_agree_about_image_events(body: Any, valid: bool) -> None:
    """A publisher who validates before sending is not refused as malformed, and the reverse."""
    assert (valid, valid) == (SUBMITTED.is_valid(body), taken(body))


def test_the_limit_of_inline_bytes_is_the_same_in_base64() -> None:
    """JSON Schema counts letters, we count bytes: the largest picture is valid and a larger one is not."""
    for size, valid in ((INLINE_IMAGE_LIMIT, True), (INLINE_IMAGE_LIMIT + 3, False)):
        body = event(image={"inline": base64.b64encode(bytes(size)).decode()})
        assert (valid, valid) == (SUBMITTED.is_valid(body), taken(body))


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.text(max_size=4), st.sampled_from(list(Profile)),
    st.lists(st.text(max_size=3), max_size=2), st.dictionaries(st.sampled_from(["url", "inline"]), st.text(max_size=5)),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(m.ImageSubmitted.model_fields)), ODD))
def test_what_the_schema_lets_pass_the_codec_takes(fields: dict[str, Any]) -> None:
    """Whatever stands in whichever field: a valid body is never malformed."""
    body = event(**fields)
    if SUBMITTED.is_valid(body) and "captured_at" not in fields:  # formats of times are not asserted
        assert taken(body)


def test_bytes_say_how_they_are_written() -> None:
    """Publishers may use either alphabet of base64; ours is the URL-safe one, and says so."""
    sent = SUBMITTED.schema["$defs"]["ImageReference"]["properties"]["inline"]["anyOf"][0]
    written = VALIDATORS["DeadLetter"].schema["properties"]["value"]
    assert ("base64", "base64url") == (sent["contentEncoding"], written["contentEncoding"])
    letter = next(path for path in files() if message_name(path) == "DeadLetter")
    assert b"broken" == base64.urlsafe_b64decode(body_of(letter)["value"]["key"])


def test_what_we_write_holds_no_null() -> None:
    """A reader need not ask for null in anything that comes from us."""
    assert "null" not in json.dumps([schema_of(m.CaptionPublished), schema_of(m.DeadLetter)])


def test_every_reason_of_a_refusal_is_explained() -> None:
    """In the order in which the models name them, a sentence each."""
    assert list(m.RefusalReason) == list(REASONS)
    assert all(meaning.endswith(".") for meaning in REASONS.values())


def test_the_documents_in_the_repository_are_up_to_date() -> None:
    """If this fails: run `captionstream contracts write`."""
    assert [] == differences(DOCS, documents()), "run `captionstream contracts write`"


def test_a_document_that_is_out_of_date_is_noticed_and_put_right(tmp_path: Path) -> None:
    """A changed, a missing and a superfluous document: one call writes what is needed and no more."""
    write(tmp_path)
    (tmp_path / "asyncapi.json").write_text("{}")
    (tmp_path / "schemas" / "CaptionHeld.json").unlink()
    (tmp_path / "schemas" / "Gone.json").write_text("{}")
    stale = ["asyncapi.json", "schemas/CaptionHeld.json", "schemas/Gone.json"]
    assert stale == differences(tmp_path, documents())
    assert stale == write(tmp_path)
    assert [] == write(tmp_path)


def test_check_says_for_each_line_what_is_wrong() -> None:
    """Line, field, reason and the nearest name; the exit code tells a program."""
    lines = [
        json.dumps(event()), "", '{"id": "a"', json.dumps(event(profile="prodct", tenat="x")),
        json.dumps({"id": "a", "image": {"ulr": "x"}}),
    ]  # fmt: skip
    done = CliRunner().invoke(app, ["contracts", "check", "-"], input="\n".join(lines))
    said = done.stdout.splitlines()
    assert 1 == done.exit_code
    assert "1 of 4 are image events" == done.stderr.strip()
    assert [3, 4, 4, 5, 5] == [int(line.split(":")[1]) for line in said]
    assert said[1].endswith("the nearest is product")
    assert said[2].endswith("tenat is ignored; the nearest is tenant")
    assert said[4].endswith("image.ulr is ignored; the nearest is url")
    assert 0 == CliRunner().invoke(app, ["contracts", "check", "-"], input=lines[0]).exit_code


def test_show_prints_the_schema_and_helps_with_a_name() -> None:
    """The schema on stdout; a mistyped name is answered with the nearest."""
    shown = CliRunner().invoke(app, ["contracts", "show", "CaptionPublished"])
    assert schema_of(m.CaptionPublished) == json.loads(shown.stdout)
    wrong = CliRunner().invoke(app, ["contracts", "show", "CaptionPublishd"])
    assert 2 == wrong.exit_code
    assert "the nearest is CaptionPublished;" in wrong.stderr
