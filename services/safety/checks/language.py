"""Whether the text is in the language that was asked for (A17: WCAG 3.1.2, Language of Parts)."""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock
from typing import Any

from captionstream.contracts.messages import CheckFinding
from services.safety.checks.check import Check, CheckContext, Scope
from services.safety.words import unquoted, words

NAME = "language"
LEAST_WORDS = 5  # shorter texts do not tell their language
UNLIKELY = (
    0.05  # on 452 captions of people this flags none of its own language and 96 to 100 % of most others
)
NEIGHBOURS = ("ca", "de", "en", "es", "fr", "it", "nl", "pt")  # told apart from the languages that are served


class LanguageCheck:
    """`py3langid`, restricted to the languages that are served and to those that they are mistaken for.

    Its model takes a second to unpack: at the first text, or before that by `load`, in another thread.
    """

    def __init__(self, languages: Collection[str]) -> None:
        self._languages = sorted({*languages, *NEIGHBOURS})
        self._model: Any = None
        self._loading = Lock()

    def __call__(self, text: str, context: CheckContext) -> list[CheckFinding]:
        own = unquoted(text)
        if len(words(own)) < LEAST_WORDS:
            return []
        self.load()
        likely = float(dict(self._model.rank(own))[context.lexicon.language])
        return [CheckFinding(check=NAME, rule="other", score=1 - likely)] if likely < UNLIKELY else []

    def load(self) -> None:
        with self._loading:
            if self._model is None:
                self._model = model(self._languages)


def model(languages: list[str]) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(languages)
    return identifier


def check(examine: LanguageCheck) -> Check:
    return Check(name=NAME, rules=frozenset({"other"}), examine=examine, scope=Scope.CAPTION)
