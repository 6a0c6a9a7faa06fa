"""No way to consumers but through safety: in the table of topics, in the codec, and in the code."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts import topics as t
from captionstream.contracts.topics import NoSuchRoute, Party, Topic
from captionstream.contracts.values import StageName
from tests.unit.safety.builders import THEN, ZERO, answer, drafted, event, produced, stage

SHOWN = frozenset({"captions", "caption-deltas", "drafts-held"})  # what consumers and reviewers read
ANSWERS = (m.CaptionPublished, m.CaptionHeld, m.CaptionRefused)
WRITTEN_BY_SAFETY = (*ANSWERS, m.CaptionDelta, m.DraftHeld, m.CaptionMarker)
PAST_VALIDATION = {"model_validate", "model_validate_json", "model_construct", "model_copy"}
NAMES = frozenset(message.__name__ for message in WRITTEN_BY_SAFETY)
ROOT = Path(t.__file__).resolve().parents[2]
OTHERS: tuple[Party, ...] = (
    *(name for name in StageName if name is not StageName.SAFETY),
    *t.Watcher,
    *t.Outsider,
)


def leaks(table: Iterable[Topic]) -> list[str]:
    """Every row that lets text reach a reader without safety."""
    found = []
    for row in table:
        carries = any(message in WRITTEN_BY_SAFETY for message in row.messages)
        if (row.name in SHOWN or carries) and row.writers != (StageName.SAFETY,):
            found.append(f"{row.name} is written by {', '.join(row.writers)}")
        unchecked = {m.DraftDelta, m.CaptionDrafted} & set(row.messages)
        if unchecked and (row.readers != (StageName.SAFETY,) or not row.restricted):
            found.append(f"{row.name} carries unchecked text to {', '.join(row.readers)}")
    return found


def test_only_safety_writes_what_consumers_read() -> None:
    """The table of topics has no other writer, and unchecked text has no other reader."""
    assert [] == leaks(t.TOPICS)
    assert SHOWN <= {row.name for row in t.TOPICS}


def test_who_watches_writes_to_operators_alone() -> None:
    """The monitor's topics carry counts and ids; nobody else reads them, and it has no other topic to write to."""
    written = [row for row in t.TOPICS if t.Watcher.MONITOR in row.writers]
    assert ["caption-rates", "alerts"] == [row.name for row in written]
    assert all((t.Watcher.MONITOR,) == row.writers for row in written)
    assert {t.Watcher.MONITOR, t.Outsider.OPERATORS} == {reader for row in written for reader in row.readers}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (replace(t.CAPTIONS, writers=(StageName.SAFETY, StageName.GENERATOR)), "captions is written by"),
        (replace(t.CAPTION_DELTAS, writers=(StageName.GENERATOR,)), "caption-deltas is written by"),
        (replace(t.IMAGES_ENCODED, messages=(m.CaptionPublished,)), "images-encoded is written by"),
        (replace(t.CAPTIONS_DRAFTED, readers=(t.Outsider.CONSUMERS,)), "carries unchecked text to consumers"),
        (replace(t.CAPTIONS_DRAFTED, restricted=False), "carries unchecked text"),
    ],
)
def test_a_wrong_row_in_the_table_is_noticed(wrong: Topic, said: str) -> None:
    """The control of the test above: one deliberately wrong row makes it fail."""
    table = [wrong if row.name == wrong.name else row for row in t.TOPICS]
    assert [said] == [said for leak in leaks(table) if said in leak]


@pytest.mark.parametrize("writer", OTHERS)
async def test_the_codec_lets_nobody_else_write_an_answer(writer: Party) -> None:
    """A stage that tried would stop with NoSuchRoute, not publish."""
    for message in await one_of_each():
        with pytest.raises(NoSuchRoute):
            codec.encode(message, writer)


async def test_the_codec_lets_safety_write_them() -> None:
    """The control: the same messages, from safety, have a topic each."""
    written = {codec.encode(message, StageName.SAFETY).topic for message in await one_of_each()}
    assert SHOWN == written


async def one_of_each() -> list[m.Message]:
    """Real messages of every type that safety writes for readers, made by the safety stage itself."""
    refused = m.Refused(
        event=event(), event_digest=ZERO, accepted_at=THEN, stage=StageName.INGEST,
        reason=m.RefusalReason.INTERNAL,
    )  # fmt: skip
    held = await produced(stage(), drafted("A blind man."))
    made = [await answer(stage(), drafted("A dog.")), *stage().refuse(refused), *held]
    assert set(WRITTEN_BY_SAFETY) - {m.CaptionMarker} == {type(message) for message in made}
    return made


# ---------------------------------------------------------------- the code


def builds(source: str) -> Iterator[str]:
    """Names of answers that the code calls, in whatever way they were imported, aliases included."""
    tree = ast.parse(source)
    aliases = {
        (name.asname or name.name): name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr in PAST_VALIDATION:
                called = called.value
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if aliases.get(name, name) in NAMES:
                yield aliases.get(name, name)


def code_outside_safety() -> list[Path]:
    """All that runs in services and the shared package, save safety and the contracts with the types."""
    files = [*(ROOT / "services").rglob("*.py"), *(ROOT / "captionstream").rglob("*.py")]
    apart = (ROOT / "services" / "safety", ROOT / "captionstream" / "contracts")
    return [file for file in files if not any(folder in file.parents for folder in apart)]


def test_no_code_but_that_of_safety_builds_an_answer() -> None:
    """Neither a service nor the runtime makes a message that consumers would take for one of safety's."""
    built = {file.relative_to(ROOT): list(builds(file.read_text("utf-8"))) for file in code_outside_safety()}
    assert {} == {str(file): names for file, names in built.items() if names}
    assert len(code_outside_safety()) > 20


@pytest.mark.parametrize(
    "source",
    [
        "from captionstream.contracts.messages import CaptionPublished\nCaptionPublished(text='x')",
        "from captionstream.contracts.messages import CaptionHeld as H\nH(reason='x')",
        "from captionstream.contracts import messages as m\nm.CaptionDelta(text='x')",
        "from captionstream.contracts import messages as m\nm.CaptionRefused.model_construct(detail='x')",
    ],
)
def test_code_that_builds_an_answer_is_noticed(source: str) -> None:
    """The control of the scan: direct, renamed, by module, or past validation."""
    assert list(builds(source))


def test_safety_itself_is_found_by_the_scan() -> None:
    """The scan sees real code: safety's stage builds every kind of answer."""
    source = (ROOT / "services" / "safety" / "stage.py").read_text("utf-8")
    assert NAMES - {"CaptionMarker"} == set(builds(source))
