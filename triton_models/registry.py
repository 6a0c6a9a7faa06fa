"""The split models that are ready to serve, and which of them the names `production` and `canary` stand for.

<models>/<name>-<digest12>/   halves.json  vision/  language/   as `vision_language.halves` writes them
                              serving/     the decoder of the engine without torch, where its class has one
                              parity.json  card.html  ready.json (written last)
<models>/aliases.json         replaced in one step

A model is named by the sha256 of its `halves.json`, and never changes once it is ready. Only a name may come to stand
for another model, so that promoting one and going back are changes of a pointer. No torch.

RegistryError           what is wrong, and what to do about it
├── NotThere            no ready model has that digest or name
├── AmbiguousName       several have
├── AlreadyThere        a model of that digest is there
├── StillNamed          a model that an alias stands for is not removed
├── AliasesBroken       aliases.json cannot be read
└── ModelChanged        a file of a ready model is gone, changed or added
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from captionstream.contracts.identity import caption_id, sha256_hex
from captionstream.contracts.messages import Event
from captionstream.contracts.values import ModelReference, Score, Sha256
from triton_models.vision_language import halves
from triton_models.vision_language.checkpoint import CheckpointFile, names_in, recorded
from triton_models.vision_language.halves import Halves, HalvesChanged

ALIASES, READY, PARITY, CARD, SERVING = "aliases.json", "ready.json", "parity.json", "card.html", "serving"
ADDING, REMOVED = ".adding-", ".removed-"
NAMED = "vlm_"
"""How a split model's name on Triton begins."""
SHOWN = 12
"""Digits of a digest that name a folder, a model of Triton, and a model to people."""

_log = logging.getLogger(__name__)


class RegistryError(Exception):
    """The text says what to do."""


class NotThere(RegistryError):
    pass


class AmbiguousName(RegistryError):
    pass


class AliasesBroken(RegistryError):
    pass


class StillNamed(RegistryError):
    pass


class AlreadyThere(RegistryError):
    pass


class ModelChanged(RegistryError):
    """`folder` is not what was proved."""

    def __init__(self, folder: Path, what: str) -> None:
        again = f"`captionstream models remove {folder.name}`, then add it again"
        super().__init__(f"{folder}: {what}. It is not what was proved: {again}")
        self.folder = folder


class Ready(BaseModel):
    """That a model was proved. `digest` is of its halves.json; `files` are those beside the halves."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    digest: Sha256
    source: str
    files: tuple[CheckpointFile, ...]


@dataclass(frozen=True)
class SplitModel:
    """One model that is ready. `digest` is the sha256 of its halves.json."""

    folder: Path
    halves: Halves
    digest: str
    ready: Ready

    @property
    def name(self) -> str:
        return self.ready.name

    @property
    def triton_name(self) -> str:
        return triton_name(self.folder)

    @property
    def graph(self) -> Path:
        return halves.graph_file(self.folder)

    @property
    def language(self) -> Path:
        return self.folder / "language"

    @property
    def serving(self) -> Path:
        """Of the engine without torch; see `servable`."""
        return self.folder / SERVING

    @property
    def servable(self) -> bool:
        """Whether its class has a decoder for the engine without torch; the reference engine takes every model."""
        return any(file.name.startswith(f"{SERVING}/") for file in self.ready.files)

    @cached_property
    def reference(self) -> ModelReference:
        """As messages name it. The version is the commit it was published as."""
        revision = self.halves.source.revision
        version = revision if re.fullmatch(r"[0-9a-f]{40}", revision) else "local"
        return ModelReference(name=self.name, version=version, digest=self.digest)

    def check(self) -> int:
        """Reads every file again; returns how many there are. Raises ModelChanged for the first that differs."""
        open_model(self.folder)
        try:
            found = halves.open_halves(self.folder).files
        except HalvesChanged as changed:
            raise ModelChanged(self.folder, str(changed).removeprefix(f"{self.folder}: ")) from changed
        beside = beside_halves(self.folder)
        if beside != self.ready.files:
            raise ModelChanged(
                self.folder, ", ".join(sorted({f.name for f in {*beside} ^ {*self.ready.files}}))
            )
        return len(found) + len(beside)


def write_ready(folder: Path, name: str, source: str) -> Ready:
    """Marks the model in `folder` as ready. `source` says where it came from; everything else is there already."""
    digest = sha256_hex((folder / halves.FACTS).read_bytes())
    ready = Ready(name=name, digest=digest, source=source, files=beside_halves(folder))
    replace(folder / READY, ready.model_dump_json(indent=1).encode())
    return ready


def triton_name(folder: Path) -> str:
    """As Triton serves the model of that folder."""
    return f"{NAMED}{_digest_shown(folder)}"


def folder_name(name: str, digest: str) -> str:
    return f"{name}-{digest[:SHOWN]}"


def beside_halves(folder: Path) -> tuple[CheckpointFile, ...]:
    """Every file of a model that is not of its halves, which have their digests in halves.json, nor the mark itself."""
    known = tuple(f"{half}/" for half in halves.FOLDERS)
    names = (name for name in names_in(folder) if not name.startswith(known))
    return tuple(recorded(folder, name) for name in names if name not in (halves.FACTS, READY))


class Aliases(BaseModel):
    """Which models the names stand for. `history` are earlier productions, the latest last."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    production: Sha256 | None = None
    canary: Sha256 | None = None
    share: Score = 0.1
    history: tuple[Sha256, ...] = ()

    def chosen(self, event: Event) -> Sha256 | None:
        """The digest of the model that looks at this event's picture: always the same for the same aliases.

        A canary takes the events whose place on a scale from 0 to 1, told by their identity alone, is below its
        share; a larger share adds events and takes none away.
        """
        if self.canary is not None and place(event) < self.share:
            return self.canary
        return self.production

    def promoted(self) -> Aliases:
        """The canary is the new production. Raises NotThere without one."""
        if self.canary is None:
            raise NotThere("there is no canary; name one with `captionstream models promote NAME`")
        return self.producing(self.canary)

    def producing(self, digest: Sha256) -> Aliases:
        """With that model as production, and as no canary any more."""
        canary = None if self.canary == digest else self.canary
        if self.production == digest:
            return self.model_copy(update={"canary": canary})
        before = (*self.history, self.production) if self.production else self.history
        return self.model_copy(update={"production": digest, "canary": canary, "history": before})

    def trying(self, digest: Sha256, share: float) -> Aliases:
        """With that model as canary. Raises NotThere for the production itself: there is nothing to try."""
        if digest == self.production:
            raise NotThere("that model is production already; a canary is another one")
        return self.model_copy(update={"canary": digest, "share": share})

    def rolled_back(self) -> Aliases:
        """The production before this one, or none where no earlier one is left. Raises NotThere without one now."""
        if self.production is None:
            raise NotThere("there is no production, so there is nothing to go back to")
        previous = self.history[-1] if self.history else None
        canary = None if self.canary == previous else self.canary
        changed = {"production": previous, "canary": canary, "history": self.history[:-1]}
        return self.model_copy(update=changed)

    def untried(self) -> Aliases:
        """Without a canary."""
        return self.model_copy(update={"canary": None})

    def without(self, digest: str) -> Aliases:
        """That model is not gone back to. The beginning of its digest is enough."""
        kept = tuple(one for one in self.history if not one.startswith(digest))
        return self.model_copy(update={"history": kept})

    def names_of(self, digest: str) -> tuple[str, ...]:
        """What stands for that model. The beginning of its digest is enough."""
        names = {"production": self.production, "canary": self.canary}
        return tuple(name for name, named in names.items() if named is not None and named.startswith(digest))


def place(event: Event) -> float:
    """From 0 up to 1, as evenly as sha256 spreads: the same whatever the event asks for."""
    return int(caption_id(event)[:16], 16) / 2**64


Signature = tuple[int, int, int] | None


class Registry:
    """One folder of models. Cheap to ask for every event: files are read again only when they have changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._aliases: Aliases | None = None
        self._seen: Signature = None
        self._opened: dict[Path, tuple[Signature, SplitModel | ModelChanged]] = {}

    def models(self) -> list[SplitModel]:
        """Those that are ready, by name. One whose facts changed is left out: it is in `broken`."""
        return [model for model in self._all() if isinstance(model, SplitModel)]

    def broken(self) -> list[ModelChanged]:
        """What is wrong with those that were ready once and are not what was proved."""
        return [model for model in self._all() if isinstance(model, ModelChanged)]

    def model(self, digest: str) -> SplitModel:
        """Raises NotThere unless that model is ready, ModelChanged when it is not what was proved."""
        for model in self._all(f"*-{digest[:SHOWN]}"):
            if isinstance(model, ModelChanged):
                raise model
            if model.digest == digest:
                return model
        raise NotThere(f"no ready model has the digest {digest[:SHOWN]}… in {self.folder}")

    def named(self, told: str) -> SplitModel:
        """By alias, name, folder or the beginning of a digest. Raises NotThere or AmbiguousName."""
        aliased = getattr(self.aliases(), told, None) if told in ("production", "canary") else None
        if aliased is not None:
            return self.model(aliased)
        found = [model for model in self.models() if _is_named(model, told)]
        if not found:
            known = ", ".join(model.folder.name for model in self.models()) or "none is ready"
            raise NotThere(f"no model {told!r} in {self.folder}; there: {known}")
        if len(found) > 1:
            which = ", ".join(model.folder.name for model in found)
            raise AmbiguousName(f"{told!r} is one of {which}; name one of these")
        return found[0]

    def aliases(self) -> Aliases:
        """As the file stands. One that cannot be read raises AliasesBroken; once read, the last good ones are kept."""
        seen = _signature(self.folder / ALIASES)
        if self._aliases is not None and seen == self._seen:
            return self._aliases
        try:
            self._aliases = _read_aliases(self.folder / ALIASES)
        except AliasesBroken as broken:
            if self._aliases is None:
                raise
            _log.error("%s; the aliases of before are kept", broken)
        self._seen = seen
        return self._aliases

    def write(self, aliases: Aliases) -> None:
        """Replaces the file in one step: a reader sees the old one or the new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace(self.folder / ALIASES, aliases.model_dump_json(indent=1).encode())

    def change(self, changed: Callable[[Aliases], Aliases]) -> Aliases:
        """Reads, changes and writes with nobody between. Raises AliasesBroken, and what `changed` raises.

        Raises NotThere or ModelChanged, too, when a name came to stand for a model that is not ready.
        """
        with self.locked():
            before = _read_aliases(self.folder / ALIASES)
            aliases = changed(before)
            for digest in {aliases.production, aliases.canary} - {before.production, before.canary, None}:
                self.model(str(digest))
            self.write(aliases)
        return aliases

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time, over all processes; the kernel lets go when a holder dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def folder_of(self, told: str) -> Path:
        """As `named`, but finds one that is broken too. Raises NotThere or AmbiguousName."""
        try:
            return self.named(told).folder
        except NotThere:
            found = [broken.folder for broken in self.broken() if _broken_is_named(broken.folder.name, told)]
            if len(found) != 1:
                raise
            return found[0]

    def remove(self, folder: Path) -> None:
        """Out of sight in one step, then off the disk. Raises StillNamed while a name stands for it."""
        with self.locked():
            aliases = _read_aliases(self.folder / ALIASES)
            gone = _digest_shown(folder)
            if held := aliases.names_of(gone):
                raise StillNamed(f"{folder.name} is {' and '.join(held)}; promote another or roll back first")
            self.write(aliases.without(gone))
            folder = folder.rename(self.folder / f"{REMOVED}{folder.name}-{os.getpid()}")
        shutil.rmtree(folder, ignore_errors=True)  # another process may be sweeping

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """An empty folder for a model in the making, gone at the end. What killed processes left goes first."""
        with self.locked():
            self._sweep()
            folder = Path(tempfile.mkdtemp(prefix=ADDING, dir=self.folder))
            held = os.open(folder, os.O_RDONLY)
            fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)

    def publish(self, folder: Path, ready: Ready) -> SplitModel:
        """Puts a model that was made in a workplace in its place, in one step. Raises AlreadyThere."""
        place = self.folder / folder_name(ready.name, ready.digest)
        with self.locked():
            if place.exists():
                raise AlreadyThere(f"{place} is there already; `captionstream models verify` looks at it")
            _make_readable(folder)
            folder.rename(place)
        return self.model(ready.digest)

    def sweep(self) -> int:
        """Takes away what killed processes left half-made or half-removed; returns how many."""
        with self.locked():
            return self._sweep()

    def _sweep(self) -> int:
        left = [*self.folder.glob(f"{ADDING}*"), *self.folder.glob(f"{REMOVED}*")]
        return sum(_swept(folder) for folder in left)

    def _all(self, pattern: str = "*") -> list[SplitModel | ModelChanged]:
        marks = sorted(self.folder.glob(f"{pattern}/{READY}"))
        return [self._one(mark.parent) for mark in marks if not mark.parent.name.startswith(".")]

    def _one(self, folder: Path) -> SplitModel | ModelChanged:
        """Read once: a ready model does not change. `SplitModel.check` looks whether it did."""
        seen = _signature(folder / READY)
        kept = self._opened.get(folder)
        if kept is None or kept[0] != seen:
            kept = self._opened[folder] = (seen, _open(folder))
        return kept[1]


def _open(folder: Path) -> SplitModel | ModelChanged:
    try:
        return open_model(folder)
    except ModelChanged as changed:
        _log.error("%s", changed)
        return changed


def _make_readable(folder: Path) -> None:
    """By services of other users too: some libraries write for their owner only."""
    for file in (folder, *folder.rglob("*")):
        file.chmod(file.stat().st_mode | (0o055 if file.is_dir() else 0o044))


def _swept(folder: Path) -> bool:
    """Whether it was nobody's any more and is gone: the kernel lets go of it with the process that made it."""
    try:
        held = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(held)
    shutil.rmtree(folder, ignore_errors=True)
    return True


def open_model(folder: Path) -> SplitModel:
    """A ready model, its facts compared with what was proved; its large files are not read. Raises ModelChanged."""
    try:
        ready = Ready.model_validate_json((folder / READY).read_bytes())
        facts = (folder / halves.FACTS).read_bytes()
        told = Halves.model_validate_json(facts)
    except (OSError, ValidationError) as broken:
        raise ModelChanged(folder, _first_line(broken)) from broken
    if hashlib.sha256(facts).hexdigest() != ready.digest:
        raise ModelChanged(folder, halves.FACTS)
    return SplitModel(folder, told, ready.digest, ready)


def replace(file: Path, data: bytes) -> None:
    """Writes beside the file and puts it in its place in one step, on the disk before that."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as opened:
            opened.write(data)
            opened.flush()
            os.fchmod(opened.fileno(), 0o644)
            os.fsync(opened.fileno())
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)


def _read_aliases(file: Path) -> Aliases:
    """No file: no name stands for a model. Raises AliasesBroken."""
    try:
        return Aliases.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Aliases()
    except (OSError, ValidationError) as broken:
        why = f"{file} cannot be read: {_first_line(broken)}"
        fix = "Remove it and name the models again with `captionstream models promote NAME`"
        raise AliasesBroken(f"{why}. {fix}") from broken


def _first_line(error: Exception) -> str:
    """A validation error tells its count first; what is wrong stands below."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()
    return str(error)


def _signature(file: Path) -> Signature:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _is_named(model: SplitModel, told: str) -> bool:
    return told in (model.name, model.folder.name, model.triton_name) or (
        len(told) >= 6 and model.digest.startswith(told)
    )


def _broken_is_named(folder: str, told: str) -> bool:
    return told == folder or told == folder.rpartition("-")[0]


def _digest_shown(folder: Path) -> str:
    return folder.name.rpartition("-")[2]
