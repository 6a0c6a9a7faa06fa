"""The engine that is asked: one thread owns the model, asyncio is outside.

    PrefixError
    ├── TooLong      prompt and answer do not fit into a slot; no try will help
    ├── NotFinite    the model answered with NaN or infinity for this prompt
    ├── TooLate      the deadline passed
    └── Closed       the engine was closed, or its thread broke

`asked` raises DoesNotFit (triton_models.vision_language.split), `write` also NothingAllowed (constraint.py) and
whatever a constraint raises, `open` NotServable (triton_models.vision_language.decoder_graph).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from services.generator.prefix import gate
from services.generator.prefix.batch import Batch, Finish, NotFinite, PrefixError, Row, Token
from services.generator.prefix.constraint import Constraint
from services.generator.prefix.decoder import Decoder
from services.generator.prefix.gate import Limits, Verdict
from services.generator.prefix.prompt import Asked, ChatTemplate, Message, Speller
from services.generator.prefix.sampling import Sampler, Shaping
from triton_models.vision_language.split import Split
from triton_models.vision_language.visual_tokens import VisualTokens

__all__ = [
    "Asked", "Closed", "Decoding", "Finish", "Limits", "NotFinite", "PrefixEngine", "PrefixError", "Room",
    "SplitModel", "Token", "TooLate", "TooLong", "Verdict",
]  # fmt: skip

_log = logging.getLogger(__name__)


class TooLong(PrefixError):
    """Prompt and answer together are longer than a slot."""


class TooLate(PrefixError):
    """The deadline passed before the answer was whole."""


class Closed(PrefixError):
    """Nobody is there to write."""


class SplitModel(Protocol):
    """As much of a split model as the engine needs: how it is split, its checkpoint, its graphs."""

    @property
    def split(self) -> Split: ...
    @property
    def language(self) -> Path: ...
    @property
    def serving(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class Decoding:
    """`seed` None takes the likeliest token; a seed draws by the checkpoint's own settings, the same again.

    Nothing of `stop` becomes part of the text.
    """

    most_tokens: int
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """`slots` requests are written at once, each of at most `tokens` tokens, prompt and all."""

    slots: int = 8
    tokens: int = 2048
    threads: int = 1


ROOM, LIMITS = Room(), Limits()


class PrefixEngine:
    """One split model, ready to write."""

    def __init__(self, template: ChatTemplate, shaping: Shaping, decoder: Decoder, verdict: Verdict) -> None:
        self._template, self._shaping, self._decoder = template, shaping, decoder
        self.verdict = verdict
        self._worker = _Worker(Batch(decoder))
        self._worker.start()

    @classmethod
    async def open(cls, model: SplitModel, room: Room = ROOM, limits: Limits = LIMITS) -> PrefixEngine:
        """Loads the model's graph and compares it with fp32 on this machine. Takes seconds.

        Raises NotServable when none of its graphs is near enough, or its class or settings have none.
        """
        return await asyncio.to_thread(cls._opened, model, room, limits)

    @classmethod
    def _opened(cls, model: SplitModel, room: Room, limits: Limits) -> PrefixEngine:
        shaping = Shaping.of(model.language)
        template = ChatTemplate.open(model.split, model.language)
        decoder, verdict = gate.opened(model.serving, room.slots, room.tokens, room.threads, limits)
        for refused in verdict.refused:
            _log.warning("a quantised graph is too far from fp32 and does not serve: %s", refused)
        return cls(template, shaping, decoder, verdict)

    @property
    def recipe(self) -> str:
        """Of the graph that serves: `fp32` where the quantised one was refused. Part of the model's version."""
        return self.verdict.recipe

    @property
    def tokenizer(self) -> Any:
        """The model's own (tokenizers.Tokenizer), for constraints."""
        return self._template.tokenizer

    @property
    def vocabulary(self) -> int:
        """How many logits there are: a constraint's mask is as long."""
        return self._decoder.facts.vocabulary

    @property
    def ends(self) -> frozenset[int]:
        """The model's end tokens."""
        return self._shaping.ends

    def asked(self, messages: Sequence[Message], seen: Sequence[VisualTokens] = ()) -> Asked:
        """The conversation by the model's own chat template. Raises DoesNotFit or TooLong."""
        asked = self._template.asked(messages, seen)
        if len(asked.ids) >= self._decoder.tokens:
            raise TooLong(f"the prompt has {len(asked.ids)} tokens, there is room for {self._decoder.tokens}")
        return asked

    async def write(
        self,
        asked: Asked,
        decoding: Decoding,
        constraint: Constraint | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Token, None]:
        """Token for token, as they come. Closing the generator frees its slot at the next step.

        `deadline` is of the running loop's clock. Raises PrefixError.
        """
        if len(asked.ids) + decoding.most_tokens > self._decoder.tokens:
            raise TooLong(
                f"{len(asked.ids)} tokens and {decoding.most_tokens} more, there is room for {self._decoder.tokens}"
            )
        loop, inbox = asyncio.get_running_loop(), asyncio.Queue[Token | Exception]()
        row = self._row(asked, decoding, constraint, lambda said: _hand(loop, inbox, said))
        row.late_at = None if deadline is None else time.monotonic() + deadline - loop.time()
        self._worker.submit(row)
        try:
            while True:
                said = await inbox.get()
                if isinstance(said, Exception):
                    raise said
                yield said
                if said.finish is not None:
                    return
        finally:
            row.gone = True

    async def close(self) -> None:
        """Ends every request with Closed, and the thread."""
        self._worker.stop()
        await asyncio.to_thread(self._worker.join)

    def _row(self, asked: Asked, decoding: Decoding, constraint: Constraint | None, sink: Any) -> Row:
        return Row(
            asked=asked,
            image_token=self._template.split.image_token_id,
            sampler=Sampler(self._shaping, self.vocabulary, asked.ids, decoding.seed),
            speller=Speller(self.tokenizer, decoding.stop),
            ends=self._shaping.ends,
            most_tokens=decoding.most_tokens,
            sink=sink,
            constraint=constraint,
        )


def _hand(
    loop: asyncio.AbstractEventLoop, inbox: asyncio.Queue[Token | Exception], said: Token | Exception
) -> None:
    """From the model's thread into a loop, which may have ended meanwhile: then nobody waits."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(inbox.put_nowait, said)


class _Worker(threading.Thread):
    """Lets rows join, one between two steps where some are being written, and steps as long as there are any."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(name="prefix", daemon=True)
        self._batch = batch
        self._arriving: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._waiting: deque[Row] = deque()
        self._entry = threading.Lock()
        self._closed: str | None = None

    def submit(self, row: Row) -> None:
        with self._entry:
            if self._closed is not None:
                raise Closed(self._closed)
            self._arriving.put(row)

    def stop(self, why: str = "the engine was closed") -> None:
        with self._entry:
            self._closed = self._closed or why
            self._arriving.put(None)

    def run(self) -> None:
        try:
            while self._closed is None:
                self._arrive()
                self._drop_the_gone()
                self._join()
                if len(self._batch):
                    self._step()
        except Exception as problem:
            _log.exception("the prefix engine's thread broke")
            self.stop(f"the engine's thread broke: {problem}")
        self._leave_all()

    def _arrive(self) -> None:
        """Waits for a row when there is nothing to do."""
        idle = not len(self._batch) and not self._waiting
        while idle or not self._arriving.empty():
            row = self._arriving.get()
            if row is None:
                return
            self._waiting.append(row)
            idle = False

    def _drop_the_gone(self) -> None:
        for row in self._batch.rows:
            if _over(row):
                self._batch.leave(row)
        self._waiting = deque(row for row in self._waiting if not _over(row))

    def _join(self) -> None:
        """Those who are being written wait for one prompt at most."""
        most = 1 if len(self._batch) else self._batch.slots
        while self._waiting and most and not self._batch.full:
            self._batch.join(self._waiting.popleft())
            most -= 1

    def _step(self) -> None:
        try:
            self._batch.step()
        except Exception as problem:
            self._batch.fail(problem)

    def _leave_all(self) -> None:
        while not self._arriving.empty():
            row = self._arriving.get()
            if row is not None:
                self._waiting.append(row)
        closed = Closed(self._closed or "")
        self._batch.fail(closed)
        for row in self._waiting:
            row.sink(closed)


def _over(row: Row) -> bool:
    """Nobody waits for it any more. Who waits for one that is late is told."""
    if row.late_at is not None and time.monotonic() > row.late_at:
        row.sink(TooLate("the deadline passed"))
        return True
    return row.gone
