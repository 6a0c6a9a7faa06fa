"""`captionstream lineup check`: who would write, told before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from captionstream.cli.lineup import lineup

EXAMPLES = Path(__file__).parents[3] / "examples" / "lineups"


def check(*words: str) -> Result:
    return CliRunner().invoke(lineup, ["check", *words])


def cells(result: Result) -> list[list[str]]:
    """The table's rows, as far as they stand on one line."""
    lines = [line for line in result.stdout.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@pytest.mark.parametrize("name", ["local", "smolvlm", "qwen", "managed"])
def test_every_example_is_a_lineup(name: str) -> None:
    """There is no other file among them, and each gives all four profiles an engine."""
    assert {"local", "smolvlm", "qwen", "managed"} == {file.stem for file in EXAMPLES.glob("*")}
    result = check(str(EXAMPLES / f"{name}.yaml"))
    assert 0 == result.exit_code, result.stderr
    profiles = {row[0] for row in cells(result) if row[0]}
    assert {"alt", "product", "editorial", "inspection"} == profiles
    assert not [row for row in cells(result) if row[3].startswith("plain")]


def test_a_tenant_gets_the_engines_that_its_rule_allows() -> None:
    """Read from the example for managed APIs: pixels, text, nothing."""
    rows = cells(check(str(EXAMPLES / "managed.yaml")))
    first = {row[1]: (row[2], row[3].split()[0]) for row in rows if row[0] == "alt"}
    assert {
        "acme": ("pixels", "managed-eye"),
        "shop": ("text", "managed-words"),
        "any other": ("nothing", "llm"),
    } == first


def test_what_is_missing_or_late_changes_the_answer() -> None:
    """No picture, little time, no visual tokens."""
    file = str(EXAMPLES / "managed.yaml")
    acme = [
        next(row[3].split()[0] for row in cells(check(file, *words)) if row[:2] == ["alt", "acme"])
        for words in ((), ("--no-picture",), ("--left", "3.5"), ("--left", "2"))
    ]
    assert ["managed-eye", "managed-words", "managed-words", "llm"] == acme
    assert "plain" == cells(check(str(EXAMPLES / "smolvlm.yaml"), "--no-visual"))[0][3]


def test_without_a_file_it_shows_what_a_generator_does_by_itself() -> None:
    """The language half of what was seen, then the language model of the settings."""
    assert "split (strict) → llm (strict) → plain" == cells(check())[0][3]


def test_a_wrong_file_ends_with_its_line(tmp_path: Path) -> None:
    """Exit code 2: wrong use."""
    file = tmp_path / "lineup.yaml"
    file.write_text("routes:\n  - engine: nobody\n")
    result = check(str(file))
    assert 2 == result.exit_code
    assert f"{file}:2: unknown engine `nobody`; known are plain" in result.stderr


def test_a_language_that_is_no_tag_is_wrong_use() -> None:
    """Said in the words of the option."""
    result = check("--lang", "12")
    assert (2, True) == (result.exit_code, "--lang 12" in result.stderr)
