"""The model files that Triton serves are the recorded ones, or it is said which one is not."""

from __future__ import annotations

from captionstream.local.installed import MissingPart


def verify() -> int:
    """Read every recorded file; returns how many. Raises `MissingPart` for the first that has changed."""
    from triton_models import repository  # imported late: `setup` asks in the environment that has pydantic

    try:
        return len(repository.verify())
    except (repository.ModelFileChanged, FileNotFoundError) as error:
        raise MissingPart(f"{error}.", "Restore it: `git checkout -- triton_models`.") from error


if __name__ == "__main__":
    try:
        verify()
    except MissingPart as missing:
        raise SystemExit(str(missing)) from None
