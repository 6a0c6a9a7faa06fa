"""The decision on one drafted caption: which candidate is published, in which form, or why none is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from captionstream.contracts.messages import CheckFinding, Decision, Draft, Redaction
from services.safety.checks.check import Check, CheckContext, Scope, examined
from services.safety.policy import Policy, Rule, Setting
from services.safety.redaction import Redacted, redacted, says_something

NO_CANDIDATE = "no candidate may be published"
SUBJECT_GONE = "nothing is left of the caption once it is redacted"


@dataclass(frozen=True, slots=True)
class Choice:
    """`draft` is None unless something is published; `text` is what is shown then."""

    decision: Decision
    findings: tuple[CheckFinding, ...]
    reason: str = ""
    draft: Draft | None = None
    text: str = ""
    redactions: tuple[Redaction, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate, what the checks saw in it, and the gravest rule that applies (None: nothing to act on)."""

    draft: Draft
    findings: tuple[CheckFinding, ...]
    rule: Rule | None
    place: int

    @property
    def decision(self) -> Decision:
        return self.rule.then if self.rule else Decision.PUBLISH

    @property
    def tolerable(self) -> bool:
        """To be rewritten if possible, yet better than no caption."""
        return self.rule is not None and self.rule.otherwise is Decision.PUBLISH


@dataclass(frozen=True, slots=True)
class Judge:
    """The checks and the policy, for one request."""

    checks: Sequence[Check]
    policy: Policy
    context: CheckContext

    def choose(self, candidates: Sequence[Draft]) -> Choice:
        """The first candidate that may be shown. `hold` and `block` end the search."""
        seen: tuple[CheckFinding, ...] = ()
        tolerable: Judged | None = None
        for place, draft in enumerate(candidates):
            judged = self.judged(draft, place)
            seen += judged.findings
            if judged.decision in (Decision.HOLD, Decision.BLOCK):
                assert judged.rule is not None
                return Choice(judged.decision, seen, judged.rule.reason)
            if judged.decision is not Decision.REWRITE:
                return self.published(judged, seen)
            if tolerable is None and judged.tolerable:
                tolerable = judged
        return self.published(tolerable, seen) if tolerable else Choice(Decision.HOLD, seen, NO_CANDIDATE)

    def judged(self, draft: Draft, place: int) -> Judged:
        found = (finding.model_copy(update={"candidate": place}) for finding in self.findings(draft.text))
        findings = tuple(found)
        return Judged(draft, findings, self.policy.verdict(findings, self.setting(draft.writer)), place)

    def findings(self, text: str, *scopes: Scope) -> Iterator[CheckFinding]:
        return examined(
            (check for check in self.checks if not scopes or check.scope in scopes), text, self.context
        )

    def setting(self, writer: str) -> Setting:
        event = self.context.event
        return Setting(event.profile, event.purpose, event.tenant, writer)

    def published(self, judged: Judged, seen: tuple[CheckFinding, ...]) -> Choice:
        """The candidate, redacted where the policy says so. Held when that takes its subject away."""
        decision = Decision.REWRITE if judged.place else Decision.PUBLISH
        choice = Choice(decision, seen, draft=judged.draft, text=judged.draft.text)
        to_redact = self.to_redact(judged.findings, judged.draft.writer)
        if not to_redact:
            return choice
        result = redacted(choice.text, to_redact, self.context.lexicon.replacements)
        if not self.may_stand(result, judged.draft):
            return Choice(Decision.HOLD, seen, SUBJECT_GONE)
        return replace(choice, decision=Decision.REDACT, text=result.text, redactions=result.redactions)

    def to_redact(self, findings: Sequence[CheckFinding], writer: str) -> list[CheckFinding]:
        setting = self.setting(writer)
        return [
            finding for finding in findings if self.policy.rule_for(finding, setting).then is Decision.REDACT
        ]

    def may_stand(self, result: Redacted, draft: Draft) -> bool:
        """Whether something was removed, the rest still says something, and nothing in it is acted on."""
        scene = self.context.scene
        subject = scene.subject if scene else None
        nouns = (
            [subject.noun, subject.plural]
            if subject and draft_names(draft, subject.noun, subject.plural)
            else []
        )
        again = self.policy.verdict(
            self.findings(result.text, Scope.TEXT, Scope.PICTURE), self.setting(draft.writer)
        )
        whole = says_something(result, nouns, self.context.lexicon.function_words.entries)
        return bool(result.redactions) and whole and again is None

    # ------------------------------------------------------------ text that rides beside the caption

    def shown(self, text: str, *, quotation: bool = False) -> tuple[str | None, tuple[CheckFinding, ...]]:
        """A text that leaves beside the caption: as it is, redacted, or None if it must not be shown."""
        opening, closing = ("“", "”") if quotation else ("", "")
        wrapped = f"{opening}{text}{closing}"
        findings = tuple(self.findings(wrapped, Scope.TEXT))
        rule = self.policy.verdict(findings, self.setting("plain"))
        if rule is None:
            return text, ()
        if rule.then is not Decision.REDACT:
            return None, findings
        result = redacted(wrapped, self.to_redact(findings, "plain"), self.context.lexicon.replacements)
        return result.text.removeprefix(opening).removesuffix(closing), findings


def draft_names(draft: Draft, *nouns: str) -> bool:
    return any(noun.casefold() in draft.text.casefold() for noun in nouns)
