"""What is known of one answered picture: the value that is saved, counted, compared and shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from captionstream.contracts import messages as m
from captionstream.contracts.values import StageTiming, Value
from captionstream.evaluation.captioning import Asked
from captionstream.evaluation.claims import Caption, ClaimChecker
from captionstream.evaluation.judging import ABSTAINED, Category, Judge, Verdict
from captionstream.evaluation.phrases import QUOTED, WORD
from captionstream.evaluation.pixels import Look
from services.safety.checks.alt_rules import alt_rules
from services.safety.checks.check import CheckContext
from services.safety.lexicons import Lexicon, lexicon

ADVICE = frozenset({"A08-wanted", "A01-beside"})
"""Alt-text rules that a published text may break: shorter is nicer, and what stands beside is not known here."""
LANGUAGES = ("en", "es", "fr", "de", "pt", "it", "nl", "ca")
TELLING = 5  # words from which a text tells its language
READ = "en"  # the language whose captions are read; others are published unread


class Outcome(StrEnum):
    PUBLISHED = "published"
    HELD = "held"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


class Judgement(Value):
    """`category` is None where no labels say what the picture shows, or in a language that is not read.

    Held, refused and unanswered pictures have no caption that a user could read: they count as abstained.
    """

    file: str
    outcome: Outcome
    accepted: tuple[str, ...] = ()
    text: str = ""
    reason: str | None = None
    confidence: float | None = None
    hedged: bool = False
    category: str | None = None
    head: str | None = None
    unsupported: tuple[str, ...] = ()
    checked: bool = False
    lint: tuple[str, ...] = ()
    language: str | None = None
    asked_language: str = READ
    timings: tuple[StageTiming, ...] = ()
    captions: tuple[str, ...] = ()

    @property
    def names_something(self) -> bool:
        return self.category is not None and self.category != "abstained"

    @property
    def right(self) -> bool:
        return self.category in ("exact", "within_two", "vague")

    @property
    def total_ms(self) -> float:
        return sum(timing.waited_ms + timing.worked_ms for timing in self.timings)


@dataclass(frozen=True)
class Examiner:
    """All judges of one language, over one picture after the other."""

    judge: Judge
    checker: ClaimChecker
    lexicon: Lexicon
    language_of: Callable[[str], str | None]

    @classmethod
    def of(cls, judge: Judge, language: str) -> Examiner:
        """Raises NoLexicon for a language that is not served."""
        return cls(judge, ClaimChecker(judge.nouns), lexicon(language), languages())

    def examine(self, asked: Asked) -> Judgement:
        reference, answer = asked.reference, asked.answer
        known = {"file": reference.file, "accepted": reference.subject, "captions": reference.captions}
        if not isinstance(answer, m.CaptionPublished):
            category = Category.ABSTAINED.name.lower() if reference.subject else None
            return Judgement(**known, outcome=outcome_of(answer), reason=reason_of(answer), category=category,
                             timings=answer.timings if answer else ())  # fmt: skip
        verdict = self._verdict(asked, answer)
        return Judgement(
            **known,
            outcome=Outcome.PUBLISHED,
            text=answer.text,
            confidence=answer.confidence,
            hedged=answer.hedged,
            category=verdict.category.name.lower() if verdict else None,
            head=verdict.head if verdict else None,
            unsupported=self._unsupported(asked, answer),
            checked=is_read(answer.language),
            lint=self._broken_rules(answer),
            language=self.language_of(answer.text),
            asked_language=answer.event.language,
            timings=answer.timings,
        )

    def _verdict(self, asked: Asked, answer: m.CaptionPublished) -> Verdict | None:
        if not asked.reference.subject or not is_read(answer.language):
            return None
        if not answer.text:
            return ABSTAINED
        subject = answer.scene.subject
        synset = subject.synset if subject else None
        return self.judge.judge(answer.text, answer.hedged, answer.abstained, synset, asked.reference.subject)

    def _unsupported(self, asked: Asked, answer: m.CaptionPublished) -> tuple[str, ...]:
        if not is_read(answer.language):
            return ()
        reference = asked.reference
        caption = Caption(
            answer.text, answer.scene, answer.claims, reference.subject, reference.kind, reference.captions
        )
        found = self.checker.unsupported(caption, Look.of(asked.picture))
        return tuple(f"{each.kind} {each.words!r}: {each.why}" for each in found)

    def _broken_rules(self, answer: m.CaptionPublished) -> tuple[str, ...]:
        """By the same rules as the safety service: one place decides what an alternative text is."""
        context = CheckContext(answer.event, self.lexicon, scene=answer.scene)
        rules = (finding.rule for finding in alt_rules(answer.text, context))
        return tuple(sorted({rule for rule in rules if rule not in ADVICE}))


def is_read(language: str) -> bool:
    return language.split("-")[0].lower() == READ


def languages() -> Callable[[str], str | None]:
    """Tells the language of a text, among LANGUAGES, by what is not quoted; None if that is too short to tell."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))

    def language_of(text: str) -> str | None:
        own = QUOTED.sub(" ", text)
        return str(identifier.classify(own)[0]) if len(WORD.findall(own)) >= TELLING else None

    return language_of


def outcome_of(answer: m.Answer | None) -> Outcome:
    return Outcome.UNANSWERED if answer is None else Outcome(answer.outcome)


def reason_of(answer: m.Answer | None) -> str:
    match answer:
        case m.CaptionHeld():
            return answer.reason
        case m.CaptionRefused():
            return f"{answer.reason}: {answer.detail}" if answer.detail else str(answer.reason)
        case _:
            return "no answer in time"
