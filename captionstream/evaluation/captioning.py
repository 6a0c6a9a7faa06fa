"""Pictures through the pipeline: events out, answers in, only so many in flight."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from captionstream.contracts import messages as m
from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.values import INLINE_IMAGE_LIMIT, ImageReference
from captionstream.evaluation.pictures import MissingPicture, Pictures
from captionstream.evaluation.references import Reference

Ask = Callable[[Sequence[m.ImageSubmitted], float], AsyncIterator[m.Answer]]
"""Submits events to a log and yields their answers; TimeoutError when some do not come within the seconds."""


@dataclass(frozen=True)
class Asked:
    """A reference with its picture, and the answer: None when there was none in time."""

    reference: Reference
    picture: bytes
    answer: m.Answer | None


@dataclass(frozen=True)
class Captioning:
    """`objects` takes pictures that are too large for a record; it must be the store that ingest reads."""

    ask: Ask
    objects: Path
    language: str = "en"
    in_flight: int = 8
    timeout_s: float = 300.0

    async def answers(
        self, references: Iterable[Reference], pictures: Pictures, missing: Callable[[str], None]
    ) -> AsyncIterator[Asked]:
        """Each reference that has a picture, with its answer; the others are told to `missing`."""
        found = with_pictures(references, pictures, missing)
        while batch := list(itertools.islice(found, self.in_flight)):
            async with aclosing(self._answered(batch)) as answered:  # type: ignore[type-var]
                async for asked in answered:
                    yield asked

    async def _answered(self, batch: Sequence[tuple[Reference, bytes]]) -> AsyncIterator[Asked]:
        waiting = {uuid.uuid4().hex: pair for pair in batch}
        events = [self._event(name, data) for name, (_, data) in waiting.items()]
        try:
            async with aclosing(self.ask(events, self.timeout_s)) as answers:  # type: ignore[type-var]
                async for answer in answers:
                    yield Asked(*waiting.pop(answer.event.id), answer)
        except TimeoutError:
            pass
        for reference, data in waiting.values():
            yield Asked(reference, data, None)

    def _event(self, name: str, data: bytes) -> m.ImageSubmitted:
        return m.ImageSubmitted(
            id=name, source="captionstream-eval", language=self.language, image=self._stored(data)
        )

    def _stored(self, data: bytes) -> ImageReference:
        if len(data) <= INLINE_IMAGE_LIMIT:
            return ImageReference(inline=data)
        key = f"evaluated/{sha256_hex(data)}"
        (self.objects / key).parent.mkdir(parents=True, exist_ok=True)
        (self.objects / key).write_bytes(data)
        return ImageReference(object_key=key)


def with_pictures(
    references: Iterable[Reference], pictures: Pictures, missing: Callable[[str], None]
) -> Iterator[tuple[Reference, bytes]]:
    for reference in references:
        try:
            yield reference, pictures.read(reference.file)
        except MissingPicture as lost:
            missing(str(lost))
