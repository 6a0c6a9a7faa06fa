"""Keeps one part of a stack running: starts it, asks whether it works, replaces it when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from captionstream.local.child import Child, last_lines, set_aside
from captionstream.local.process import Broken, Part, Probe
from captionstream.local.state import Condition, PartState, now

T = TypeVar("T")

_ASK_A_NEW_ONE_EVERY_S = 0.2
_LONGEST_PAUSE_S = 10.0
_STEADY_AFTER_S = 30.0
"""A part that was ready for so long has its earlier failures forgiven."""


class Happening(StrEnum):
    READY = "ready"
    LOST = "lost"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Event:
    """Something people want to see. `seconds` is how long it took; `detail` says why a part was lost."""

    happening: Happening
    part: Part
    seconds: float = 0.0
    detail: str = ""


class StartFailed(Exception):
    """A part did not become ready. The text says which and why, and ends with its log and the fix."""

    def __init__(self, part: Part, reason: str) -> None:
        self.part = part
        self.reason = reason
        self.log_tail = last_lines(part.log_path)
        shown = [f"    {row}" for row in self.log_tail] or ["    (it wrote nothing)"]
        head = f"✗ {part.name} {reason}. The end of {part.log_path}:"
        super().__init__("\n".join([head, *shown, f"→ {part.fix}"]))


class _NotReady(Exception):
    """This attempt failed; the text says how."""


def pause_before(attempt: int) -> float:
    """Seconds to wait before the nth (from 0) replacement in a row: none at first, then doubling."""
    return 0.0 if attempt == 0 else min(_LONGEST_PAUSE_S, 0.25 * 2.0**attempt)


class Keeper:
    """`changed` is called after every change of `state`; `tell` with what people want to see."""

    def __init__(self, part: Part, tell: Callable[[Event], None], changed: Callable[[], None]) -> None:
        self.part = part
        self.was_ready = asyncio.Event()
        self._tell = tell
        self._changed = changed
        self._child: Child | None = None
        self._condition = Condition.STARTING
        self._since = now()
        self._ready_at = 0.0
        self._failures_in_a_row = 0
        self._restarts = 0

    @property
    def state(self) -> PartState:
        part, child = self.part, self._child
        pid = child.pid if child else None
        return PartState(
            part.role, part.slot, part.name, pid, part.port, self._condition, self._since, self._restarts
        )

    async def keep(self, needed: Sequence[Keeper]) -> None:
        """Start when all `needed` have been ready, then run until cancelled. Raises `StartFailed`."""
        for other in needed:
            await other.was_ready.wait()
        try:
            await self._start_for_the_first_time()
        except Exception as error:
            self._become(Condition.FAILED)
            raise StartFailed(self.part, str(error)) from error
        self.was_ready.set()
        while True:
            await self._replace(await self._until_lost())

    async def stop(self) -> None:
        """End the process. To be called when `keep` is over."""
        begun = _time()
        if self._child is not None:
            await self._child.stop()
            self._child = None
            self._tell(Event(Happening.STOPPED, self.part, _time() - begun))
        if self._condition is not Condition.FAILED:
            self._become(Condition.STOPPED)

    async def _start_for_the_first_time(self) -> None:
        set_aside(self.part.log_path)
        took = await self._start(Condition.STARTING)
        if self.part.once_ready is not None:
            await _unless_cancelled(self.part.once_ready())
        self._becomes_ready(took)

    async def _replace(self, why: str) -> None:
        if _time() - self._ready_at > _STEADY_AFTER_S:
            self._failures_in_a_row = 0
        while True:
            self._tell(Event(Happening.LOST, self.part, detail=why))
            await self._remove()
            await asyncio.sleep(pause_before(self._failures_in_a_row))
            self._failures_in_a_row += 1
            self._restarts += 1
            try:
                return self._becomes_ready(await self._start(Condition.RESTARTING))
            except _NotReady as again:
                why = str(again)

    async def _remove(self) -> None:
        if self._child is not None:
            await self._child.kill()
            self._child = None
        self._become(Condition.RESTARTING)

    async def _start(self, condition: Condition) -> float:
        """Start a process and wait until it is ready; returns the seconds that took."""
        begun = _time()
        try:
            self._child = Child.start(self.part)
        except OSError as error:
            raise _NotReady(f"could not be started: {error}") from error
        self._become(condition)
        asked = _until_yes(self.part.ready, self.part.start_timeout_s)
        why_not = await _first(self._child.ended(), asked, timeout_s=self.part.start_timeout_s)
        if why_not:
            raise _NotReady(why_not)
        return _time() - begun

    async def _until_lost(self) -> str:
        """Wait until the process ends or no longer answers; says which."""
        assert self._child is not None
        return await _first(self._child.ended(), _until_no(self.part))

    def _becomes_ready(self, took: float) -> None:
        self._ready_at = _time()
        self._become(Condition.READY)
        self._tell(Event(Happening.READY, self.part, took))

    def _become(self, condition: Condition) -> None:
        self._condition = condition
        self._since = now()
        self._changed()


def _time() -> float:
    return asyncio.get_running_loop().time()


async def _first(*waits: Coroutine[Any, Any, str], timeout_s: float | None = None) -> str:
    """The result of the first that returns; of two at once, of the one named first."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        over = [task.result() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return over[0] if over else f"was not ready within {timeout_s:.0f} s"


async def _unless_cancelled(wait: Awaitable[T]) -> T:
    """`asyncio.wait_for`, which the libraries under the probes use, swallows a cancellation that comes at the
    moment its result does (Python before 3.12). The task still knows that it was cancelled."""
    result = await wait
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return result


async def _until_yes(probe: Probe, timeout_s: float) -> str:
    """Wait for a yes. Returns why there will be none, or an empty text."""
    try:
        while not await _says_yes(probe, timeout_s):
            await asyncio.sleep(_ASK_A_NEW_ONE_EVERY_S)
    except Broken as broken:
        return str(broken)
    return ""


async def _until_no(part: Part) -> str:
    """Ask until its patience is over without a yes, or it is broken; says why it is given up."""
    probe = part.alive or part.ready
    last_yes = _time()
    while True:
        await asyncio.sleep(part.ask_every_s)
        try:
            works = await _says_yes(probe, part.patience_s)
        except Broken as broken:
            return f"is broken: {broken}"
        if works:
            last_yes = _time()
        elif _time() - last_yes > part.patience_s:
            return f"did not answer for {part.patience_s:.0f} s"


async def _says_yes(probe: Probe, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            return await _unless_cancelled(probe())
    except Broken:
        raise
    except Exception:
        return False
