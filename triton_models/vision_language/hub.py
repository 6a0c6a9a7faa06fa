"""Checkpoints from a model hub, through huggingface_hub's own client and cache. Runs where huggingface_hub is.

Fetched are safetensors, JSON, tokenizer files, templates and the model card at the top of the repository: no code, no
pickled weights. A branch or a tag is resolved to a commit, and every file compared with the digest that the hub names
for it in that commit, those of an earlier download included.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

FETCHED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "README.md")
BELOW = "*/*"
"""Other forms of the same weights lie in folders of their own."""

Tell = Callable[[int, int], None]
"""How many bytes there are, of all."""


class NotDownloaded(Exception):
    """The text says what to do."""


def is_id(source: str) -> bool:
    """Whether it looks like OWNER/NAME."""
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", source, re.ASCII))


def download(repository: str, revision: str | None, work: Path, tell: Tell) -> Path:
    """The checkpoint at one commit, in a folder of `work` that is named by the commit. Raises NotDownloaded.

    `revision` is a commit, a branch or a tag; None is the hub's main branch. The folder holds links into the cache.
    """
    cached = Path(_snapshot(repository, revision, tell))
    folder = work / cached.name
    folder.mkdir()
    for file in sorted(cached.iterdir()):
        if any(fnmatch(file.name, pattern) for pattern in FETCHED):
            blob = file.resolve()
            check_blob(repository, file.name, blob)
            (folder / file.name).symlink_to(blob)
    return folder


def _snapshot(repository: str, revision: str | None, tell: Tell) -> str:
    from huggingface_hub import errors, snapshot_download

    try:
        found: str = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(FETCHED),
            ignore_patterns=[BELOW],
            tqdm_class=_bar(tell),
        )
    except errors.GatedRepoError as closed:
        why = "asks for consent to its terms on its page, and for HF_TOKEN of who gave it"
        raise NotDownloaded(f"{repository} {why}") from closed
    except errors.RepositoryNotFoundError as missing:
        raise NotDownloaded(f"the hub has no {repository}, or shows it only with HF_TOKEN") from missing
    except errors.RevisionNotFoundError as missing:
        raise NotDownloaded(f"{repository} has no revision {revision}") from missing
    except errors.LocalEntryNotFoundError as away:
        raise NotDownloaded(
            f"the hub does not answer, and {repository} is not in the cache: {_first_line(away)}"
        ) from away
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as failed:
        raise NotDownloaded(
            f"{repository}: {_first_line(failed)}. Add it again: it goes on from here"
        ) from failed
    return found


def check_blob(repository: str, name: str, blob: Path) -> None:
    """A file of the cache is named by what the hub says it is: sha256 of large ones, git's sha1 of others.

    Raises NotDownloaded.
    """
    if blob.name not in (_sha256(blob), _git_sha1(blob)):
        raise NotDownloaded(
            f"{name} of {repository} is not the file that the hub names. Remove {blob} and add it again"
        )


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _git_sha1(file: Path) -> str:
    with file.open("rb") as opened:
        digest = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _bar(tell: Tell) -> type[Any]:
    """What huggingface_hub moves instead of a bar on the screen."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]

    most = 0

    class Bar(tqdm):  # type: ignore[type-arg, misc, unused-ignore]
        def __init__(self, *given: Any, **settings: Any) -> None:
            self.counts_bytes = settings.get("unit") == "B"
            super().__init__(*given, **{**settings, "disable": False, "file": io.StringIO()})

        def display(self, *_given: Any, **_settings: Any) -> None:
            """Bytes arrive at one bar and are put together at another: what counts is the further one."""
            nonlocal most
            if self.counts_bytes and self.total and self.n > most:
                most = self.n
                tell(int(self.n), int(self.total))

    return Bar


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
