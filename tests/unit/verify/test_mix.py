"""The soak's load is what it says it is, and its answers are checked."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from PIL import Image

from tests.faults.harness import Report
from tests.verify.conversation import Answered
from tests.verify.mix import MIX, REFUSED, Asked, Kind, Mix, unexpected
from tests.verify.soak import Run, checked


def picture(colour: str = "red") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (60, 40), colour).save(target, "PNG")
    return target.getvalue()


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    """Three rows of twenty."""
    return list(islice(Mix([picture(), picture("blue")], picture("white")), 60))


def answer_to(one: Asked) -> Answered:
    """As it should be."""
    refused = REFUSED.get(one.kind, "")
    return Answered(
        one.event.id, "refused" if refused else "published", "" if refused else one.event.id, refused, "", "",
        one.event.stream_key or "", one.event.sequence or 0, 1.0, {},
    )  # fmt: skip


def answers_to(asked: list[Asked]) -> list[Answered]:
    return [answer_to(one) for one in {one.event.id: one for one in reversed(asked)}.values()][::-1]


def test_every_twenty_events_hold_the_mix(asked: list[Asked]) -> None:
    """Each kind as often as the table says."""
    assert 20 == sum(MIX.values())
    assert MIX == dict(Counter(one.kind for one in asked[20:40]))


def test_repeats_are_repeats(asked: list[Asked]) -> None:
    """An event that was answered before is the very event; a known picture is a new event with equal bytes."""
    for place, one in enumerate(asked[20:], 20):
        earlier = [before.event for before in asked[:place]]
        if one.kind is Kind.SAME_EVENT:
            assert one.event in earlier
        if one.kind is Kind.SAME_PICTURE:
            assert one.event.image in [event.image for event in earlier]
            assert one.event.id not in [event.id for event in earlier]


def test_a_camera_counts_up(asked: list[Asked]) -> None:
    """So that its order can be told from the answers."""
    for key in {one.event.stream_key for one in asked if one.kind is Kind.CAMERA}:
        mine = [one.event.sequence for one in asked if one.kind is Kind.CAMERA if one.event.stream_key == key]
        assert all(before < after for before, after in pairwise(one or 0 for one in mine))


def test_right_answers_are_called_right(asked: list[Asked]) -> None:
    """Refusals included, for what must be refused."""
    answers = answers_to(asked)
    assert Report() == checked(Run(asked, answers, {}, ()))
    by_id = {answer.event_id: answer for answer in answers}
    assert not [wrong for one in asked if (wrong := unexpected(one, by_id[one.event.id]))]


def test_each_kind_of_wrong_answer_is_seen(asked: list[Asked]) -> None:
    """Lost, doubled, of another picture, out of order."""
    right = answers_to(asked)
    camera = [answer for answer in right if answer.stream_key == "camera-1"]
    first, last = right.index(camera[0]), right.index(camera[-1])
    swapped = [*right]
    swapped[first], swapped[last] = right[last], right[first]
    other = [replace(answer, text="another") if answer is camera[0] else answer for answer in right]
    assert (camera[0].event_id,) == checked(Run(asked, [a for a in right if a is not camera[0]], {}, ())).lost
    assert (camera[0].event_id,) == checked(Run(asked, [*right, camera[0]], {}, ())).doubled
    assert (camera[0].event_id,) == checked(Run(asked, other, {}, ())).mixed_up
    assert ("camera-1",) == checked(Run(asked, swapped, {}, ())).out_of_order


def test_a_picture_that_is_refused_is_unexpected(asked: list[Asked]) -> None:
    """And so is a corrupt file that is captioned."""
    camera = next(one for one in asked if one.kind is Kind.CAMERA)
    corrupt = next(one for one in asked if one.kind is Kind.CORRUPT)
    assert "refused" in unexpected(camera, replace(answer_to(camera), outcome="refused", reason="internal"))
    assert "published" in unexpected(corrupt, replace(answer_to(corrupt), outcome="published", reason=""))


def test_a_held_caption_counts_with_what_its_reviewer_reads(asked: list[Asked]) -> None:
    """Its text is not on the answer."""
    camera = next(one for one in asked if one.kind is Kind.CAMERA)
    held = replace(answer_to(camera), outcome="held", text="")
    assert (camera.event.id,) == checked(Run([camera], [held], {}, ())).mixed_up
    assert () == checked(Run([camera], [held], {camera.event.id: camera.event.id}, ())).mixed_up
