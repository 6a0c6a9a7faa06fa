"""The policy: the first rule that fits decides, the unforeseen is held, a bad file says where it is bad."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from captionstream.contracts.messages import CheckFinding, Decision
from captionstream.contracts.values import Profile, Purpose
from services.safety.policy import BadPolicy, Policy, Setting, bundled, load, parsed
from tests.unit.safety.builders import checks, policy

SETTING = Setting(Profile.ALT, Purpose.INFORMATIVE, "default", "smollm2")


def finding(check: str, rule: str, score: float = 1.0) -> CheckFinding:
    return CheckFinding(check=check, rule=rule, score=score)


def of(*rules: str) -> Policy:
    text = "\n".join(["id: test", 'version: "1"', "rules:", *(f"  - {{{rule}}}" for rule in rules)])
    return parsed(text.encode(), "test.yaml", checks())


@pytest.mark.parametrize(
    ("check", "rule", "score", "by_default", "when_strict"),
    [
        ("content", "person", 0.95, "hold", "block"),
        ("content", "person", 0.55, "publish", "block"),
        ("content", "person", 0.3, "publish", "hold"),
        ("content", "thing", 0.95, "hold", "hold"),
        ("content", "thing", 0.7, "publish", "hold"),
        ("personal-data", "email", 1.0, "redact", "hold"),
        ("sensitive-attribute", "race", 1.0, "rewrite", "rewrite"),
        ("sensitive-attribute", "gender", 1.0, "publish", "rewrite"),
        ("profanity", "word", 1.0, "rewrite", "rewrite"),
        ("profanity", "quoted", 1.0, "hold", "hold"),
        ("injection", "instruction", 1.0, "rewrite", "rewrite"),
        ("injection", "quoted-instruction", 1.0, "publish", "hold"),
        ("language", "other", 0.99, "rewrite", "rewrite"),
        ("alt", "A08-wanted", 1.0, "publish", "publish"),
        ("alt", "A07", 1.0, "rewrite", "rewrite"),
        ("failed", "profanity", 1.0, "rewrite", "rewrite"),
        ("unheard-of", "anything", 1.0, "hold", "hold"),
    ],
)
def test_what_the_bundled_policies_decide(
    check: str, rule: str, score: float, by_default: str, when_strict: str
) -> None:
    """The table that an auditor asks for."""
    found = finding(check, rule, score)
    decided = [policy(name).rule_for(found, SETTING).then for name in ("default", "strict")]
    assert [by_default, when_strict] == decided


def test_the_first_rule_that_fits_decides() -> None:
    """Exceptions stand before what they are exceptions from."""
    rules = of(
        "when: {check: alt, rule: A21, profiles: [product]}, then: publish, reason: shops praise",
        "when: {check: alt, rule: A2*}, then: hold, reason: praise",
    )
    shop = Setting(Profile.PRODUCT, Purpose.INFORMATIVE, "default", "smollm2")
    assert Decision.PUBLISH is rules.rule_for(finding("alt", "A21"), shop).then
    assert Decision.HOLD is rules.rule_for(finding("alt", "A21"), SETTING).then


@pytest.mark.parametrize(
    ("condition", "fitting", "other"),
    [
        ("min_score: 0.8", {}, {"score": 0.7}),
        ("purposes: [informative]", {}, {"purpose": Purpose.COMPLEX}),
        ("tenants: [default]", {}, {"tenant": "acme"}),
        ("writers: [model]", {}, {"writer": "plain"}),
        ("writers: [plain]", {"writer": "plain"}, {}),
    ],
)
def test_every_condition_of_a_rule_counts(condition: str, fitting: dict, other: dict) -> None:  # type: ignore[type-arg]
    """Score, purpose, tenant and writer each decide whether a rule fits."""
    rules = of(f"when: {{check: content, {condition}}}, then: block, reason: fits")

    def decided(score: float = 0.9, purpose: Purpose = Purpose.INFORMATIVE, tenant: str = "default",
                writer: str = "smollm2") -> Decision:  # fmt: skip
        setting = Setting(Profile.ALT, purpose, tenant, writer)
        return rules.rule_for(finding("content", "person", score), setting).then

    assert Decision.BLOCK is decided(**fitting)
    assert Decision.HOLD is decided(**other)


def test_the_gravest_finding_decides_over_a_candidate() -> None:
    """Redact and hold together are a hold; advice alone is nothing to act on."""
    both = [finding("personal-data", "email"), finding("profanity", "quoted")]
    verdict = policy().verdict(both, SETTING)
    assert verdict is not None and verdict.then is Decision.HOLD
    assert policy().verdict([finding("alt", "A08-wanted")], SETTING) is None


def test_no_file_can_make_a_failed_check_publishable() -> None:
    """Fails closed, also under a policy that publishes everything."""
    lenient = of("when: {check: '*'}, then: publish, reason: anything goes")
    assert Decision.PUBLISH is lenient.rule_for(finding("profanity", "word"), SETTING).then
    assert Decision.REWRITE is lenient.rule_for(finding("failed", "profanity"), SETTING).then


def test_the_digest_is_that_of_the_file() -> None:
    """Two policies with one id and version are still told apart."""
    for name in ("default", "strict"):
        assert hashlib.sha256(bundled(name).read_bytes()).hexdigest() == policy(name).reference.digest
        assert policy(name).reference.id == name


GOOD = """id: mine
version: "1"
rules:
  - when: {check: profanity}
    then: hold
    reason: offends
"""


@pytest.mark.parametrize(
    ("before", "after", "line", "said"),
    [
        ("then: hold", "than: hold", 5, "did you mean `then`?"),
        ("check: profanity", "chek: profanity", 4, "did you mean `check`?"),
        ("check: profanity", "check: profanty", 4, "did you mean `profanity`?"),
        ("check: profanity", "check: profanity, rule: wrod", 4, "did you mean `word`?"),
        ("check: profanity", "check: profanity, writers: [human]", 4, "unknown writer `human`"),
        ("check: profanity", "check: profanity, min_score: 2", 4, "less than or equal to 1"),
        ("version:", "versoin:", 2, "did you mean `version`?"),
        ("then: hold", "then: ponder", 5, "'publish'"),
        ("then: hold", "then: [hold", 6, ""),
        ("    reason: offends\n", "", 4, "Field required"),
        (GOOD, "", 1, "empty"),
    ],
)
def test_a_bad_file_says_where_and_what_and_the_nearest_word(
    tmp_path: Path, before: str, after: str, line: int, said: str
) -> None:
    """File, line, what is wrong, and what was perhaps meant."""
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(BadPolicy) as raised:
        load(path, checks())
    assert f"{path}:{line}:" in str(raised.value)
    assert said in str(raised.value)


def test_the_file_of_that_test_is_good_when_left_alone(tmp_path: Path) -> None:
    """The control of the test above."""
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert "mine" == load(path, checks()).reference.id


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    """No traceback for a wrong path."""
    with pytest.raises(BadPolicy, match="No such file"):
        load(tmp_path / "none.yaml", checks())
