"""The whole on real parts, driven as a user drives it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from captionstream.runtime.asking import ask
from captionstream.runtime.kafka_log import KafkaLog
from tests.faults.harness import Report, check, seen_of
from tests.stack.coded_pictures import code, coded_event, coded_picture
from tests.stack.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

PICTURES = int(os.environ.get("CAPTIONSTREAM_TEST_PICTURES", "60"))
KEYS = {
    "event_id", "source", "outcome", "text", "language", "profile", "confidence", "hedged", "abstained",
    "caption_id", "reason", "scene", "evidence", "choice", "usage", "timings",
}  # fmt: skip


async def test_every_picture_gets_its_own_caption_once_and_in_order(stack: Stack, photographs: Path) -> None:
    """Codes drawn into the pixels of sixty real pictures come back on the right captions, in order per camera."""
    events = [coded_event(photographs, number, "full") for number in range(PICTURES)]
    log = KafkaLog(stack.kafka)
    answers = [seen_of(answer) async for answer in ask(log, events, 400)]
    await log.close()
    assert Report() == check(events, answers)


def test_submit_prints_one_line_an_event(stack: Stack, photographs: Path, tmp_path: Path) -> None:
    """Files in, one JSON object each out, with the documented keys, also for what is no picture."""
    (tmp_path / "good.jpg").write_bytes(coded_picture(photographs, 700))
    (tmp_path / "bad.jpg").write_bytes(b"this is no picture")
    lines = stack.lines("submit", str(tmp_path), "--wait", "-o", "jsonl")
    found = {Path(str(line["source"])).name: line for line in lines}
    assert {"good.jpg", "bad.jpg"} == set(found)
    assert all(KEYS == set(line) for line in lines)
    assert code(700) in str(found["good.jpg"]["text"])
    assert ("refused", None) == (found["bad.jpg"]["outcome"], found["bad.jpg"]["text"])
    assert "undecodable" in str(found["bad.jpg"]["reason"])


def test_caption_and_submit_say_the_same_of_a_picture(
    stack: Stack, photographs: Path, tmp_path: Path
) -> None:
    """The embedded pipeline is the same pipeline: same keys, same scene, same subject."""
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(coded_picture(photographs, 39))
    [here] = stack.lines("submit", str(picture), "--wait", "-o", "jsonl")
    done = stack.run("caption", str(picture), "-o", "jsonl")
    there = json.loads(done.stdout)
    assert set(here) == set(there)
    assert [thing["noun"] for thing in there["scene"]["things"]] == [
        thing["noun"] for thing in here["scene"]["things"]
    ]  # type: ignore[index]


def test_status_names_every_process(stack: Stack) -> None:
    """A list, one object a process, all ready."""
    parts = json.loads(stack.run("status", "-o", "json").stdout)
    services = {"ingest", "encoder", "generator", "safety", "monitor"}
    assert {"kafka", "triton", "language-model"} | services == {part["role"] for part in parts}
    assert {"ready"} == {part["state"] for part in parts}
    assert {"role", "slot", "pid", "port", "state", "since", "restarts"} <= set(parts[0])


def test_dead_letters_keep_what_broke(stack: Stack, tmp_path: Path) -> None:
    """What was refused for a defect of the picture is listed and can be shown with its bytes."""
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    [line] = stack.lines("submit", str(tmp_path / "broken.png"), "--wait", "-o", "jsonl")
    listed = stack.run("dead-letters", "list")
    shown = json.loads(stack.run("dead-letters", "show", str(line["event_id"])).stdout)
    assert str(line["event_id"]) in listed.stdout
    assert ("ingest", "undecodable", "image-events") == (shown["stage"], shown["reason"], shown["topic"])


def test_watch_replays_a_topic(stack: Stack, photographs: Path, tmp_path: Path) -> None:
    """A replay from the start ends at the present end and contains the answer."""
    (tmp_path / "again.jpg").write_bytes(coded_picture(photographs, 800))
    [line] = stack.lines("submit", str(tmp_path / "again.jpg"), "--wait", "-o", "jsonl")
    seen = stack.lines("watch", "captions", "--from", "start", "--no-follow", "-o", "jsonl")
    assert line["caption_id"] in {record["message"]["caption_id"] for record in seen}  # type: ignore[index]


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "/no/such/file.jpg"),
        ("submit", "x.jpg", "--lang", "../etc"),
        ("watch", "no-such-topic"),
        ("watch", "captions", "--from", "yesterday"),
        ("up", "--replicas", "cook=2"),
        ("dead-letters", "show", "nobody"),
    ],
)
def test_wrong_use_is_one_clear_sentence(stack: Stack, arguments: tuple[str, ...]) -> None:
    """No traceback, nothing on stdout, and an exit code that is not 0."""
    done = stack.run(*arguments)
    assert done.returncode in (1, 2)
    assert "" == done.stdout
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) <= 8
