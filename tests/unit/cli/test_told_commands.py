"""What pages and files tell a user to type is what the command takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from captionstream.cli.app import app
from captionstream.cli.options import Exit

ROOT = Path(__file__).parents[3]
TOLD = ("docs/own-models.md", "deploy/compose.split-models.yml", "README.md")


def commands(text: str) -> list[list[str]]:
    """The lines of a page's blocks, or of a file's comments, that call the command; and the cells of its tables."""
    lines = re.findall(r"^(?:#   )?captionstream (.+)$", text, re.MULTILINE)
    rows = re.findall(r"^\|.*$", text, re.MULTILINE)
    cells = [cell for row in rows for cell in re.findall(r"`captionstream ([^`]+)`", row)]
    return [shlex.split(line, comments=True) for line in (*lines, *cells)]


def taken(words: list[str]) -> bool:
    """Whether a command is there that takes these options and arguments; nothing is run."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands.get(name)
    try:
        return command is not None and bool(command.make_context(command.name, words))
    except Exception as refused:  # typer names no class of its own for wrong use
        if getattr(refused, "exit_code", None) != Exit.USAGE:
            raise
        return False


@pytest.mark.parametrize("file", TOLD)
def test_every_command_that_is_told_is_taken(file: str) -> None:
    """Verbs, options, arguments and their values."""
    found = commands((ROOT / file).read_text("utf-8"))
    assert len(found) >= 3
    assert [] == [words for words in found if not taken(words)]


def test_readme_promotes_a_model_by_its_name() -> None:
    """Without one it would be the canary, and who has just added a first model has none."""
    found = commands((ROOT / "README.md").read_text("utf-8"))
    assert [3, 3] == [len(words) for words in found if words[:2] == ["models", "promote"]]


def test_a_command_that_is_not_there_is_found() -> None:
    """A verb, an option or a value that does not exist, and an argument too few."""
    told = ("models rendr x y --backend python", "models render x y --back end", "models render x y --backend c",
            "models render x --backend python")  # fmt: skip
    assert [False] * 4 == [taken(shlex.split(line)) for line in told]
