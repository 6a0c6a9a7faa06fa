"""One part of a local stack, as a value: how it is started, and how one knows that it works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Broken(Exception):
    """Raised by a probe: the part will never work again and is replaced at once, without patience."""


Probe = Callable[[], Awaitable[bool]]
"""Asks the running part a real question. False, or any exception but `Broken`: it does not work now."""


@dataclass(frozen=True)
class Part:
    """A process that a supervisor can start, watch, replace and stop.

    `role` and `slot` identify it (two replicas of a service differ in the slot); `name` is for people.
    `env` is added to the supervisor's environment. `needs` names the roles that must be ready first.
    """

    name: str
    role: str
    argv: tuple[str, ...]
    port: int
    ready: Probe
    log_path: Path
    slot: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    alive: Probe | None = None
    """Asked again and again once the part is ready; `ready` is asked when it is None."""
    needs: tuple[str, ...] = ()
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0
    """How long it may take to end after SIGTERM before it is killed."""
    ask_every_s: float = 2.0
    """The pause between two questions whether it is alive."""
    patience_s: float = 20.0
    """How long it may leave `alive` without a yes before it is taken for hung and replaced."""
    once_ready: Callable[[], Awaitable[None]] | None = None
    """Done when the part is ready for the first time, before those that need it are started."""
    clean_up: Callable[[], object] | None = None
    """Done each time its process has ended, however it ended."""
    memory_mb: int = 0
    """Resident memory at rest, children included, measured; for people who size a machine."""
    fix: str = "Look at its log."
    """The sentence shown when it does not start."""

    @property
    def label(self) -> str:
        """Unique in a stack, for example `encoder-1`."""
        return f"{self.role}-{self.slot}"
