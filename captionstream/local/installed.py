"""Where the installed parts of a local stack are, and what is said when one is missing.

Only the standard library is used here: `setup` runs before any package is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class MissingPart(Exception):
    """A part that the stack needs is not on this machine. `fix` says how to get it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what} {fix}")
        self.what = what
        self.fix = fix


SETUP = "Run `make setup`."


@dataclass(frozen=True)
class Installed:
    """The folder that `make setup` fills; nothing in it is a state of a running stack."""

    home: Path
    source: Path

    @classmethod
    def here(cls) -> Installed:
        """The parts that belong to this copy of the source."""
        source = Path(__file__).resolve().parents[2]
        return cls(home=source / ".captionstream", source=source)

    @property
    def requirements(self) -> Path:
        return self.source / "requirements"

    @property
    def venv(self) -> Path:
        return self.source / ".venv"

    @property
    def stamps(self) -> Path:
        return self.home / "stamps"

    @property
    def kafka_jars(self) -> Path:
        return self.home / "kafka" / "jars"

    @property
    def triton_venv(self) -> Path:
        return self.home / "triton-venv"

    @property
    def language_model_venv(self) -> Path:
        return self.home / "llm-venv"

    @property
    def models_venv(self) -> Path:
        """torch and transformers, for export, parity and the reference engine; the services never use it."""
        return self.home / "models-venv"

    @property
    def photographs(self) -> Path:
        """Packages that carry photographs, for the demo and the tests; nothing of theirs is imported."""
        return self.home / "photographs"


def site_packages(venv: Path) -> Path:
    """The folder of a Python 3.11 environment that holds its packages."""
    return venv / "lib" / "python3.11" / "site-packages"
