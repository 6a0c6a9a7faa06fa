"""What a writer's sentence becomes: a draft with its claims, whatever form it was written in."""

from __future__ import annotations

from captionstream.contracts.messages import Claim, Draft
from services.generator.grammar import Reading, longest, plainest, read
from services.generator.guided.way import MODEL
from services.generator.judge import guide_for, reading
from services.generator.realiser import SCORED
from services.generator.sentence import ALLOWED, WANTED, Sentence
from services.generator.writer import Task
from services.generator.writing import Outcome

NAMELESS = "language model"


def room_of(told: Sentence) -> int:
    """Characters that a guided sentence may have before the tail of the scene's own."""
    return min(WANTED, ALLOWED - longest(told.tail))


def drafted(
    told: Sentence, task: Task, outcome: Outcome, long_description: str | None = None
) -> Draft | None:
    """The accepted sentence with the tail behind it, or None if there is none to take.

    Its confidence is that of its weakest claim. A guided sentence says something, so it does not abstain, even
    where the scene names nothing.
    """
    if outcome.problem is not None or not outcome.text:
        return None
    author = outcome.author.name if outcome.author else NAMELESS
    said = _reading(task, outcome, author)
    if said is None:
        raise AssertionError("a sentence was accepted that its task does not allow")
    tail = plainest(told.tail, 0)
    whole = said + (read(told.tail, tail) or Reading())
    return Draft(
        text=outcome.text + tail,
        writer=author,
        long_description=long_description,
        claims=whole.claims,
        confidence=weakest(whole.claims),
        hedged=whole.hedged,
        abstained=told.abstained and guide_for(task) is None,
    )


def _reading(task: Task, outcome: Outcome, author: str) -> Reading | None:
    if guide_for(task) is None:
        return read(task.allowed, outcome.text)
    return reading(task, outcome.pieces, author)


def weakest(claims: tuple[Claim, ...]) -> float:
    """How sure we are that nothing stated is false: the weakest of what was recognised or is a model's word.

    Shares of an area are measured, not guessed. 1 where there is neither.
    """
    return min((claim.score for claim in claims if _is_guess(claim)), default=1.0)


def _is_guess(claim: Claim) -> bool:
    return claim.kind in SCORED or claim.source.startswith(MODEL + ":")
