"""One running process of a part: started, awaited, ended. No other file starts or signals a process.

A child leads a process group of its own, so that what it starts can be ended with it, and the kernel
kills it when the thread that started it dies: a supervisor that is killed leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from captionstream.local.process import Part

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_S = 0.05
_LIBC = ctypes.CDLL(None, use_errno=True)


class Child:
    """A process that was started for `part`."""

    def __init__(self, part: Part, process: subprocess.Popen[bytes]) -> None:
        self._part = part
        self._process = process

    @classmethod
    def start(cls, part: Part) -> Child:
        """Start it with its output appended to the part's log. Raises `OSError` when it cannot be.

        Not a coroutine: a cancellation can not come between the process and the object that ends it.
        """
        part.log_path.parent.mkdir(parents=True, exist_ok=True)
        with part.log_path.open("ab") as log:
            process = subprocess.Popen(
                part.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **part.env},
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        return cls(part, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> str:
        """Wait for its end; says how it ended, for people."""
        status = await self._exit_status()
        return f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"

    async def _exit_status(self) -> int:
        while (status := self._process.poll()) is None:
            await _end_of(self.pid)
        return status

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when the part takes longer than it may. Nothing of it runs afterwards."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._part.stop_timeout_s):
                await self._exit_status()
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL for it and for all that it started; works on a frozen process too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._exit_status()
        if self._part.clean_up is not None:
            self._part.clean_up()


async def _end_of(pid: int) -> None:
    """Wait for the end of a process that nobody has waited for. The kernel tells; where Python or it cannot, this
    returns after a moment, and whoever asks looks again."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return await asyncio.sleep(_LOOK_EVERY_S)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _die_with(supervisor: int) -> Callable[[], None]:
    def before_exec() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it died before the kernel was told
            os._exit(1)

    return before_exec


def set_aside(log: Path) -> None:
    """Keep the log of the run before, one only, under another name: what is shown belongs to this run."""
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_suffix(".previous.log"))


def last_lines(log: Path, count: int = 20) -> list[str]:
    """The end of a log file; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
