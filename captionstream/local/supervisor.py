"""Starts the parts of a stack in the order of their needs, watches them, replaces what fails, stops all.

    async with Supervisor(directory, parts, tell) as supervisor:   # here every part is ready
        await supervisor.until_asked_to_stop()

A part that ends is started again at once, and after repeated failures with growing pauses. A part that no
longer answers is killed before it is replaced: a frozen one must not wake up beside its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from captionstream.local.keeper import Event, Happening, Keeper, StartFailed
from captionstream.local.process import Part
from captionstream.local.state import AlreadyRunning, StackState, held, now, read_state, write_state

__all__ = [
    "AlreadyRunning",
    "Event",
    "Happening",
    "StartFailed",
    "StopAsked",
    "Supervisor",
    "in_levels",
    "line",
    "read_state",
]


class StopAsked(Exception):
    """The stack was asked to stop before all of it was ready."""


class Supervisor:
    """One stack in one folder, to be used in `async with`.

    Entering raises `StartFailed`, `StopAsked` or `AlreadyRunning`, and leaves nothing running then.
    It must be entered in the thread that lives longest: the kernel ends the parts with that thread.
    """

    def __init__(
        self, directory: Path, parts: Sequence[Part], tell: Callable[[Event], None] = lambda event: None
    ) -> None:
        self._directory = directory
        self._since = now()
        self._asked = asyncio.Event()
        self._levels = [[Keeper(part, tell, self._write) for part in level] for level in in_levels(parts)]
        self._tasks: list[asyncio.Task[None]] = []
        self._folder = contextlib.ExitStack()

    async def __aenter__(self) -> Supervisor:
        self._folder.enter_context(held(self._directory))
        self._write()
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    def ask_to_stop(self) -> None:
        self._asked.set()

    def ask_to_stop_on_signals(self) -> None:
        """SIGTERM, SIGINT and SIGHUP ask to stop. For a process that has nothing else to do."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.ask_to_stop)

    async def until_asked_to_stop(self) -> None:
        """An error of the supervisor itself is raised here."""
        await self._first(self._asked.wait())

    @property
    def state(self) -> StackState:
        return StackState(os.getpid(), self._since, tuple(keeper.state for keeper in self._keepers))

    @property
    def _keepers(self) -> list[Keeper]:
        return [keeper for level in self._levels for keeper in level]

    async def _start(self) -> None:
        for keeper in self._keepers:
            needed = [other for other in self._keepers if other.part.role in keeper.part.needs]
            self._tasks.append(asyncio.create_task(keeper.keep(needed)))
        await self._first(self._all_ready(), self._asked.wait())
        if not all(keeper.was_ready.is_set() for keeper in self._keepers):
            raise StopAsked

    async def _all_ready(self) -> None:
        for keeper in self._keepers:
            await keeper.was_ready.wait()

    async def _first(self, *waits: Coroutine[Any, Any, object]) -> None:
        """Wait for one of `waits`; what a keeper raises meanwhile is raised here."""
        own = [asyncio.create_task(wait) for wait in waits]
        try:
            done, _ = await asyncio.wait([*own, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in own:
                task.cancel()
        for over in done:
            over.result()

    async def _end(self) -> None:
        """Those first that nothing else needs, so that no part sees its own support go away."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for level in reversed(self._levels):
            await asyncio.gather(*(keeper.stop() for keeper in level))
        self._folder.close()

    def _write(self) -> None:
        write_state(self._directory, self.state)


def in_levels(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts in the order of their needs; those of one level do not need each other.

    A need that no part fulfils is taken to be there already. Raises `graphlib.CycleError`, and
    `ValueError` when two parts have the same role and slot.
    """
    if len({part.label for part in parts}) < len(parts):
        raise ValueError("two parts of a stack have the same role and slot")
    roles = {part.role for part in parts}
    needs = {role: {need for part in parts if part.role == role for need in part.needs} for role in roles}
    order = TopologicalSorter({role: wanted & roles for role, wanted in needs.items()})
    order.prepare()
    levels = []
    while order.is_active():
        ready = order.get_ready()
        levels.append([part for part in parts if part.role in ready])
        order.done(*ready)
    return levels


def line(event: Event) -> str:
    """One line for a terminal, such as `✓ Kafka 4.4.0   2.1 s  127.0.0.1:9092`."""
    name = event.part.name
    match event.happening:
        case Happening.READY:
            return f"✓ {name:<34} {event.seconds:5.1f} s  127.0.0.1:{event.part.port}"
        case Happening.LOST:
            return f"↻ {name} {event.detail}; it is replaced"
        case Happening.STOPPED:
            return f"■ {name:<34} {event.seconds:5.1f} s"
