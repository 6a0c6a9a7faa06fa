"""Safety: CaptionDrafted in, exactly one answer out; DraftDelta in, partial text out that stays safe.

Nothing else writes what consumers read. It fails closed: a check that raises, a finding that the policy does
not know and a language without word lists all end in a held caption.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from captionstream.contracts import messages as m
from captionstream.contracts.identity import caption_id
from captionstream.contracts.messages import Decision, RefusalReason
from captionstream.contracts.values import Purpose, StageName
from captionstream.runtime.clock import Clock, utc_now
from captionstream.runtime.stage import CarriedFields, Delivery, carry
from captionstream.telemetry import metrics
from services.safety.checks.check import Check, CheckContext, Scope
from services.safety.choice import Choice, Judge
from services.safety.facts import FactChecker, Facts
from services.safety.lexicons import Lexicon
from services.safety.policy import Policy
from services.safety.release import releasable

LAST = 2**31 - 1  # the sequence of the delta that ends a caption's partial text: it sorts after all others
REMEMBERED = 4096  # captions in the middle of their partial text
WORDLESS = (StageName.INGEST, StageName.ENCODER)  # what is refused there never had a text
UNSERVED = m.CheckFinding(check="language", rule="unserved")
MODEL = "model"


@dataclass
class SafetyStage:
    """`checks` in the order in which findings are listed; `lexicons` by primary language subtag."""

    checks: Sequence[Check]
    policy: Policy
    lexicons: Mapping[str, Lexicon]
    clock: Clock = utc_now
    name: StageName = StageName.SAFETY
    _released: OrderedDict[tuple[str, int], str] = field(default_factory=OrderedDict)

    async def advance(self, message: m.Message, delivery: Delivery) -> AsyncIterator[m.Message]:
        """Partial text, then the answer, then the held draft. Raises TypeError for what is not on its way."""
        for produced in self.produced(message, delivery):
            yield produced

    def produced(self, message: m.Message, delivery: Delivery) -> Iterator[m.Message]:
        match message:
            case m.DraftDelta():
                return self.partial(message, delivery)
            case m.CaptionDrafted():
                return self.answered(message, delivery)
            case _:
                raise TypeError(f"safety does not take {type(message).__name__}")

    def refuse(self, refused: m.Refused) -> tuple[m.Message, ...]:
        """The answer to an event that a stage could not carry on; partial text of it is taken back."""
        answer = m.CaptionRefused(
            **carry(refused, Delivery(refused.accepted_at, refused.event_digest)),
            caption_id=caption_id(refused.event),
            governance=m.Governance(decision=Decision.BLOCK, policy=self.policy.reference),
            image_digest=refused.image_digest,
            answered_at=self.clock(),
            reason=refused.reason,
            stage=refused.stage,
            detail=refused.detail,
        )
        observe(answer)
        return (answer,) if refused.stage in WORDLESS else (retraction(answer), answer)

    # ------------------------------------------------------------ partial text

    def partial(self, delta: m.DraftDelta, delivery: Delivery) -> Iterator[m.CaptionDelta]:
        """At most one message: the safe part of the text so far, if it is more than was shown before."""
        try:
            text = self.released(delta)
        except Exception:
            return  # best effort: the caption itself is still to come, and has its own way to fail
        key = caption_id(delta.event), delta.attempt
        if len(text) > len(self._released.get(key, "")):
            self.remember(key, text)
            yield m.CaptionDelta(
                **carry(delta, delivery), caption_id=key[0], attempt=delta.attempt, sequence=delta.sequence,
                status=m.DeltaStatus.PARTIAL, text=text,
            )  # fmt: skip

    def released(self, delta: m.DraftDelta) -> str:
        """Nothing while the picture itself is in doubt, nor where the right caption is an empty one."""
        lexicon = self.lexicons.get(primary(delta.event))
        if lexicon is None or delta.event.purpose is Purpose.DECORATIVE:
            return ""
        context = CheckContext(delta.event, lexicon, content_score=delta.content_score)
        judge = Judge(self.checks, self.policy, context)
        setting = judge.setting(MODEL)
        if self.policy.verdict(judge.findings(delta.text, Scope.PICTURE), setting):
            return ""
        return releasable(
            delta.text,
            self.checks,
            context,
            lambda finding: self.policy.verdict([finding], setting) is not None,
        )

    def remember(self, key: tuple[str, int], text: str) -> None:
        self._released[key] = text
        self._released.move_to_end(key)
        if len(self._released) > REMEMBERED:
            self._released.popitem(last=False)

    def forget(self, event: m.Event, attempt: int) -> None:
        for earlier in range(1, attempt + 1):
            self._released.pop((caption_id(event), earlier), None)

    # ------------------------------------------------------------ the answer

    def answered(self, drafted: m.CaptionDrafted, delivery: Delivery) -> Iterator[m.Message]:
        """The end of the partial text, the answer, and for a held caption what a reviewer needs."""
        choice, facts = self.decided(drafted)
        carried = carry(drafted, delivery)
        self.forget(drafted.event, drafted.attempt)
        yield ending(drafted, choice, carried)
        answer = self.answer(drafted, choice, facts, carried)
        count(answer)
        yield answer
        if isinstance(answer, m.CaptionHeld):
            yield m.DraftHeld(
                **carried, caption_id=answer.caption_id, draft=drafted, governance=answer.governance,
                reason=answer.reason,
            )  # fmt: skip

    def decided(self, drafted: m.CaptionDrafted) -> tuple[Choice, Facts | None]:
        lexicon = self.lexicons.get(primary(drafted.event))
        if lexicon is None:
            return Choice(Decision.HOLD, (UNSERVED,), "a language without word lists"), None
        context = CheckContext(
            drafted.event, lexicon, drafted.supplied, drafted.scene, content_score=drafted.scene.content_score
        )
        judge = Judge(self.checks, self.policy, context)
        choice = judge.choose(drafted.candidates)
        if choice.draft is None:
            return choice, None
        facts = FactChecker(judge, drafted.candidates.index(choice.draft)).facts(drafted, choice.draft)
        return with_facts(choice, facts), facts

    def answer(
        self, drafted: m.CaptionDrafted, choice: Choice, facts: Facts | None, carried: CarriedFields
    ) -> m.Answer:
        answer = m.Answer(
            **carried,
            caption_id=caption_id(drafted.event),
            governance=m.Governance(
                decision=choice.decision, policy=self.policy.reference, findings=choice.findings,
                redactions=choice.redactions,
            ),
            image_digest=drafted.image.digest,
            provenance=drafted.provenance,
            answered_at=self.clock(),
        )  # fmt: skip
        if choice.draft is not None and facts is not None:
            return published(answer, drafted, choice, choice.draft, facts)
        if choice.decision is Decision.BLOCK:
            return refused(answer, choice)
        return held(answer, choice)


def primary(event: m.Event) -> str:
    """The primary subtag: `en` of `en-GB`."""
    return event.language.split("-")[0].lower()


def with_facts(choice: Choice, facts: Facts) -> Choice:
    """A caption beside which something had to be left out was redacted, too."""
    if not facts.findings:
        return choice
    decision = Decision.REDACT if choice.decision is Decision.PUBLISH else choice.decision
    return replace(choice, decision=decision, findings=(*choice.findings, *facts.findings))


def ending(drafted: m.CaptionDrafted, choice: Choice, carried: CarriedFields) -> m.CaptionDelta:
    status = m.DeltaStatus.FINAL if choice.draft is not None else m.DeltaStatus.RETRACTED
    return m.CaptionDelta(
        **carried, caption_id=caption_id(drafted.event), attempt=drafted.attempt, sequence=LAST,
        status=status, text=choice.text,
    )  # fmt: skip


def retraction(answer: m.CaptionRefused) -> m.CaptionDelta:
    return m.CaptionDelta(
        event=answer.event, event_digest=answer.event_digest, accepted_at=answer.accepted_at,
        caption_id=answer.caption_id, attempt=1, sequence=LAST, status=m.DeltaStatus.RETRACTED, text="",
    )  # fmt: skip


def published(
    answer: m.Answer, drafted: m.CaptionDrafted, choice: Choice, draft: m.Draft, facts: Facts
) -> m.CaptionPublished:
    return m.CaptionPublished(
        **fields(answer),
        text=choice.text,
        long_description=facts.long_description,
        language=drafted.event.language,
        profile=drafted.event.profile,
        confidence=draft.confidence,
        hedged=draft.hedged,
        abstained=draft.abstained,
        writer=draft.writer,
        claims=facts.claims,
        scene=facts.scene,
        inspection=facts.inspection,
    )


def held(answer: m.Answer, choice: Choice) -> m.CaptionHeld:
    event = answer.event
    return m.CaptionHeld(
        **fields(answer), reason=choice.reason, language=event.language, profile=event.profile
    )


def refused(answer: m.Answer, choice: Choice) -> m.CaptionRefused:
    return m.CaptionRefused(
        **fields(answer), reason=RefusalReason.BLOCKED, stage=StageName.SAFETY, detail=choice.reason
    )


def fields(answer: m.Answer) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in m.Answer.model_fields}


# ---------------------------------------------------------------- metrics


def count(answer: m.Answer) -> None:
    metrics.DECISIONS.labels(answer.governance.decision, answer.event.profile).inc()
    for finding in answer.governance.findings:
        metrics.FINDINGS.labels(finding.check, finding.rule).inc()
    observe(answer)


def observe(answer: m.Answer) -> None:
    elapsed = (answer.answered_at - answer.accepted_at).total_seconds()
    metrics.ANSWER_SECONDS.labels(answer.outcome).observe(max(0.0, elapsed))
