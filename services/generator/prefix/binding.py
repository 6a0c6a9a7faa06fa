"""What binds a text, as data on its way to the process of the reference engine, and as a constraint when it is there.

The whole guide travels, with the words of its language: what binds there is what the judge here reads by.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from tokenizers import Tokenizer

from services.generator.guided.guide import Guide
from services.generator.judge import guide_for
from services.generator.prefix.constraint import Constraint
from services.generator.prefix.grammar_mask import GrammarMask, GuideMask, Tokens, spaced_lark
from services.generator.writer import Task
from triton_models.vision_language.reference import Wanted
from triton_models.vision_language.rule import Rules, Vocabulary


class Binding(NamedTuple):
    """One of two, or nothing: a grammar in llguidance's Lark, or a guide as JSON."""

    grammar: str | None = None
    guide: str | None = None


FREE = Binding()


def binding_of(task: Task) -> Binding:
    guide = guide_for(task)
    return Binding(grammar=spaced_lark(task.allowed)) if guide is None else Binding(guide=as_json(guide))


class _Travelling(BaseModel):
    """JSON has no number for what a guide asks that leaves nothing to the model: infinity is a word there."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    guide: Guide


def as_json(guide: Guide) -> str:
    return _Travelling(guide=guide).model_dump_json()


def from_json(text: str) -> Guide:
    """Raises ValueError."""
    try:
        return _Travelling.model_validate_json(text).guide
    except ValidationError as wrong:
        said = wrong.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"this is no guide: {said['loc']}: {said['msg']}") from None


def rules_for(vocabulary: Vocabulary) -> Rules:
    """The rules of one model: those of every engine here. Takes a second."""
    tokenizer = Tokenizer.from_file(str(vocabulary.tokenizer))
    tokens = Tokens.of(tokenizer, vocabulary.ends, vocabulary.size)
    return lambda wanted: _constraint(wanted, tokens)


def _constraint(wanted: Wanted, tokens: Tokens) -> Constraint:
    if wanted.guide is not None:
        return GuideMask(from_json(wanted.guide), tokens)
    if wanted.grammar is not None:
        return GrammarMask(wanted.grammar, tokens)
    raise ValueError("nothing binds this text")
