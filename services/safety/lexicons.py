"""Word lists of a language: one YAML file each, and the profanity list of `glin-profanity`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict

from services.safety.words import WORD, Phrases

PROFANITY_LISTS = {"en": "english", "es": "spanish", "fr": "french", "de": "german", "pt": "portuguese"}
PhraseList = Annotated[Phrases, BeforeValidator(Phrases)]
Kinds = dict[str, PhraseList]


class Lexicon(BaseModel):
    """The lists of one language. Entries may use braces for endings: `cieg{o,a,os,as}`.

    people, compound_people: nouns for persons; the second ones also begin names of things ("baby carriage").
    modifiers: words that may stand between an attribute and its noun. copulas: what joins a person to one.
    links: what joins a person to a condition ("with"). attributes, conditions, labels: by kind of trait.
    adjectives_follow: whether attributes stand after the noun. harmless: phrases that true captions say; they
    hide the profanity entries within them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    language: str
    people: PhraseList
    compound_people: PhraseList
    modifiers: PhraseList
    copulas: PhraseList
    links: PhraseList
    adjectives_follow: bool
    attributes: Kinds
    conditions: Kinds
    labels: Kinds
    gendered: PhraseList
    titles: PhraseList
    naming: PhraseList
    function_words: PhraseList
    placeholders: PhraseList
    image_of: PhraseList
    credit: PhraseList
    praise: PhraseList
    preamble: PhraseList
    instructions: PhraseList
    phone_words: PhraseList
    harmless: PhraseList
    profanity: PhraseList
    profane_tokens: frozenset[str]
    replacements: dict[str, str]

    @cached_property
    def between(self) -> Phrases:
        """What may stand between an attribute and the person: modifiers and other attributes."""
        listed = (self.modifiers, *self.attributes.values())
        return joined(listed)

    @cached_property
    def traits(self) -> Phrases:
        """All attributes, conditions and labels: a text that has none of them need not be read for each kind."""
        return joined(
            phrases for kinds in (self.attributes, self.conditions, self.labels) for phrases in kinds.values()
        )


def joined(lists: Iterable[Phrases]) -> Phrases:
    return Phrases(entry for phrases in lists for entry in phrases.entries)


class NoLexicon(Exception):
    """A language is to be served for which there are no word lists."""


def folder() -> Traversable:
    return resources.files("services.safety") / "lexicons"


def available() -> frozenset[str]:
    """The languages that have a file."""
    names = (entry.name for entry in folder().iterdir())
    return frozenset(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def lexicon(language: str) -> Lexicon:
    """The lists of one language. Raises NoLexicon."""
    if language not in available():
        raise NoLexicon(f"no word lists for {language!r}; there are {', '.join(sorted(available()))}")
    content = yaml.safe_load((folder() / f"{language}.yaml").read_text("utf-8"))
    profane = profanity(language, Phrases(content["harmless"]))
    return Lexicon(
        language=language,
        profanity=tuple(filter(is_words, profane)),
        profane_tokens=frozenset(entry for entry in profane if not is_words(entry)),
        **content,
    )


def profanity(language: str, harmless: Phrases) -> list[str]:
    """The package's list for the language. Raises NoLexicon: an empty list would let everything pass."""
    from glin_profanity.data.dictionary import DictionaryLoader

    listed = DictionaryLoader().get_words(PROFANITY_LISTS[language])
    if not listed:
        raise NoLexicon(f"the profanity list for {language!r} could not be read")
    return sorted({word.casefold() for word in listed} - {entry.casefold() for entry in harmless.entries})


def is_words(entry: str) -> bool:
    """Whether the entry consists of words; the rest (`f*ck`, emoji) is compared as it stands."""
    return not WORD.sub("", entry).strip(" ")
