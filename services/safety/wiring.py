"""The safety service: checks, word lists and policy, joined."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from captionstream.contracts.messages import Event
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from captionstream.runtime.service import Service
from services.safety.checks import alt_rules, content, injection, language, personal_data, profanity
from services.safety.checks import sensitive_attributes as sensitive
from services.safety.checks.check import FAILED, Check, CheckContext, examined
from services.safety.lexicons import lexicon
from services.safety.policy import bundled, load
from services.safety.settings import SafetySettings
from services.safety.stage import SafetyStage

PROBE = "Two people and a dog on a beach."


def all_checks(language_check: language.LanguageCheck) -> tuple[Check, ...]:
    """Every check, gravest matters first."""
    return (
        content.CHECK,
        personal_data.CHECK,
        profanity.CHECK,
        sensitive.CHECK,
        injection.CHECK,
        language.check(language_check),
        alt_rules.CHECK,
    )


def safety_stage(settings: SafetySettings, language_check: language.LanguageCheck) -> SafetyStage:
    """Raises NoLexicon or BadPolicy: a safety stage that does not know its rules must not start."""
    checks = all_checks(language_check)
    policy = load(settings.policy_path() or bundled(settings.policy), checks)
    return SafetyStage(checks, policy, {name: lexicon(name) for name in settings.languages})


@asynccontextmanager
async def open_safety(
    payloads: PayloadStore, settings: SafetySettings | None = None
) -> AsyncIterator[Service]:
    """The stage and its probe. `payloads` is not used: safety reads text alone.

    The model that tells languages is unpacked in a thread meanwhile, so that a first caption need not wait.
    """
    settings = settings or SafetySettings()
    language_check = language.LanguageCheck(settings.languages)
    stage = safety_stage(settings, language_check)
    loading = asyncio.create_task(asyncio.to_thread(language_check.load))

    async def probe() -> None:
        await loading
        check_all(stage)

    try:
        yield Service(stage, probe)
    finally:
        await asyncio.gather(loading, return_exceptions=True)


def check_all(stage: SafetyStage) -> None:
    """Every check on a harmless sentence, in every language. Raises Unavailable if one of them fails."""
    for lists in stage.lexicons.values():
        findings = examined(stage.checks, PROBE, CheckContext(Event(id="probe"), lists))
        broken = [finding.rule for finding in findings if finding.check == FAILED]
        if broken:
            raise Unavailable("safety checks", ", ".join(broken))
