"""The policy: which finding leads to which decision. A file of rules; the first one that fits decides.

A finding that no rule fits is held: what nobody thought of is not published. A candidate on which a check
raised is at best passed over for another one, whatever the file says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import CheckFinding, Decision, PolicyReference
from captionstream.contracts.values import Name, Profile, Purpose, Score
from captionstream.runtime.errors import Misconfigured
from captionstream.runtime.yaml_file import BadFile, line, perhaps, read_yaml
from services.safety.checks.check import FAILED, Check

PLAIN = "plain"  # the writer of plain sentences
SEVERITY = (Decision.PUBLISH, Decision.REDACT, Decision.REWRITE, Decision.HOLD, Decision.BLOCK)


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class When(Part):
    """All that is given must fit. `check` and `rule` may hold `*`; of a list, one entry must fit."""

    check: str = "*"
    rule: str = "*"
    min_score: Score = 0.0
    profiles: tuple[Profile, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    tenants: tuple[Name, ...] = ()
    writers: tuple[str, ...] = Field(default=(), description="`plain`, `model`")


class Rule(Part):
    """`then` is the decision. `otherwise` is taken for `rewrite` when no other candidate is better."""

    when: When = When()
    then: Decision
    otherwise: Decision = Decision.HOLD
    reason: Annotated[str, Field(min_length=1)]


class PolicyFile(Part):
    id: Name
    version: Annotated[str, Field(min_length=1)]
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]


class BadPolicy(Misconfigured):
    """The policy file cannot be used. The message says where, what is wrong, and what was perhaps meant."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a rule may look at beside the finding."""

    profile: Profile
    purpose: Purpose
    tenant: str
    writer: str = PLAIN


UNFORESEEN = Rule(then=Decision.HOLD, reason="a finding that the policy does not know")
CHECK_FAILED = Rule(then=Decision.REWRITE, reason="a check failed")


@dataclass(frozen=True, slots=True)
class Policy:
    reference: PolicyReference
    rules: tuple[Rule, ...]

    def rule_for(self, finding: CheckFinding, setting: Setting) -> Rule:
        """The first rule that fits."""
        if finding.check == FAILED:
            return CHECK_FAILED
        return next((rule for rule in self.rules if fits(rule.when, finding, setting)), UNFORESEEN)

    def verdict(self, findings: Iterable[CheckFinding], setting: Setting) -> Rule | None:
        """The rule with the gravest decision, the first of them; None when there is nothing to act on."""
        rules = [self.rule_for(finding, setting) for finding in findings]
        acted = [rule for rule in rules if rule.then is not Decision.PUBLISH]
        return max(acted, key=gravity) if acted else None


def gravity(rule: Rule) -> tuple[int, int]:
    return SEVERITY.index(rule.then), SEVERITY.index(rule.otherwise)


def fits(when: When, finding: CheckFinding, setting: Setting) -> bool:
    writer = PLAIN if setting.writer == PLAIN else "model"
    return (
        fnmatchcase(finding.check, when.check)
        and fnmatchcase(finding.rule, when.rule)
        and finding.score >= when.min_score
        and (not when.profiles or setting.profile in when.profiles)
        and (not when.purposes or setting.purpose in when.purposes)
        and (not when.tenants or setting.tenant in when.tenants)
        and (not when.writers or writer in when.writers)
    )


# ---------------------------------------------------------------- reading the file


def bundled(name: str) -> Path:
    """The path of a policy that comes with the product: `default` or `strict`."""
    return Path(str(resources.files("services.safety") / "policies" / f"{name}.yaml"))


def load(path: Path, checks: Collection[Check]) -> Policy:
    """The policy of a file, with its digest. Raises BadPolicy."""
    try:
        data = path.read_bytes()
    except OSError as unreadable:
        raise BadPolicy(f"{path}: {unreadable.strerror}") from None
    return parsed(data, str(path), checks)


def parsed(data: bytes, source: str, checks: Collection[Check]) -> Policy:
    try:
        tree, content = read_yaml(data, source)
    except BadFile as bad:
        raise BadPolicy(str(bad)) from None
    try:
        file = PolicyFile.model_validate(content)
    except ValidationError as invalid:
        raise BadPolicy("\n".join(described(error, tree, source) for error in invalid.errors())) from None
    for number, rule in enumerate(file.rules):
        if problem := unknown_names(rule, checks):
            raise BadPolicy(f"{source}:{line(tree, ('rules', number, 'when'))}: {problem}")
    return Policy(PolicyReference(id=file.id, version=file.version, digest=sha256_hex(data)), file.rules)


def described(error: Mapping[str, Any], tree: yaml.Node, source: str) -> str:
    """File, line, what is wrong, and the nearest key that exists."""
    place: tuple[str | int, ...] = error["loc"]
    name = ".".join(map(str, place)) or "the file"
    if error["type"] != "extra_forbidden":
        return f"{source}:{line(tree, place)}: {name}: {error['msg']}"
    return f"{source}:{line(tree, place)}: {name}: unknown key{perhaps(str(place[-1]), keys_at(place))}"


def keys_at(place: tuple[str | int, ...]) -> Iterable[str]:
    parts: dict[int, type[Part]] = {1: PolicyFile, 3: Rule}
    return parts.get(len(place), When).model_fields


def unknown_names(rule: Rule, checks: Collection[Check]) -> str | None:
    """A check or a rule that does not exist would make a rule that never fits."""
    asked = [check for check in checks if fnmatchcase(check.name, rule.when.check)]
    if not asked:
        return (
            f"unknown check `{rule.when.check}`{perhaps(rule.when.check, [check.name for check in checks])}"
        )
    rules = {name for check in asked for name in check.rules}
    if not any(fnmatchcase(name, rule.when.rule) for name in rules):
        return f"unknown rule `{rule.when.rule}`{perhaps(rule.when.rule, rules)}"
    unknown = [writer for writer in rule.when.writers if writer not in (PLAIN, "model")]
    return f"unknown writer `{unknown[0]}`{perhaps(unknown[0], [PLAIN, 'model'])}" if unknown else None
