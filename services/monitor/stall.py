"""Whether the watch still moves. Faust can stop reading without an error, so somebody else looks at the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

LOOK_EVERY_S = 30.0
Ends = Mapping[int, int]


@dataclass(frozen=True)
class Look:
    """The ends of the topic at one moment, and how many records the watch had taken by then."""

    ends: Ends
    taken: int


def stalled(before: Look, then: Look, now: Look) -> bool:
    """Records came between the first two looks, and none was taken between the last two."""
    came = any(end > before.ends.get(partition, 0) for partition, end in then.ends.items())
    return came and now.taken == then.taken and then.taken == before.taken


class Stall:
    """Keeps looking; `over` is false once the watch was seen to stand still while records came."""

    def __init__(self, ends: Callable[[], Awaitable[Ends]], taken: Callable[[], int]) -> None:
        self._ends = ends
        self._taken = taken
        self._looks: tuple[Look, ...] = ()
        self.standing_still = False

    async def keep_looking(self, every_s: float = LOOK_EVERY_S) -> None:
        while True:
            await self.look()
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """A log that does not answer says nothing about the watch."""
        try:
            taken = self._taken()  # before the ends: what is taken meanwhile counts as taken later
            now = Look(await self._ends(), taken)
        except Exception:
            self._looks = ()
            return
        self._looks = (*self._looks, now)[-3:]
        self.standing_still = len(self._looks) == 3 and stalled(*self._looks)
