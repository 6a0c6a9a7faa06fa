"""The service as it is started: settings, probe, and a refusal to start without its rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from captionstream.contracts import messages as m
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from services.safety.checks import profanity
from services.safety.lexicons import NoLexicon
from services.safety.policy import BadPolicy, bundled
from services.safety.settings import SafetySettings
from services.safety.wiring import check_all, open_safety
from tests.unit.safety.builders import answer, checks, drafted, stage

STORE = PayloadStore.open("memory")


async def test_the_service_answers_and_its_probe_runs_every_check() -> None:
    """Real checks, real policy, real lists."""
    async with open_safety(STORE, SafetySettings()) as service:
        await service.probe()
        published = await answer(service.stage, drafted("A dog on a beach."))  # type: ignore[arg-type]
    assert isinstance(published, m.CaptionPublished) and published.text == "A dog on a beach."


def test_the_probe_fails_when_a_check_does() -> None:
    """A safety stage that cannot check is not ready."""

    def raises(text: str, context: object) -> list[m.CheckFinding]:
        raise RuntimeError

    with pytest.raises(Unavailable, match="profanity"):
        check_all(stage(checked=[replace(profanity.CHECK, examine=raises), *checks()]))


async def test_policy_and_languages_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of one's own is used, and named in every answer."""
    path = tmp_path / "mine.yaml"
    path.write_text(bundled("strict").read_text().replace("id: strict", "id: mine"))
    monkeypatch.setenv("CAPTIONSTREAM_SAFETY_POLICY", str(path))
    monkeypatch.setenv("CAPTIONSTREAM_SAFETY_LANGUAGES", '["en"]')
    async with open_safety(STORE) as service:
        published = await answer(service.stage, drafted("A dog."))  # type: ignore[arg-type]
        assert "mine" == published.governance.policy.id
        assert ["en"] == list(service.stage.lexicons)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (SafetySettings(languages=("en", "tlh")), NoLexicon),
        (SafetySettings(policy="nowhere/policy.yaml"), BadPolicy),
        (SafetySettings(policy="lenient"), BadPolicy),
    ],
)
async def test_safety_does_not_start_without_its_rules(
    settings: SafetySettings, error: type[Exception]
) -> None:
    """Better no service than one that does not know what to look for."""
    with pytest.raises(error):
        async with open_safety(STORE, settings):
            pass
