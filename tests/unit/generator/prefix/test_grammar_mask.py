"""Masks over a model's tokens: whatever the model would rather say, only sentences of the task come out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from captionstream.contracts.messages import Form
from captionstream.contracts.scene import Scene
from captionstream.contracts.values import Profile
from services.generator.grammar import Literal, Optional, accepts, sequence, spell
from services.generator.guided.of_scene import guide_of
from services.generator.judge import Judge, reading
from services.generator.prefix.constraint import Constraint, Floats, NothingAllowed
from services.generator.prefix.grammar_mask import Tokens, constraint_of
from services.generator.prompt import Prompt
from services.generator.sentence import Request, sentence
from services.generator.speech import Speech
from services.generator.translation import sayable
from services.generator.writer import Piece, Task
from tests.unit.generator.builders import BLUE_SKY, english, scene, scenes, spanish, thing, vocabulary

LEAST = 0.25
MOST_TOKENS = 400
END = 0
few = settings(deadline=None, max_examples=60, phases=(Phase.generate,))
many = settings(deadline=None, max_examples=200, phases=(Phase.generate,))
"""Without shrinking: a scene that fails is told as it was found, since a walk is long."""

# ---------------------------------------------------------------- tokenizers and models


def words() -> Iterator[str]:
    """What the tokenizers are made from: the vocabulary and a few sentences in both languages."""
    yield from (f"A {word.word} with two {word.word}s." for word in vocabulary().words)
    yield from ("What looks like a dog sitting on the grass, beside three people.",) * 3
    yield from ("Lo que podría ser un niño está tumbado sobre el césped, con vegetación.",) * 3
    yield from ("A happy man is not standing without 3 dogs in the garden; ¿qué?",) * 3


@cache
def byte_level() -> Tokens:
    """As GPT-2, SmolLM2 and Qwen have it: a word's token holds the space before it, accents are two bytes."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=["<end>", "<image>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(words(), trainer)
    return Tokens.of(made, [END], made.get_vocab_size() + 7)


@cache
def sentence_piece() -> Tokens:
    """As Llama 2 has it: the first word has a space too, and a letter that is no token is written in bytes."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=["<end>", "<unk>"], show_progress=False, limit_alphabet=60
    )
    made.train_from_iterator(words(), trainer)
    told = json.loads(made.to_str())
    size = len(told["model"]["vocab"])
    told["model"]["vocab"] |= {f"<0x{byte:02X}>": size + byte for byte in range(256)}
    return Tokens.of(Tokenizer.from_str(json.dumps(told)), [END], size + 256)


LANGUAGES = st.sampled_from(("en", "es"))
TOKENIZERS = st.sampled_from((byte_level, sentence_piece))


def logprobs(scores: Floats) -> Floats:
    return scores - np.float32(np.logaddexp.reduce(scores))


@dataclass
class Model:
    """A scripted model: noise, and at each step a few tokens that it is sure of."""

    chance: np.random.Generator
    size: int
    sure_of: int = 0

    def next(self) -> Floats:
        scores = self.chance.normal(0, 2, self.size).astype(np.float32)
        scores[self.chance.integers(0, self.size, self.sure_of)] += 14
        return logprobs(scores)


@dataclass
class Text:
    """What was written under a constraint. `half` are bytes of a letter whose others are still to come."""

    pieces: list[Piece] = field(default_factory=list)
    half: bytes = b""
    ended: bool = False

    def add(self, data: bytes, logprob: float) -> None:
        whole = (self.half + data).decode(errors="ignore")
        self.half = (self.half + data)[len(whole.encode()) :]
        self.pieces.append(Piece(whole, logprob))

    def __str__(self) -> str:
        return "".join(piece.text for piece in self.pieces)


def walk(constraint: Constraint, tokens: Tokens, model: Model) -> Text:
    """A random text under the constraint. It has not ended if it was led into a dead end."""
    text = Text()
    for _ in range(MOST_TOKENS):
        wanted = model.next()
        mask = constraint.mask(wanted)
        assert mask is not None
        assert mask.shape == (tokens.size,)
        if not mask.any():
            return text
        token = int(np.argmax(np.where(mask, wanted + model.chance.gumbel(size=tokens.size), -np.inf)))
        constraint.take(token)
        if token not in tokens.ends:
            text.add(tokens.written[token], float(wanted[token]))
        if constraint.finished:
            text.ended = True
            return text
    raise AssertionError(f"no end after {MOST_TOKENS} tokens: {text}")


def task(shown: Scene, speech: Speech, form: Form, least: float = LEAST) -> Task:
    told = sentence(shown, Request(), speech)
    guide = guide_of(shown, speech, Profile.ALT, least)
    return Task(Prompt("", ""), told.head, form, guide)


def task_in(language: str, shown: Scene, form: Form, least: float = LEAST) -> Task:
    speech = {"en": english, "es": spanish}[language]()
    said = sayable(shown, speech, vocabulary())
    assume(said.things)
    return task(said, speech, form, least)


# ---------------------------------------------------------------- random walks


@many
@given(shown=scenes(), language=LANGUAGES, tokens=TOKENIZERS, seed=st.integers(0, 2**32))
def test_a_strict_walk_always_ends_in_a_sentence_of_the_scene(
    shown: Scene, language: str, tokens: Callable[[], Tokens], seed: int
) -> None:
    """No model, however wild, can say anything else, nor get lost."""
    asked = task_in(language, shown, Form.STRICT)
    model = Model(np.random.default_rng(seed), tokens().size, sure_of=3)
    text = walk(constraint_of(asked, tokens()), tokens(), model)
    assert text.ended
    assert accepts(asked.allowed, str(text).strip())
    assert reading(asked, text.pieces) is not None


@few
@given(shown=scenes(), language=LANGUAGES, tokens=TOKENIZERS, seed=st.integers(0, 2**32))
def test_a_guided_walk_without_ground_always_ends_in_a_sentence(
    shown: Scene, language: str, tokens: Callable[[], Tokens], seed: int
) -> None:
    """A model that is sure of nothing words the scene, adds nothing, and is never led into a dead end."""
    asked = task_in(language, shown, Form.GUIDED, least=0.9)
    text = walk(constraint_of(asked, tokens()), tokens(), Model(np.random.default_rng(seed), tokens().size))
    assert text.ended, str(text)
    reads = reading(asked, text.pieces)
    assert reads is not None, str(text)
    assert not [claim for claim in reads.claims if claim.source.startswith("model")]


@few
@given(
    shown=scenes(),
    language=LANGUAGES,
    tokens=TOKENIZERS,
    seed=st.integers(0, 2**32),
    sure_of=st.integers(1, 3),
)
def test_a_guided_walk_says_only_what_the_judge_takes(
    shown: Scene, language: str, tokens: Callable[[], Tokens], seed: int, sure_of: int
) -> None:
    """A model that is sure of nonsense is followed only as far as its words have ground: judge and mask agree."""
    asked = task_in(language, shown, Form.GUIDED)
    model = Model(np.random.default_rng(seed), tokens().size, sure_of)
    text = walk(constraint_of(asked, tokens()), tokens(), model)
    judge = Judge(asked)
    assert all(judge.take(piece) for piece in text.pieces), str(text)
    assert (judge.reading() is not None) == text.ended, str(text)


@few
@given(shown=scenes(), language=LANGUAGES, form=st.sampled_from(Form), seed=st.integers(0, 2**32))
def test_without_its_mask_the_same_model_is_rejected(
    shown: Scene, language: str, form: Form, seed: int
) -> None:
    """The judge would have noticed: the walks prove something."""
    asked, tokens = task_in(language, shown, form), byte_level()
    model = Model(np.random.default_rng(seed), tokens.size, sure_of=3)
    text = Text()
    for _ in range(40):
        wanted = model.next()
        token = int(np.argmax(wanted + model.chance.gumbel(size=tokens.size)))
        text.add(tokens.written[token], float(wanted[token]))
    assert reading(asked, text.pieces) is None
    assert reading(asked, [*text.pieces, Piece(".", 0.0)]) is None


# ---------------------------------------------------------------- what a mask lets through


@few
@given(shown=scenes(), language=LANGUAGES, tokens=TOKENIZERS, form=st.sampled_from(Form), data=st.data())
def test_every_sentence_of_the_scene_can_be_written_token_by_token(
    shown: Scene, language: str, tokens: Callable[[], Tokens], form: Form, data: st.DataObject
) -> None:
    """In whatever tokens the mask leaves; with its full stop it is finished."""
    asked = task_in(language, shown, form)
    text = spell(asked.allowed, lambda ways: data.draw(st.integers(0, ways - 1)))
    rest, constraint = text.encode(), constraint_of(asked, tokens())
    none = np.full(tokens().size, -50, dtype=np.float32)
    while rest:
        mask = constraint.mask(none)
        assert mask is not None
        allowed = [token for token in tokens().beginning(rest) if mask[token]]
        assert allowed, (text, rest)
        token = data.draw(st.sampled_from(allowed))
        constraint.take(token)
        rest = rest[len(tokens().written[token]) :]
    assert constraint.finished


@pytest.mark.parametrize("tokens", [byte_level, sentence_piece])
def test_a_text_ends_exactly_where_the_grammar_lets_it(tokens: Callable[[], Tokens]) -> None:
    """Where it may go on too the end is a token like any other; where it may not, none is needed."""
    asked, made = Task(Prompt("", ""), sequence("yes", Optional(Literal(" sir")))), tokens()
    longer, shorter = constraint_of(asked, made), constraint_of(asked, made)
    zeros = np.zeros(made.size, dtype=np.float32)
    for at, letter in enumerate("yes sir"):
        mask = longer.mask(zeros)
        assert mask is not None
        assert bool(mask[END]) == (at == len("yes"))
        assert not longer.finished
        longer.take(made.ids[letter.encode()][0])
    for token in (*(made.ids[letter.encode()][0] for letter in "yes"), END):
        assert not shorter.finished
        shorter.take(token)
    for done in (longer, shorter):
        assert done.finished
        with pytest.raises(NothingAllowed):
            done.mask(zeros)


def test_special_tokens_are_no_text() -> None:
    """A picture's placeholder, padding of the vocabulary and the end are never part of a sentence."""
    tokens = byte_level()
    for form in Form:
        mask = constraint_of(task(DOG, english(), form), tokens).mask(np.zeros(tokens.size, dtype=np.float32))
        assert mask is not None
        assert not mask[[0, 1, *range(tokens.size - 7, tokens.size)]].any()


def test_a_token_that_the_mask_forbids_cannot_be_taken() -> None:
    """The constraint does not trust its engine."""
    tokens = byte_level()
    for form in Form:
        with pytest.raises(ValueError, match=r"allow|refuse"):
            constraint_of(task(DOG, english(), form), tokens).take(tokens.ids[b"!"][0])


# ---------------------------------------------------------------- a word of the model's own

DOG = scene(thing("dog", kind="animal"), background=BLUE_SKY)


def after(text: str, **next_: float) -> dict[str, bool]:
    """Of tokens with a probability, after a text that is sure: which of them are allowed."""
    tokens = byte_level()
    constraint = constraint_of(task(DOG, english(), Form.GUIDED), tokens)
    sure = np.full(tokens.size, -30, dtype=np.float32)
    for letter in text.encode():
        token = tokens.ids[bytes([letter])][0]
        scores = sure.copy()
        scores[token] = 0
        constraint.mask(scores)
        constraint.take(token)
    scores = sure.copy()
    for piece, probability in next_.items():
        scores[tokens.ids[piece.encode()][0]] = math.log(probability)
    mask = constraint.mask(scores)
    assert mask is not None
    return {piece: bool(mask[tokens.ids[piece.encode()][0]]) for piece in next_}


def test_a_word_of_its_own_begins_only_with_enough_ground() -> None:
    """Above the threshold it may start, below it may not; words that somebody knows need none."""
    assert after("A dog on ", x=0.6, z=0.2, d=0.0001, n=0.0001) == {
        "x": True,
        "z": False,
        "d": False,
        "n": True,
    }


def test_a_word_goes_on_only_while_it_keeps_its_ground() -> None:
    """Its pieces are multiplied: half of a half is still a quarter, and a little less is too little."""
    assert after("A dog on x", x=0.26, z=0.24) == {"x": True, "z": False}


def test_a_word_ends_only_where_the_model_ends_it() -> None:
    """The start of a word that the model means to go on is no word, even if the start alone is likely."""
    assert after("A dog on xx", **{".": 0.1, "x": 0.85}) == {".": False, "x": True}
    assert after("A dog on xx", **{".": 0.3, "x": 0.65}) == {".": True, "x": True}


@pytest.mark.parametrize(
    "planted", ["A dog with three", "A dog with no", "A dog with Rex", "A happy", "A black sky"]
)
def test_what_no_ground_allows_is_masked_at_the_latest_where_its_word_ends(planted: str) -> None:
    """A model that is quite sure of a falsehood cannot finish the word for it."""
    tokens, asked = byte_level(), task(DOG, english(), Form.GUIDED)
    constraint = constraint_of(asked, tokens)
    allowed = []
    for letter in f"{planted} dog".encode():
        token = tokens.ids[bytes([letter])][0]
        scores = np.full(tokens.size, -30, dtype=np.float32)
        scores[token] = 0
        mask = constraint.mask(scores)
        assert mask is not None
        allowed.append(bool(mask[token]))
        if not allowed[-1]:
            break
        constraint.take(token)
    assert not all(allowed)
    assert len(allowed) <= len(planted) + 1
