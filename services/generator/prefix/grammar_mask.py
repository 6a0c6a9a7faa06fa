"""Which tokens a task allows next: the scene's grammar by llguidance, the guide by the judge that also reads the end.

A text may start with one space, since some tokenizers write their first word so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from tokenizers import Tokenizer

from services.generator.grammar import Literal, Node, Optional, lark, sequence
from services.generator.guided.guide import Guide
from services.generator.guided.way import BEGUN, Way, Ways, advanced, may_say
from services.generator.guided.words import Role
from services.generator.judge import guide_for
from services.generator.prefix.constraint import Allowed, Constraint, Floats, NothingAllowed
from services.generator.writer import Task

HALF_LETTER = b"\xc3"  # with which the UTF-8 of every accented letter starts that a model may say of its own
TINY = 1e-30  # as good as no probability, with a logarithm
SEPARATORS = (b" ", b",", b".")


@dataclass(frozen=True, eq=False)
class Tokens:
    """A tokenizer as constraints see it: what bytes each token writes. One for each model; making it takes a second.

    `ends` are the tokens that end a text, `size` the width of the logits.
    """

    size: int
    ends: tuple[int, ...]
    engine: LLTokenizer = field(repr=False)
    written: tuple[bytes, ...] = field(repr=False)  # [size]; empty for what writes nothing
    ids: Mapping[bytes, tuple[int, ...]] = field(repr=False)
    separating: npt.NDArray[np.int64] = field(repr=False)  # those that end the word before them

    @classmethod
    def of(cls, tokenizer: Tokenizer, ends: Sequence[int], size: int) -> Tokens:
        plain = Tokenizer.from_str(tokenizer.to_str())
        plain.no_padding()
        plain.no_truncation()
        engine = LLTokenizer(plain.to_str(), n_vocab=size, eos_token=list(ends), slices=[])
        special = {at for at, token in plain.get_added_tokens_decoder().items() if token.special}
        silent = special | {*ends} | set(range(plain.get_vocab_size(), size))
        written = tuple(b"" if at in silent else engine.decode_bytes([at]) for at in range(size))
        separating = [at for at, text in enumerate(written) if text.startswith(SEPARATORS) or at in ends]
        return cls(size, tuple(ends), engine, written, _places(written), np.array(separating, dtype=np.int64))

    @lru_cache(maxsize=4096)  # noqa: B019 - as long-lived as its model
    def beginning(self, text: bytes) -> tuple[int, ...]:
        """The tokens that write a first part of `text`, or all of it."""
        return tuple(at for end in range(1, len(text) + 1) for at in self.ids.get(text[:end], ()))


def _places(written: Sequence[bytes]) -> dict[bytes, tuple[int, ...]]:
    ids: dict[bytes, tuple[int, ...]] = {}
    for at, text in enumerate(written):
        if text:
            ids[text] = (*ids.get(text, ()), at)
    return ids


def constraint_of(task: Task, tokens: Tokens) -> Constraint:
    """The rule that a text of the task is written under. Raises ValueError where the grammar is refused."""
    guide = guide_for(task)
    return GrammarMask(spaced_lark(task.allowed), tokens) if guide is None else GuideMask(guide, tokens)


def spaced_lark(allowed: Node) -> str:
    return lark(sequence(Optional(Literal(" ")), allowed))


class GrammarMask:
    """Lets through the tokens with which a text of a grammar in Lark goes on, and its end where it may end."""

    def __init__(self, grammar: str, tokens: Tokens) -> None:
        self._matcher = LLMatcher(tokens.engine, LLMatcher.grammar_from_lark(grammar), log_level=0)
        self._bits = allocate_token_bitmask(1, tokens.size)
        self._size = tokens.size
        self._check()

    @property
    def finished(self) -> bool:
        return self._matcher.is_stopped()

    def mask(self, logprobs: Floats) -> Allowed:
        """Raises NothingAllowed once the text has ended."""
        if self.finished:
            raise NothingAllowed
        fill_next_token_bitmask(self._matcher, self._bits)
        self._check()
        return np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._size].astype(np.bool_)

    def take(self, token: int) -> None:
        """Raises ValueError for a token that the mask does not allow."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ValueError(f"the grammar's engine refuses: {self._matcher.get_error()[:200]}")


class GuideMask:
    """Lets through the tokens with which the guide's judge goes on.

    A word of the model's own is followed from its first token: each one needs so much probability that the word
    keeps `least`, and it may end where the model ends it with what is left.
    """

    def __init__(self, guide: Guide, tokens: Tokens) -> None:
        self._guide = guide
        self._tokens = tokens
        self._ways = BEGUN
        self._half = b""  # of a letter whose other bytes are still to come
        self._logprobs: Floats | None = None

    @property
    def finished(self) -> bool:
        return any(way.ended for way in self._ways)

    def mask(self, logprobs: Floats) -> Allowed:
        self._logprobs = logprobs.copy()
        allowed = np.zeros(self._tokens.size, dtype=np.bool_)
        allowed[list(self._known())] = True
        for token in np.flatnonzero(logprobs >= self._guide.floor):
            allowed[token] = allowed[token] or bool(self._after(int(token), float(logprobs[token])))
        if self._is_in_own_word() and not self._may_end_here(logprobs):
            allowed[self._tokens.separating] = False
        return allowed

    def take(self, token: int) -> None:
        """Raises ValueError for a token that the mask does not allow."""
        ground = None if self._logprobs is None else float(self._logprobs[token])
        after = self._after(token, ground)
        if not after:
            raise ValueError(f"token {token} is none that the guide allows")
        _, self._half = _decoded(self._half + self._tokens.written[token])
        self._ways = after

    def _after(self, token: int, logprob: float | None) -> Ways:
        """The ways that are left after a token; none where it is not allowed."""
        written = self._tokens.written[token]
        if not written:
            return ()
        text, half = _decoded(self._half + written)
        after = advanced(self._guide, self._ways, text, logprob)
        return after if not half or self._may_end_in(half, after) else ()

    def _may_end_in(self, half: bytes, ways: Ways) -> bool:
        return half == HALF_LETTER and bool(
            advanced(self._guide, ways, "é", 0.0) or _known_after(self._guide, ways, half)
        )

    # ------------------------------------------------------------ what needs no ground

    def _known(self) -> Iterator[int]:
        """Tokens that go on with a wording that somebody knows, or end the one that stands there."""
        for way in self._ways:
            yield from self._goes_on(way, b"")
        for separator in (" ", ", ") if not self._half else ():
            for way in advanced(self._guide, self._ways, separator, 0.0):
                yield from self._goes_on(way, separator.encode())
        for mark in SEPARATORS:
            for token in self._tokens.ids.get(mark, ()):
                if self._after(token, 0.0):
                    yield token

    def _goes_on(self, way: Way, before: bytes) -> Iterator[int]:
        """The tokens that write `before` and a first part of a wording, from where the way stands."""
        for rest in _rests(self._guide, way):
            if rest.startswith(self._half):
                yield from self._tokens.beginning(before + rest[len(self._half) :])

    # ------------------------------------------------------------ the end of a model's own word

    def _is_in_own_word(self) -> bool:
        known = self._guide.known
        return any(way.unit.isalpha() for way in self._ways) and not any(
            wording.text == way.unit or wording.text.startswith(way.unit + " ")
            for way in self._ways
            for wording in known.get(way.unit, ())
            if may_say(self._guide, way, wording)
        )

    def _may_end_here(self, logprobs: Floats) -> bool:
        """Whether the model means the word to end: without that, the start of a word would pass for one."""
        ending = float(np.exp(logprobs[self._tokens.separating]).sum())
        return max(way.mass for way in self._ways) + math.log(max(ending, TINY)) >= self._guide.floor


def _rests(guide: Guide, way: Way) -> Iterator[bytes]:
    """What is left to write of each wording that the way may go on with."""
    first = way.last.role is Role.START and not way.unit
    for wording in guide.known.get(way.unit, ()):
        if not way.ended and may_say(guide, way, wording):
            rest = wording.text[len(way.unit) :]
            yield from _at_start(rest, way) if first else (rest.encode(),)


def _at_start(text: str, way: Way) -> Iterator[bytes]:
    capital = (text[:1].upper() + text[1:]).encode()
    yield capital
    yield b" " + capital


def _known_after(guide: Guide, ways: Ways, half: bytes) -> bool:
    return any(rest.startswith(half) for way in ways for rest in _rests(guide, way))


def _decoded(data: bytes) -> tuple[str, bytes]:
    """The text that bytes write, and the bytes of a letter that they only begin."""
    try:
        return data.decode(), b""
    except UnicodeDecodeError as broken:
        begun = data[broken.start :]
        return data[: broken.start].decode(), begun
