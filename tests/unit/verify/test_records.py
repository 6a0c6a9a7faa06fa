"""A step that is done is not done again; one that was broken off goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verify.records import Options, Records, Result
from tests.verify.steps import Step, do

FIVE: Options = {"pictures": 5}


def records(home: Path, commit: str = "one", any_commit: bool = False) -> Records:
    return Records(home, commit, any_commit)


def step_that(*outcomes: Result | BaseException) -> tuple[Step, list[Path]]:
    """A step that does these one after the other, and the folders that it was given."""
    left, folders = list(outcomes), list[Path]()

    async def work(folder: Path, options: Options, records: Records) -> Result:
        folders.append(folder)
        outcome = left.pop(0)
        if isinstance(outcome, BaseException):
            (folder / "half").write_text("of the work")
            raise outcome
        return {**outcome, "went_on": (folder / "half").exists()}

    return Step("pictures", "a test", ("pictures",), work), folders


def test_a_step_is_done_once_for_a_commit(tmp_path: Path) -> None:
    """The second call reads the record of the first."""
    step, folders = step_that({"found": 1})
    first = do(step, FIVE, records(tmp_path), again=False)
    assert first == do(step, FIVE, records(tmp_path), again=False)
    assert 1 == len(folders)


@pytest.mark.parametrize(
    ("commit", "options", "again"),
    [("two", FIVE, False), ("one", {"pictures": 6}, False), ("one", FIVE, True)],
)
def test_it_is_done_again_for_another_commit_or_question(
    tmp_path: Path, commit: str, options: Options, again: bool
) -> None:
    """And when one says so."""
    step, _ = step_that({"found": 1}, {"found": 2})
    do(step, FIVE, records(tmp_path), again=False)
    assert 2 == do(step, options, records(tmp_path, commit), again).result["found"]


def test_any_commit_takes_what_is_there(tmp_path: Path) -> None:
    """A change of a page of text needs no hour of proof."""
    step, _ = step_that({"found": 1})
    do(step, FIVE, records(tmp_path), again=False)
    assert 1 == do(step, FIVE, records(tmp_path, "two", any_commit=True), again=False).result["found"]


def test_a_step_that_was_broken_off_goes_on_in_its_folder(tmp_path: Path) -> None:
    """No record says that it was done, and its time adds up."""
    step, folders = step_that(KeyboardInterrupt(), {"found": 1})
    with pytest.raises(KeyboardInterrupt):
        do(step, FIVE, records(tmp_path), again=False)
    assert records(tmp_path).read("pictures") is None
    before = float((folders[0] / "seconds").read_text())
    over = do(step, FIVE, records(tmp_path), again=False)
    assert over.result["went_on"]
    assert over.took_s >= round(before, 1)


def test_another_commit_begins_with_an_empty_folder(tmp_path: Path) -> None:
    """Halves of two programs are no proof of either."""
    step, _ = step_that(KeyboardInterrupt(), {"found": 1})
    with pytest.raises(KeyboardInterrupt):
        do(step, FIVE, records(tmp_path), again=False)
    assert not do(step, FIVE, records(tmp_path, "two"), again=False).result["went_on"]


def test_a_record_names_no_machine(tmp_path: Path) -> None:
    """What is committed says how large it was, not whose."""
    step, _ = step_that({"found": 1})
    record = do(step, FIVE, records(tmp_path), again=False)
    assert {"cores", "processor", "memory_gib", "system"} == set(record.machine)
    assert str(tmp_path) not in (tmp_path / "pictures.json").read_text()
