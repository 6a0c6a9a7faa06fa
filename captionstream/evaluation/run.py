"""A run: the judgements of its sets, saved and read again so that two runs can be compared."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from captionstream.contracts.values import Value
from captionstream.evaluation.judgement import Judgement


class BadRun(Exception):
    """The file is no saved run."""


class Run(Value):
    """What `--save` writes. `made_by` tells two pipelines apart: it is put beside the figures, not compared."""

    format: int = 1
    made_by: str = ""
    half: str = "all"
    sets: dict[str, tuple[Judgement, ...]] = Field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Run:
        """Raises BadRun."""
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as bad:
            why = getattr(bad, "strerror", None) or "no run that `captionstream eval --save` wrote"
            raise BadRun(f"{path}: {why}") from None
