"""What the README shows is what lies in the repository."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["publish.py", "consume.py"])
def test_the_scripts_in_the_readme_are_the_ones_that_are_run(name: str) -> None:
    """To the letter, at most twenty lines, and with nothing of ours imported."""
    source = (ROOT / "examples" / name).read_text("utf-8")
    shown = (ROOT / "README.md").read_text("utf-8").split(f"`examples/{name}`:\n```python\n")[1]
    assert source == shown.split("```")[0]
    assert len(source.splitlines()) <= 20
    assert "captionstream" not in {module.split(".")[0] for module in imported(source)}


def imported(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
