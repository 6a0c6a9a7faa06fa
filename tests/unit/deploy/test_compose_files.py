"""The merge of two compose files that the tests rely on; the examples are those of Compose's own documentation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.deploy.compose_files import filled_in, merged


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"key1": "1", "key2": "2"}, {"key2": "V", "key3": "3"}, {"key1": "1", "key2": "V", "key3": "3"}),
        ({"dns": ["1.1.1.1"]}, {"dns": ["8.8.8.8"]}, {"dns": ["1.1.1.1", "8.8.8.8"]}),
        ({"command": ["echo", "foo"]}, {"command": ["echo", "bar"]}, {"command": ["echo", "bar"]}),
        ({"healthcheck": {"test": ["a"]}}, {"healthcheck": {"test": ["b"]}}, {"healthcheck": {"test": ["b"]}}),
        ({"volumes": ["foo:/work"]}, {"volumes": ["bar:/work"]}, {"volumes": ["bar:/work"]}),
        (
            {"volumes": ["a:/a", "b:/b:ro"]},
            {"volumes": [{"type": "bind", "source": "./c", "target": "/c"}, "b:/b"]},
            {"volumes": ["a:/a", {"type": "bind", "source": "./c", "target": "/c"}, "b:/b"]},
        ),
    ],
)  # fmt: skip
def test_two_files_are_merged_as_compose_merges_them(below: Any, above: Any, expected: Any) -> None:
    """Mappings, lists, commands and mounts each have a rule."""
    assert expected == merged(below, above)


def test_a_variable_is_filled_in_wherever_it_stands() -> None:
    """From the environment, or by its default, which also stands in for an empty value."""
    asked = {"mem_limit": "${M:-5g}", "volumes": [{"source": "${A:-./a}/b"}], "command": ["$$x", 1]}
    assert {"mem_limit": "5g", "volumes": [{"source": "/c/b"}], "command": ["$$x", 1]} == filled_in(
        asked, {"A": "/c", "M": ""}
    )
