"""The rules that call somebody: checked by Prometheus' own tool, and against what we export."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from captionstream.contracts.topics import BY_NAME
from captionstream.serve import ServeSettings
from services.encoder.settings import EncoderSettings
from services.generator.settings import GeneratorSettings
from services.ingest.settings import IngestSettings
from services.safety.settings import SafetySettings
from tests.unit.deploy.promql import asked, wrong
from tests.unit.deploy.promtool import promtool

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
RECORDED = {
    rule["record"]: frozenset(label for one in asked(rule["expr"]) for label in one.labels)
    for rule in RULES
    if "record" in rule
}
ALERTS = [rule for rule in RULES if "alert" in rule]
TESTS = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]


@pytest.mark.parametrize(
    "arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")]
)
def test_prometheus_own_tool_is_content(arguments: tuple[str, ...]) -> None:
    """The configuration loads, and every rule fires when it should and not before."""
    done = subprocess.run(
        [promtool(), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_tool_finds_a_rule_that_no_longer_fires(tmp_path: Path) -> None:
    """The unit tests of the rules can fail: a threshold is moved, and they do."""
    rules = (FOLDER / "rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(rules.replace("rate5m > 10", "rate5m > 1000"))
    (tmp_path / "rules_test.yml").write_text((FOLDER / "rules_test.yml").read_text())
    done = subprocess.run(
        [promtool(), "test", "rules", "rules_test.yml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert 0 != done.returncode
    assert "CaptionstreamSlow" in done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_ask_only_for_what_we_export(rule: dict[str, Any]) -> None:
    """Every series and label is exported by a service, recorded by another rule, or Prometheus' own."""
    assert [] == wrong(rule["expr"], RECORDED)


def test_every_alert_is_seen_firing() -> None:
    """No alert is there without a unit test in which it fires."""
    seen = {
        test["alertname"] for one in TESTS for test in one.get("alert_rule_test", ()) if test["exp_alerts"]
    }
    assert {rule["alert"] for rule in ALERTS} == seen


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """Severity, summary, description, and a section of the runbook of the alert's own name."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    sections = {line.removeprefix("## ").lower() for line in runbook.splitlines() if line.startswith("## ")}
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
        page, _, section = rule["annotations"]["runbook_url"].partition("#")
        assert ("docs/runbook.md", rule["alert"].lower()) == (page, section)
        assert section in sections


def test_the_runbook_names_commands_that_exist() -> None:
    """Every `captionstream ...` in it is a command of ours with its subcommand."""
    from typer.main import get_command

    from captionstream.cli.app import app

    known = get_command(app)
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    named = re.findall(r"`captionstream ([a-z-]+)(?: ([a-z]+))?", runbook)
    assert named
    for name, below in named:
        command = known.commands[name]  # type: ignore[attr-defined]
        assert not hasattr(command, "commands") or below in command.commands


def test_the_runbook_names_settings_and_topics_that_exist() -> None:
    """Every CAPTIONSTREAM_ variable in it is read by some service, and every watched topic is in the table."""
    told = (ServeSettings, IngestSettings, EncoderSettings, GeneratorSettings, SafetySettings)
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    known = {variable for one in told for variable in variables(one)}
    assert set() == set(re.findall(r"CAPTIONSTREAM_[A-Z_]+", runbook)) - known
    assert set() == set(re.findall(r"captionstream watch ([a-z-]+)", runbook)) - set(BY_NAME)


def variables(settings: type[BaseSettings]) -> Iterator[str]:
    """The environment variables that the settings are read from."""
    for name, field in settings.model_fields.items():
        yield f"{settings.model_config['env_prefix']}{name}".upper()
        if isinstance(field.validation_alias, AliasChoices):
            yield from (str(choice) for choice in field.validation_alias.choices)
