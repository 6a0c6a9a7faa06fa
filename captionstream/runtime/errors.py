"""What can go wrong in a stage, and what happens next.

    StageError
    ├── Unprocessable     this record can never work: refused, dead-lettered, the next one goes on
    └── Unavailable       an engine is away: the record waits in place, within a budget, then is refused

Any other exception of a stage is tried once more, then refused as `internal` and dead-lettered with its
traceback. Several of those in a row are a bad deploy: `TooManyDefects` ends the process, nothing is lost.
Exceptions of the runtime itself end the process; nothing is acknowledged.
"""

from __future__ import annotations

from captionstream.contracts.messages import RefusalReason


class StageError(Exception):
    """Base of what a stage raises on purpose."""


class Unprocessable(StageError):
    """This record can never work. `detail` is for its publisher: no secrets, no paths, at most 500 characters.

    `image_digest` may be set by who knows which image it is about.
    """

    image_digest: str | None = None

    def __init__(self, reason: RefusalReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail[:500]


class Unavailable(StageError):
    """An outside system is away. `retry_after_s` is what it asked for, if it did."""

    def __init__(self, engine: str, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"{engine}: {detail}" if detail else engine)
        self.engine = engine
        self.retry_after_s = retry_after_s


class TooManyDefects(Exception):
    """Defects in a row: the process must stop before it empties the topic into dead letters."""


class Misconfigured(Exception):
    """What a setting names cannot be used. The process says why, and does not start."""


class LostPartition(Exception):
    """The log took a partition away, or fenced its writer. The process ends; its successor goes on."""


def first_cause(failure: BaseException) -> BaseException:
    """The first exception inside a (nested) group of a task group; anything else as it is."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
