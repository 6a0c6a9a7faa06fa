"""A service: a stage, the engine that it needs, and the question whether that engine answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from captionstream.runtime.stage import Stage


@dataclass(frozen=True, slots=True)
class Service:
    """What a service's wiring hands over.

    `probe` does one real piece of work and raises Unavailable if it cannot. `at_once` is how many records the
    engine is worth asking about side by side: the others wait, and their waiting counts as such.
    """

    stage: Stage
    probe: Callable[[], Awaitable[None]]
    at_once: int = 16
