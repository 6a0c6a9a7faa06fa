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
TOLD = ("docs/own-models.md", "deploy/compose.split-models.yml")


def commands(text: str) -> list[list[str]]:
    """The lines of a page's blocks, or of a file's comments, that call the command."""
    lines = re.findall(r"^(?:#   )?captionstream (.+)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


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


def test_a_command_that_is_not_there_is_found() -> None:
    """A verb, an option or a value that does not exist, and an argument too few."""
    told = ("models rendr x y --backend python", "models render x y --back end", "models render x y --backend c",
            "models render x --backend python")  # fmt: skip
    assert [False] * 4 == [taken(shlex.split(line)) for line in told]
