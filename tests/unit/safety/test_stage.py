"""The safety stage: one answer to every draft, partial text that is safe, and never a thing unchecked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.identity import caption_id
from captionstream.contracts.messages import Decision, DeltaStatus, RefusalReason
from captionstream.contracts.values import Purpose, StageName
from services.safety.checks import personal_data, profanity
from services.safety.checks.check import Check, CheckContext
from services.safety.stage import LAST
from tests.unit.safety.builders import (
    NOW,
    THEN,
    ZERO,
    answer,
    checks,
    delta,
    draft,
    drafted,
    event,
    policy,
    produced,
    quoted,
    scene,
    stage,
    supplied,
    thing,
)

PLAIN = "A dog on a beach."


def raises(text: str, context: CheckContext) -> list[m.CheckFinding]:
    raise RuntimeError("out of order")


def reports(finding: m.CheckFinding) -> Check:
    return replace(profanity.CHECK, examine=lambda text, context: [finding], unsettled=None)


# ---------------------------------------------------------------- which candidate


async def test_a_clean_caption_is_published_as_it_was_drafted() -> None:
    """The best candidate's text, claims and confidence, with everything an auditor asks for."""
    claim = m.Claim(text="dog", kind=m.ClaimKind.OBJECT, source="tagger", score=0.9)
    best = draft("A dog runs on a beach.", claims=(claim,), confidence=0.7, hedged=True)
    published = await answer(stage(), drafted(best, PLAIN, asked=event(language="en-GB")))
    assert isinstance(published, m.CaptionPublished)
    assert ("A dog runs on a beach.", "smollm2", 0.7, True) == (
        published.text, published.writer, published.confidence, published.hedged,
    )  # fmt: skip
    assert (claim,) == published.claims
    assert "en-GB" == published.language
    assert Decision.PUBLISH is published.governance.decision
    assert (caption_id(published.event), NOW, ZERO) == (
        published.caption_id, published.answered_at, published.image_digest,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "text", "decision"),
    [
        ("A blind man with a dog.", PLAIN, Decision.REWRITE),
        ("A fucking dog.", PLAIN, Decision.REWRITE),
        ("Image of a dog.", PLAIN, Decision.REWRITE),
        ("Here is a caption: a dog.", PLAIN, Decision.REWRITE),
        ("Un perro en la playa con una pelota.", PLAIN, Decision.REWRITE),
        ("A beautiful dog.", PLAIN, Decision.REWRITE),
        ("A dog. Call 415-555-2671.", "A dog. Call [phone number].", Decision.REDACT),
        ("A woman and a dog.", "A woman and a dog.", Decision.PUBLISH),
    ],
)
async def test_what_becomes_of_a_doubtful_first_candidate(first: str, text: str, decision: Decision) -> None:
    """Rewriting is taking the next candidate; redaction keeps the first one."""
    published = await answer(stage(), drafted(first, PLAIN))
    assert isinstance(published, m.CaptionPublished)
    assert (text, decision) == (published.text, published.governance.decision)


async def test_redactions_are_places_in_the_published_text() -> None:
    """And name the rule, so that a reader is told what is missing."""
    published = await answer(stage(), drafted("A dog. Mail anna.lee@example.com or 415-555-2671.", PLAIN))
    assert isinstance(published, m.CaptionPublished)
    shown = [(published.text[one.start : one.end], one.rule) for one in published.governance.redactions]
    assert [("[email address]", "email"), ("[phone number]", "phone")] == shown


async def test_what_only_a_stylist_would_see_is_published_when_nothing_better_is_there() -> None:
    """`otherwise: publish` in the policy: praise alone does not hold a caption."""
    published = await answer(stage(), drafted("A beautiful dog.", "A lovely dog."))
    assert isinstance(published, m.CaptionPublished)
    assert "A beautiful dog." == published.text
    assert ["A21", "A21"] == [finding.rule for finding in published.governance.findings]


async def test_findings_name_the_candidate_and_keep_no_text() -> None:
    """What was seen in a candidate that was passed over is on record, without its words."""
    published = await answer(stage(), drafted("A blind man.", "A woman."))
    found = [(one.check, one.rule, one.candidate) for one in published.governance.findings]
    assert ("sensitive-attribute", "disability", 0) in found
    assert ("sensitive-attribute", "gender", 1) in found
    assert "blind" not in published.governance.model_dump_json()


async def test_an_empty_text_is_published_for_a_decorative_picture() -> None:
    """Silence is the right answer there, and only there."""
    published = await answer(stage(), drafted("", asked=event(purpose=Purpose.DECORATIVE)))
    assert isinstance(published, m.CaptionPublished) and published.text == ""
    assert isinstance(await answer(stage(), drafted("")), m.CaptionHeld)


async def test_a_name_is_published_only_if_it_was_supplied() -> None:
    """Pixels never tell who somebody is."""
    text, plain = "A person named Anna Lee.", "A person."
    known = await answer(stage(), drafted(text, plain, supplied=supplied(people=("Anna Lee",))))
    unknown = await answer(stage(), drafted(text, plain))
    assert isinstance(known, m.CaptionPublished) and isinstance(unknown, m.CaptionPublished)
    assert (text, plain) == (known.text, unknown.text)


# ---------------------------------------------------------------- held and refused


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (drafted('A wall. The text reads "fuck off".', PLAIN), "the text in the picture offends"),
        (drafted("A blind man.", "A deaf man."), "no candidate may be published"),
        (drafted(PLAIN, scene=scene(content_score=0.95)), "the picture may be explicit"),
        (drafted("The ann@example.com.", PLAIN), "nothing is left of the caption once it is redacted"),
        (drafted("A hund.", asked=event(language="xx")), "a language without word lists"),
    ],
)
async def test_what_a_person_must_look_at_is_held(message: m.CaptionDrafted, reason: str) -> None:
    """No text in public; the draft, whole, for the reviewers; the partial text taken back."""
    ending, held, for_reviewers = await produced(stage(), message)
    assert isinstance(ending, m.CaptionDelta) and isinstance(held, m.CaptionHeld)
    assert isinstance(for_reviewers, m.DraftHeld)
    assert (DeltaStatus.RETRACTED, "") == (ending.status, ending.text)
    assert (reason, reason, Decision.HOLD) == (held.reason, for_reviewers.reason, held.governance.decision)
    assert message == for_reviewers.draft
    public = held.model_dump_json(exclude={"provenance"})
    assert all(candidate.text not in public for candidate in message.candidates)


async def test_what_the_policy_blocks_is_refused() -> None:
    """Nobody looks on, nothing goes to the reviewers."""
    message = drafted(PLAIN, scene=scene(thing("person", "person"), content_score=0.9))
    ending, refused = await produced(stage(policy_name="strict"), message)
    assert isinstance(refused, m.CaptionRefused) and isinstance(ending, m.CaptionDelta)
    assert (RefusalReason.BLOCKED, StageName.SAFETY) == (refused.reason, refused.stage)
    assert (Decision.BLOCK, DeltaStatus.RETRACTED) == (refused.governance.decision, ending.status)


async def test_a_check_that_raises_makes_a_candidate_unpublishable() -> None:
    """Fails closed: all candidates fail the check, so a person must look."""
    broken = [replace(profanity.CHECK, examine=raises), *checks()]
    held = await answer(stage(checked=broken), drafted(PLAIN, "A dog."))
    assert isinstance(held, m.CaptionHeld)
    failures = [(one.rule, one.candidate) for one in held.governance.findings if one.check == "failed"]
    assert [("profanity", 0), ("profanity", 1)] == failures


async def test_a_check_that_raises_on_one_candidate_spoils_only_that_one() -> None:
    """The next candidate, which every check has seen, is published."""

    def raises_on_runs(text: str, context: CheckContext) -> list[m.CheckFinding]:
        return raises(text, context) if "runs" in text else []

    once = [replace(profanity.CHECK, examine=raises_on_runs), *checks()]
    published = await answer(stage(checked=once), drafted("A dog runs.", PLAIN))
    assert isinstance(published, m.CaptionPublished) and published.text == PLAIN


async def test_a_finding_that_the_policy_does_not_know_is_held() -> None:
    """What nobody thought of is not published."""
    unknown = m.CheckFinding(check="from-the-future", rule="x")
    assert isinstance(await answer(stage(checked=[reports(unknown)]), drafted(PLAIN)), m.CaptionHeld)


async def test_a_redaction_without_a_place_is_held() -> None:
    """Nothing can be cut out of a text when nobody knows where."""
    nowhere = m.CheckFinding(check="personal-data", rule="email")
    assert isinstance(await answer(stage(checked=[reports(nowhere)]), drafted(PLAIN)), m.CaptionHeld)


def test_a_refusal_of_an_earlier_stage_becomes_an_answer() -> None:
    """Only safety publishes, refusals too; reason, stage and digest are kept."""
    refused = m.Refused(
        event=event(), event_digest=ZERO, accepted_at=THEN, stage=StageName.INGEST,
        reason=RefusalReason.UNDECODABLE, detail="not an image", image_digest=ZERO,
    )  # fmt: skip
    [answered] = stage().refuse(refused)
    assert isinstance(answered, m.CaptionRefused)
    assert (RefusalReason.UNDECODABLE, StageName.INGEST, "not an image", ZERO) == (
        answered.reason, answered.stage, answered.detail, answered.image_digest,
    )  # fmt: skip
    assert (Decision.BLOCK, policy().reference, ()) == (
        answered.governance.decision, answered.governance.policy, answered.governance.findings,
    )  # fmt: skip
    assert caption_id(event()) == answered.caption_id


def test_a_refusal_after_partial_text_takes_it_back() -> None:
    """Who was shown the beginning of a caption is told that there will be none."""
    refused = m.Refused(
        event=event(), event_digest=ZERO, accepted_at=THEN, stage=StageName.GENERATOR,
        reason=RefusalReason.UNAVAILABLE,
    )  # fmt: skip
    taken_back, answered = stage().refuse(refused)
    assert isinstance(taken_back, m.CaptionDelta) and isinstance(answered, m.CaptionRefused)
    assert (m.DeltaStatus.RETRACTED, "") == (taken_back.status, taken_back.text)


@pytest.mark.parametrize(
    "message",
    [
        drafted(PLAIN),
        drafted("A blind man."),
        drafted(PLAIN, scene=scene(content_score=0.95)),
        drafted("A dog. Mail ann@example.com.", PLAIN),
    ],
)
async def test_every_answer_names_the_policy_and_its_digest(message: m.CaptionDrafted) -> None:
    """Also a held one: an auditor can tell by which rules."""
    assert policy().reference == (await answer(stage(), message)).governance.policy


# ---------------------------------------------------------------- beside the text


async def test_what_rides_beside_the_caption_leaves_under_the_same_policy() -> None:
    """Scene text, claims and long description are redacted or left out as well."""
    secret = "ann@example.com"
    sign = scene(thing("sign", "artifact"), text=quoted(f"Mail {secret}"))
    claim = m.Claim(text=f"Mail {secret}", kind=m.ClaimKind.QUOTATION, source="reader", score=0.9)
    text, long = f'A sign. The text reads "Mail {secret}".', f"It says {secret}."
    best = draft(text, claims=(claim,), long_description=long)
    published = await answer(stage(), drafted(best, scene=sign))
    assert isinstance(published, m.CaptionPublished)
    assert published.scene.text is not None
    assert "Mail [email address]" == published.scene.text.text == published.claims[0].text
    assert "It says [email address]." == published.long_description
    assert secret not in published.model_dump_json()


async def test_an_offensive_long_description_is_left_out_and_that_is_on_record() -> None:
    """The caption itself is clean, and is published without it."""
    published = await answer(stage(), drafted(draft(PLAIN, "plain", long_description="A fucking long one.")))
    assert isinstance(published, m.CaptionPublished)
    assert (PLAIN, None, Decision.REDACT) == (
        published.text, published.long_description, published.governance.decision,
    )  # fmt: skip
    assert ["long-description/word"] == [one.rule for one in published.governance.findings]


async def test_text_of_the_scene_that_offends_does_not_leave_either() -> None:
    """Not even when the caption does not quote it."""
    published = await answer(stage(), drafted("A wall.", scene=scene(text=quoted("fuck off", score=0.5))))
    assert isinstance(published, m.CaptionPublished) and published.scene.text is None


# ---------------------------------------------------------------- partial text


async def test_partial_text_is_released_word_by_word_and_ended_by_the_caption() -> None:
    """Cumulative, each part once, the last one final with what was published."""
    of = stage()
    text = "A dog runs on a beach."
    shown: list[m.Message] = []
    for sequence, end in enumerate((3, 5, 6, 9, len(text))):
        shown += await produced(of, delta(text[:end], sequence))
    shown += await produced(of, drafted(text, PLAIN))
    deltas = [one for one in shown if isinstance(one, m.CaptionDelta)]
    assert ["A dog", "A dog runs on a", text] == [one.text for one in deltas]
    assert ["partial", "partial", "final"] == [one.status for one in deltas]
    assert [2, 4, LAST] == [one.sequence for one in deltas]


async def test_no_partial_text_before_the_picture_itself_is_in_order() -> None:
    """A content score that would hold the caption holds its beginnings; a decorative picture has none."""
    assert [] == await produced(stage(), delta("A dog on a beach.", content_score=0.7))
    assert [] == await produced(stage(), delta("A dog on a ", event=event(purpose=Purpose.DECORATIVE)))
    assert [] == await produced(stage(), delta("A dog on a ", event=event(language="xx")))
    assert len(await produced(stage(), delta("A dog on a ", content_score=0.1))) == 1


async def test_partial_text_stops_before_what_the_policy_acts_on() -> None:
    """And goes on past what it only notes."""
    (released,) = await produced(stage(), delta("A woman near a blind man on a bench "))
    assert isinstance(released, m.CaptionDelta) and released.text == "A woman near a"
    assert [] == await produced(stage(policy_name="strict"), delta("Woman near a tree "))


async def test_a_check_that_raises_releases_nothing_and_breaks_nothing() -> None:
    """Partial text is best effort: the answer is still to come."""
    broken = [replace(personal_data.CHECK, examine=raises), *checks()]
    assert [] == await produced(stage(checked=broken), delta("A dog on a "))


async def test_another_attempt_starts_its_partial_text_anew() -> None:
    """Attempts are told apart, so a consumer can drop what the first one wrote."""
    of = stage()
    await produced(of, delta("A dog on a ", 0))
    (again,) = await produced(of, delta("A dog ", 0, attempt=2))
    assert isinstance(again, m.CaptionDelta) and (2, "A dog") == (again.attempt, again.text)


async def test_partial_text_in_the_middle_is_remembered_for_a_bounded_number_of_captions() -> None:
    """Drafts that never end do not eat the memory."""
    of = stage(checked=[])
    for number in range(5000):
        await produced(of, delta("A dog ", event=event(id=str(number))))
    assert 4096 == len(of._released)
    await produced(of, drafted(PLAIN, asked=event(id="4999")))
    assert 4095 == len(of._released)


# ---------------------------------------------------------------- on the wire


async def test_partial_messages_come_first_and_all_can_be_written() -> None:
    """The runtime sends partial text at once; the codec accepts every message from safety."""
    for message in (drafted(PLAIN), drafted("A blind man.")):
        made = await produced(stage(), message)
        assert [True, *[False] * (len(made) - 1)] == [one.partial for one in made]
        topics = [codec.encode(one, StageName.SAFETY).topic for one in made]
        assert ["caption-deltas", "captions", "drafts-held"][: len(made)] == topics


async def test_a_message_of_another_stage_is_not_taken() -> None:
    """A wrong topic is a defect, not an answer."""
    with pytest.raises(TypeError, match="CaptionMarker"):
        await produced(stage(), m.CaptionMarker(event_digest=ZERO))


async def test_decisions_findings_and_time_are_counted() -> None:
    """What the dashboard shows is what happened."""

    def sample(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"captionstream_{name}", labels) or 0.0

    def counts() -> tuple[float, ...]:
        return (
            sample("decisions_total", decision="rewrite", profile="alt"),
            sample("findings_total", check="sensitive-attribute", rule="disability"),
            sample("answer_seconds_sum", outcome="published"),
        )

    before = counts()
    await answer(stage(), drafted("A blind man.", PLAIN))
    elapsed = timedelta(seconds=2).total_seconds()
    assert [1, 1, elapsed] == [round(after - first, 6) for first, after in zip(before, counts(), strict=True)]
