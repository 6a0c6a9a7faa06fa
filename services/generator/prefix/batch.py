"""Who is being written right now: each prompt is read alone, then goes on together with the others.

A row may join and leave between any two steps. The rows that are being written fill the first slots without a gap:
whoever leaves is replaced by the last. What stands before the first image of a prompt is read once and kept.

Everything here runs in the one thread that owns the decoder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from services.generator.prefix.constraint import Allowed, Constraint, Floats
from services.generator.prefix.decoder import Decoder
from services.generator.prefix.prompt import Asked, Speller
from services.generator.prefix.sampling import Sampler, log_softmax

Finish = Literal["end", "length", "stop", "constraint"]

SHORTEST_KEPT = 8
"""Tokens before the first image: fewer are read as fast as they are copied."""


class PrefixError(Exception):
    """Base of what ends a request without a text. The tree stands in engine.py."""


class NotFinite(PrefixError):
    """The model answered with NaN or infinity."""


class Token(NamedTuple):
    """`logprob` is of the model's own distribution: no temperature, penalty or mask in it.

    `text` is what may be shown by now: empty while a letter is half written or a stop string may be coming.
    `finish` stands on the last token only: `end` is the model's own end token, which has no text itself.
    `cached` is how many of the prompt's tokens had been read before, for somebody else.
    """

    id: int
    text: str
    logprob: float
    finish: Finish | None = None
    cached: int = 0


Sink = Callable[[Token | Exception], None]


@dataclass(eq=False)
class Row:
    """One request. `gone` is set by whoever asked when nobody waits any more; `late_at` is of time.monotonic."""

    asked: Asked
    image_token: int
    sampler: Sampler
    speller: Speller
    ends: frozenset[int]
    most_tokens: int
    sink: Sink
    constraint: Constraint | None = None
    late_at: float | None = None
    gone: bool = False
    length: int = 0
    written: int = 0
    newest: int = 0
    cached: int = 0

    def take(self, logits: Floats, logprobs: Floats) -> Token:
        """The next token. Raises NotFinite, NothingAllowed, or what the constraint raises."""
        if not np.isfinite(logits).all():
            raise NotFinite("the model answered with what is no number")
        token = self.sampler.choose(logits, self._allowed(logprobs))
        if self.constraint is not None:
            self.constraint.take(token)
        self.newest = token
        self.written += 1
        text = "" if token in self.ends else self.speller.more(token)
        finish = self._finish(token)
        if finish is not None and finish != "stop":
            text += self.speller.rest()
        return Token(token, text, float(logprobs[token]), finish, self.cached)

    def _allowed(self, logprobs: Floats) -> Allowed | None:
        return None if self.constraint is None else self.constraint.mask(logprobs)

    def _finish(self, token: int) -> Finish | None:
        if token in self.ends:
            return "end"
        if self.speller.stopped:
            return "stop"
        if self.constraint is not None and self.constraint.finished:
            return "constraint"
        return "length" if self.written >= self.most_tokens else None


@dataclass
class Prefixes:
    """Keys and values of the latest `most` beginnings of prompts."""

    most: int = 16
    _kept: OrderedDict[tuple[int, ...], Floats] = field(default_factory=OrderedDict)

    def get(self, ids: tuple[int, ...]) -> Floats | None:
        if ids in self._kept:
            self._kept.move_to_end(ids)
        return self._kept.get(ids)

    def put(self, ids: tuple[int, ...], kept: Floats) -> None:
        self._kept[ids] = kept
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)


class Batch:
    """The rows that are being written, in the first slots of the decoder."""

    def __init__(self, decoder: Decoder, prefixes: Prefixes | None = None) -> None:
        self._decoder = decoder
        self._prefixes = prefixes or Prefixes()
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def slots(self) -> int:
        return self._decoder.slots

    @property
    def full(self) -> bool:
        return len(self) == self.slots

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows)

    def join(self, row: Row) -> None:
        """Reads its prompt in a free slot and says its first token. What goes wrong ends this row only."""
        try:
            logits = self._read(row, len(self))
            token = row.take(logits, log_softmax(logits))
        except Exception as problem:
            row.sink(problem)
            return
        row.sink(token)
        if token.finish is None:
            self._rows.append(row)

    def step(self) -> None:
        """One more token for every row."""
        embeddings = self._decoder.embed([row.newest for row in self._rows])
        logits = self._decoder.step(embeddings, [row.length for row in self._rows])
        with np.errstate(invalid="ignore"):
            logprobs = log_softmax(logits)
        ended = [row for n, row in enumerate(self._rows) if self._ended(row, logits[n], logprobs[n])]
        for row in ended:
            self.leave(row)

    def leave(self, row: Row) -> None:
        """The last row takes its slot."""
        slot, last = self._rows.index(row), self._rows[-1]
        if last is not row:
            self._decoder.move(len(self) - 1, slot, last.length)
            self._rows[slot] = last
        self._rows.pop()

    def fail(self, problem: Exception) -> None:
        """Ends every row."""
        rows, self._rows = self._rows, []
        for row in rows:
            row.sink(problem)

    def _ended(self, row: Row, logits: Floats, logprobs: Floats) -> bool:
        """Whether the row has ended, well or badly."""
        row.length += 1
        try:
            token = row.take(logits, logprobs)
        except Exception as problem:
            row.sink(problem)
            return True
        row.sink(token)
        return token.finish is not None

    def _read(self, row: Row, slot: int) -> Floats:
        """The prompt's last logits. Its beginning is taken from an earlier one where that was the same."""
        ids, static = row.asked.ids, row.asked.static
        embeddings = embedded(self._decoder, row.asked, row.image_token)
        row.length = len(ids)
        if static < SHORTEST_KEPT:
            return self._decoder.read(slot, embeddings)
        kept = self._prefixes.get(ids[:static])
        if kept is None:
            self._decoder.read(slot, embeddings[:static])
            self._prefixes.put(ids[:static], self._decoder.kept(slot, static))
        else:
            row.cached = static
            self._decoder.lay(slot, kept)
        return self._decoder.read(slot, embeddings[static:], static)


def embedded(decoder: Decoder, asked: Asked, image_token: int) -> Floats:
    """The prompt as embeddings [n, width], visual tokens where its images are."""
    found = decoder.embed(asked.ids)
    if asked.seen:
        seen: Sequence[Floats] = [np.asarray(image.values, np.float32) for image in asked.seen]
        found[np.equal(asked.ids, image_token)] = np.concatenate(seen)
    return found
