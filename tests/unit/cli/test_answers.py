"""Answers as a person reads them, and as a program does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from captionstream.cli.answers import as_json, as_text, in_full
from captionstream.contracts import messages as m
from captionstream.contracts.messages import Archetype, Egress, EngineChoice, Usage
from tests.unit.monitor.builders import held, published, refused

SPLIT = EngineChoice(
    engine="smolvlm",
    archetype=Archetype.SPLIT,
    sent=Egress.NOTHING,
    reason="smolvlm: visual tokens present, by onnxruntime blocks8",
)


def by(choice: EngineChoice | None, usage: Usage | None = None) -> m.CaptionPublished:
    """A caption with that behind it."""
    provenance = m.Provenance(pipeline_version="1", choice=choice, usage=usage)
    return published("boat", text="A boat.").model_copy(update={"provenance": provenance})


def plain(reason: str) -> EngineChoice:
    return EngineChoice(engine="plain", archetype=Archetype.PLAIN, sent=Egress.NOTHING, reason=reason)


def shown(caption: m.Answer) -> list[str]:
    return in_full(caption, "boat.jpg").splitlines()


@pytest.mark.parametrize(
    "usual", [None, plain("plain: no engine is set up"), plain("plain: nothing to write")], ids=str
)
def test_where_nobody_else_could_write_the_caption_stands_alone(usual: EngineChoice | None) -> None:
    """One line, as ever."""
    assert ["boat.jpg: A boat.  [0.80]"] == shown(by(usual))


def test_below_the_caption_stands_which_engine_wrote_and_why() -> None:
    """Its name, its way from pixels to words, and the reason without the name again."""
    expected = "  smolvlm (split): visual tokens present, by onnxruntime blocks8"
    assert ["boat.jpg: A boat.  [0.80]", expected] == shown(by(SPLIT))


def test_why_an_engine_did_not_write_is_said_of_the_plain_sentence() -> None:
    """The user set one up and gets no word of it."""
    told = plain("plain: no engine is left to ask; smolvlm skipped: no visual tokens")
    assert "  plain: no engine is left to ask; smolvlm skipped: no visual tokens" == shown(by(told))[1]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(input_tokens=287, output_tokens=41), "287 + 41 tokens"),
        (
            Usage(input_tokens=287, output_tokens=41, cost=0.000123, currency="USD"),
            "287 + 41 tokens, 0.00012 USD",
        ),
        (Usage(input_tokens=9, output_tokens=1, cost=0.0000042), "9 + 1 tokens, 0.0000042"),
        (Usage(input_tokens=9, output_tokens=1, cost=12.5, currency="EUR"), "9 + 1 tokens, 12.5 EUR"),
        (Usage(input_tokens=9, output_tokens=1, cost=0, currency="EUR"), "9 + 1 tokens, 0 EUR"),
        (Usage(input_tokens=0, output_tokens=0), "text of before"),
    ],
)
def test_what_the_text_cost_stands_behind_the_reason(usage: Usage, expected: str) -> None:
    """Tokens in and out, and money where a price is known; a text that was kept cost nothing."""
    (line,) = shown(by(SPLIT, usage))[1:]
    assert f"by onnxruntime blocks8 · {expected}" == line.partition(", ")[2]


def test_what_was_tried_in_vain_costs_all_the_same() -> None:
    """The plain sentence stands, the tokens were counted."""
    told = plain("plain: no engine is left to ask; eye skipped: failed (refused)")
    (line,) = shown(by(told, Usage(input_tokens=9, output_tokens=1)))[1:]
    assert line.endswith("eye skipped: failed (refused) · 9 + 1 tokens")


@pytest.mark.parametrize("answer", [refused("boat"), held("boat")], ids=["refused", "held"])
def test_what_is_no_caption_is_one_line(answer: m.Answer) -> None:
    """Nobody's text is shown, so nobody is named."""
    assert [as_text(answer, "boat.jpg")] == shown(answer)


def test_no_text_of_strangers_makes_a_line_of_its_own() -> None:
    """A reason may quote what an engine answered."""
    told = SPLIT.model_copy(update={"reason": "smolvlm: \x1b[2Jfine\nboat.jpg: A lie.  [1.00]"})
    assert 2 == len(shown(by(told)))
    assert "\x1b" not in in_full(by(told), "boat.jpg")


def test_a_program_reads_who_wrote_and_what_it_cost() -> None:
    """Null where there is nothing to say."""
    told: dict[str, Any] = json.loads(as_json(by(SPLIT, Usage(input_tokens=1, output_tokens=2)), "boat.jpg"))
    assert SPLIT.model_dump(mode="json") == told["choice"]
    assert (1, 2) == (told["usage"]["input_tokens"], told["usage"]["output_tokens"])
    told = json.loads(as_json(refused("boat"), "boat.jpg"))
    assert (None, None) == (told["choice"], told["usage"])
