"""Which engine is asked for an event, and what the message says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from captionstream.contracts.messages import Archetype, Egress, Event, Form
from captionstream.contracts.values import Profile, Purpose
from services.generator.lineup import LanguageModel, Lineup, OpenAI, is_ours
from services.generator.lineup_file import BadLineup, lineup_of, load, usual
from services.generator.routing import (
    LONGEST_REASON,
    ONE_WORDING,
    Chosen,
    Situation,
    choose,
    explained,
    in_order,
)
from services.generator.settings import GeneratorSettings, WriterKind

ENGINES: dict[str, Any] = {
    "split": {"kind": "prefix"},
    "remote": {
        "kind": "openai", "url": "https://api.example/v1", "model": "m", "sends": "pixels",
        "price": {"input": 2.5, "output": 10, "currency": "EUR"}, "max_tokens": 100,
    },
    "words": {"kind": "openai", "url": "https://api.example/v1", "model": "m"},
    "small": {"kind": "llm"},
}  # fmt: skip
ALL = Situation(left_s=None, has_visual=True, has_picture=True)


def lineup(*routes: str | dict[str, Any], **told: Any) -> Lineup:
    """Routes by the name of their engine, or whole."""
    whole = [route if isinstance(route, dict) else {"engine": route} for route in routes]
    named = {route["engine"] for route in whole}
    engines = {name: engine for name, engine in ENGINES.items() if name in named}
    return Lineup.model_validate(
        {"engines": engines, "routes": whole, "egress": {"default": "pixels"}} | told
    )


def chosen(made: Lineup, now: Situation = ALL, **event: Any) -> Chosen:
    return choose(made, Event(id="1", **event), now)


# ---------------------------------------------------------------- the choice


def test_the_first_route_whose_conditions_hold_is_taken_and_says_why() -> None:
    """One short sentence: why this one, and what spoke against those before it."""
    made = lineup("remote", "split", egress={"default": "nothing", "tenants": {"acme": "text"}})
    found = chosen(made, tenant="acme").choice
    assert ("split", Archetype.SPLIT, Egress.NOTHING) == (found.engine, found.archetype, found.sent)
    assert "split: visual tokens present; remote skipped: tenant acme lets only text leave" == found.reason


def test_what_the_engine_tells_of_itself_stands_before_what_was_skipped() -> None:
    """Which of its engines wrote; an engine that tells nothing leaves the reason as it is."""
    choice = chosen(lineup("remote", "split", egress={"default": "nothing"})).choice
    told = explained(choice, "by transformers fp32").reason
    assert told.startswith("split: visual tokens present, by transformers fp32; remote skipped: ")
    assert choice == explained(choice, "")
    assert LONGEST_REASON == len(explained(choice, "x" * LONGEST_REASON).reason)


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        (Egress.PIXELS, ["remote", "words", "small", "plain"]),
        (Egress.EMBEDDINGS, ["words", "small", "plain"]),
        (Egress.TEXT, ["words", "small", "plain"]),
        (Egress.NOTHING, ["small", "plain"]),
    ],
)
def test_an_engine_that_is_not_ours_is_asked_only_as_far_as_the_tenant_allows(
    rule: Egress, asked: list[str]
) -> None:
    """Each rule allows what is narrower as well; an engine of ours needs no permission."""
    made = lineup("remote", "words", "small", egress={"tenants": {"acme": rule}})
    assert asked == [each.name for each in in_order(made, Event(id="1", tenant="acme"), ALL)]


def test_nothing_leaves_where_nothing_is_said() -> None:
    """The default of a file is the safest one."""
    assert "plain" == chosen(Lineup.model_validate({"engines": {"words": ENGINES["words"]},
                                                    "routes": [{"engine": "words"}]})).name  # fmt: skip


@pytest.mark.parametrize(
    ("when", "event", "objection"),
    [
        ({"profiles": ["product"]}, {"profile": Profile.ALT}, "not for profile alt"),
        ({"purposes": ["complex"]}, {"purpose": Purpose.TEXT}, "not for purpose text"),
        ({"languages": ["en", "pt-BR"]}, {"language": "pt-PT"}, "not for language pt-PT"),
        ({"tenants": ["acme"]}, {"tenant": "shop"}, "not for this tenant"),
        ({"least_s": 2.5}, {}, "2.0 s left, needs 2.5"),
        ({"most_cost": 0.004}, {}, "costs 0.0047, at most 0.004 is allowed"),
    ],
)
def test_a_condition_that_does_not_hold_is_named(
    when: dict[str, Any], event: dict[str, Any], objection: str
) -> None:
    """The reader of a message sees which one it was."""
    made = lineup({"engine": "remote", "when": when}, "small")
    found = chosen(made, replace(ALL, left_s=2.0), **event)
    assert f"small: told in words; remote skipped: {objection}" == found.choice.reason


@pytest.mark.parametrize(
    ("when", "event"),
    [
        ({"profiles": ["alt", "product"]}, {"profile": Profile.PRODUCT}),
        ({"languages": ["en"]}, {"language": "en-GB"}),
        ({"languages": ["PT-br"]}, {"language": "pt-BR"}),
        ({"tenants": ["acme"]}, {"tenant": "acme"}),
        ({"least_s": 2.0}, {}),
        ({"most_cost": 0.0048}, {}),
        ({}, {}),
    ],
)
def test_conditions_that_hold_let_an_engine_be_asked(when: dict[str, Any], event: dict[str, Any]) -> None:
    """The control of the test above."""
    made = lineup({"engine": "remote", "when": when}, "small")
    assert "remote" == chosen(made, replace(ALL, left_s=2.0), **event).name


def test_an_event_without_a_deadline_has_time_enough() -> None:
    """A least time is about deadlines."""
    assert "small" == chosen(lineup({"engine": "small", "when": {"least_s": 3600}})).name


def test_what_captions_really_cost_counts_as_soon_as_it_is_known() -> None:
    """The estimate is only for the first one."""
    made = lineup({"engine": "remote", "when": {"most_cost": 0.004}}, "small")
    assert ["small", "remote"] == [
        chosen(made, replace(ALL, costs=costs)).name for costs in ({}, {"remote": 0.001})
    ]


@pytest.mark.parametrize(
    ("engine", "without", "objection"),
    [("split", {"has_visual": False}, "no visual tokens"), ("remote", {"has_picture": False}, "no picture")],
)
def test_an_engine_without_its_input_is_not_asked(
    engine: str, without: dict[str, Any], objection: str
) -> None:
    """Visual tokens for one, a picture for the other."""
    found = chosen(lineup(engine, "small"), replace(ALL, **without))
    assert f"small: told in words; {engine} skipped: {objection}" == found.choice.reason


def test_each_engine_is_asked_once_and_the_plain_sentence_is_the_last() -> None:
    """Even if several routes name it."""
    made = lineup({"engine": "split", "when": {"least_s": 5}}, "small", "split", "small")
    assert ["split", "small", "plain"] == [each.name for each in in_order(made, Event(id="1"), ALL)]


def test_the_plain_sentence_says_what_spoke_against_every_engine() -> None:
    """Nobody is asked, and the message says why."""
    found = chosen(lineup("split", "words", egress={}), Situation(), tenant="acme")
    assert (None, "plain", Archetype.PLAIN) == (found.engine, found.name, found.choice.archetype)
    assert (
        "plain: no engine is left to ask; split skipped: no visual tokens; "
        "words skipped: tenant acme lets nothing leave"
    ) == found.choice.reason


def test_a_route_may_end_at_the_plain_sentence() -> None:
    """An operator who wants no model for a profile says so."""
    made = lineup({"engine": "plain", "when": {"profiles": ["inspection"]}}, "small")
    assert ["plain", "small"] == [chosen(made, profile=p).name for p in (Profile.INSPECTION, Profile.ALT)]


def test_a_long_reason_is_cut_to_what_a_message_holds() -> None:
    """A lineup of many engines still makes a message."""
    engines = {f"engine-{number}": ENGINES["words"] for number in range(40)}
    made = Lineup.model_validate({"engines": engines, "routes": [{"engine": name} for name in engines]})
    assert 500 == len(chosen(made).choice.reason)


# ---------------------------------------------------------------- form


def test_the_form_is_that_of_the_route_or_else_of_the_profile() -> None:
    """Strict where nothing is said."""
    made = lineup({"engine": "split", "when": {"tenants": ["acme"]}, "form": "strict"}, "split",
                  forms={"alt": "guided"})  # fmt: skip
    assert (Form.STRICT, Form.GUIDED, Form.STRICT) == (
        chosen(made, tenant="acme").form,
        chosen(made).form,
        chosen(made, profile=Profile.PRODUCT).form,
    )


def test_who_does_not_see_is_never_guided() -> None:
    """A model that is told words has no ground for a word of its own."""
    assert Form.STRICT is chosen(lineup("small", forms={"alt": "guided"})).form


def test_nobody_is_asked_strictly_where_there_is_one_sentence_only() -> None:
    """A guided text may still say more, and a lineup may want every caption from its engine."""
    now = replace(ALL, one_wording=True)
    assert (
        f"plain: no engine is left to ask; split skipped: {ONE_WORDING}"
        == chosen(lineup("split"), now).choice.reason
    )
    assert "split" == chosen(lineup("split", forms={"alt": "guided"}), now).name
    wanted = lineup("split", engines={"split": {"kind": "prefix", "always": True}})
    assert "split" == chosen(wanted, now).name


# ---------------------------------------------------------------- without a file


def test_without_a_file_the_language_model_of_the_settings_is_asked() -> None:
    """As before there were lineups."""
    made = lineup_of(GeneratorSettings(_env_file=None))
    assert ["llm", "plain"] == [each.name for each in in_order(made, Event(id="1"), Situation())]


def test_without_a_file_the_language_half_of_what_was_seen_comes_first() -> None:
    """Who has a split model seen by the encoder wants its captions."""
    made = lineup_of(GeneratorSettings(_env_file=None))
    assert ["split", "llm", "plain"] == [each.name for each in in_order(made, Event(id="1"), ALL)]


def test_plain_means_that_no_model_is_asked_whatever_was_seen() -> None:
    """An operator's word is taken."""
    assert ["plain"] == [each.name for each in in_order(usual(WriterKind.PLAIN), Event(id="1"), ALL)]


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("http://127.0.0.1:8080/v1", True),
        ("http://[::1]:8080/v1", True),
        ("http://10.0.0.5/v1", True),
        ("http://language-model:8080/v1", True),
        ("http://llm.internal/v1", True),
        ("https://api.example.com/v1", False),
        ("https://93.184.216.34/v1", False),
    ],
)
def test_a_language_model_elsewhere_is_not_ours(url: str, ours: bool) -> None:
    """What left for it stands on the message."""
    assert ours is LanguageModel(url=url).ours is is_ours(url)
    made = lineup_of(GeneratorSettings(language_model=url))
    assert (Egress.NOTHING if ours else Egress.TEXT) is chosen(made, Situation()).choice.sent


# ---------------------------------------------------------------- the file

GOOD = """
engines:
  split: {kind: prefix}
  remote: {kind: openai, url: https://api.example/v1, model: m, sends: pixels}
egress: {default: nothing, tenants: {acme: pixels}}
routes:
  - {engine: split, when: {profiles: [alt]}, form: guided}
  - engine: remote
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "lineup.yaml"
    file.write_text(text)
    return file


def test_a_file_is_a_lineup(tmp_path: Path) -> None:
    """Engines by their names, routes in their order."""
    made = load(written(tmp_path, GOOD))
    remote = made.engines["remote"]
    assert isinstance(remote, OpenAI)
    assert (["split", "remote"], "remote") == ([route.engine for route in made.routes], remote.name)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("kind: prefix", "kind: prefixx", 3, "engines.split: Input tag 'prefixx'"),
        ("sends: pixels}", "sends: pixel}", 4, "engines.remote.sends: Input should be 'text', 'pixels'"),
        ("sends: pixels}", "sendz: pixels}", 4, "engines.remote.sendz: unknown key; did you mean `sends`?"),
        ("url: https", "url: ftp", 4, "engines.remote.url: not an http address"),
        ("acme: pixels", "acme: everything", 5, "egress.tenants.acme: Input should be 'pixels'"),
        ("profiles: [alt]", "profiles: [alb]", 7, "routes.0.when.profiles.0: Input should be 'alt'"),
        ("profiles: [alt]", "profile: [alt]", 7, "routes.0.when.profile: unknown key; did you mean `profiles`?"),
        ("engine: remote", "engine: remoet", 8, "unknown engine `remoet`; did you mean `remote`?"),
        ("  - engine: remote\n", "", 4, "no route names `remote`: add one, or leave the engine out"),
        ("- engine: remote", "- form: strict", 8, "routes.1.engine is missing"),
        ("routes:", "routes", 7, "could not find expected ':'"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_line_and_way_out(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    """Before a single event is read."""
    assert old in GOOD
    with pytest.raises(BadLineup) as refusal:
        load(written(tmp_path, GOOD.replace(old, new)))
    told = str(refusal.value).splitlines()
    assert any(text.startswith(f"{tmp_path}/lineup.yaml:") and said in text for text in told), told
    assert f"lineup.yaml:{line}:" in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And an empty one too."""
    with pytest.raises(BadLineup, match=r"nowhere\.yaml: No such file"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(BadLineup, match="the file is empty"):
        load(written(tmp_path, ""))


def test_lineups_that_may_write_differently_have_different_digests(tmp_path: Path) -> None:
    """Part of the pipeline's version; the same file has the same digest."""
    one = load(written(tmp_path, GOOD))
    assert one.digest == load(written(tmp_path, GOOD)).digest
    assert one.digest != load(written(tmp_path, GOOD.replace("model: m", "model: n"))).digest
