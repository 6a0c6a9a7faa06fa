"""Shares, calibration, latency and differences, against values that were worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from captionstream.contracts.values import StageName, StageTiming
from captionstream.evaluation.judgement import Judgement, Outcome
from captionstream.evaluation.measures import SHARES, calibration_error, differences, figures, interval
from captionstream.evaluation.page import Illustrated, page
from captionstream.evaluation.run import BadRun, Run
from captionstream.evaluation.sentences import NAMES, scores
from captionstream.evaluation.tables import as_text, differences_as_text


def judged(category: str | None, confidence: float = 0.9, **fields: object) -> Judgement:
    known = {
        "file": "a.png", "outcome": Outcome.PUBLISHED, "text": "A dog on a plain white background.",
        "category": category, "confidence": confidence, "language": "en", "checked": True, "accepted": ("dog",),
    }  # fmt: skip
    return Judgement.model_validate(known | fields)


TEN = [
    *[judged("exact", 0.95)] * 3, judged("within_two", 0.85), judged("vague", 0.85), judged("wrong", 0.95),
    judged("hedged_wrong", 0.55, hedged=True), judged("abstained", 1.0),
    judged("abstained", text="", outcome=Outcome.HELD, confidence=None, reason="explicit", language=None),
    judged("abstained", text="", outcome=Outcome.REFUSED, confidence=None, reason="undecodable", language=None),
]  # fmt: skip


def test_the_shares_make_up_the_whole() -> None:
    """Named, vague, wrong, hedged wrong and abstained, of all pictures; what has no caption abstained."""
    told = figures(TEN)
    expected = {"named": 0.4, "vague": 0.1, "wrong": 0.1, "hedged_wrong": 0.1, "abstained": 0.3}
    assert expected == {name: told[name] for name in SHARES}
    assert 10 == told["n"]
    assert (0.3, 0.1, 1, 1) == (told["exact"], told["within_two"], told["held"], told["refused"])


def test_calibration_compares_confidence_with_truth_in_ten_bins() -> None:
    """Over what names something: 4 at 0.95 of which 3 are right, 2 at 0.85, both right, 1 hedged at 0.55, wrong."""
    by_hand = (4 * (0.95 - 0.75) + 2 * (1 - 0.85) + 1 * 0.55) / 7
    assert pytest.approx(by_hand, abs=1e-4) == calibration_error(TEN)
    assert calibration_error([judged("abstained")]) is None


def test_shares_of_texts_leave_out_what_has_no_text() -> None:
    """A held picture breaks no rule; a text that breaks one counts once and is named."""
    told = figures(
        [*TEN, judged("exact", lint=("A10", "A21"), unsupported=("colour 'red': no",), language="es")]
    )
    assert (round(8 / 9, 4), round(1 / 9, 4), round(8 / 9, 4)) == (
        told["lint"],
        told["unsupported"],
        told["language"],
    )
    assert {"A10": 1, "A21": 1} == told["lint_failures"]


def test_what_cannot_be_measured_is_null() -> None:
    """Without labels no share of names, in another language no claims."""
    told = figures([judged(None, checked=False, text="Un perro.", language=None)])
    assert [None] * 8 == [told[name] for name in (*SHARES, "calibration_error", "unsupported", "language")]
    assert 1.0 == told["lint"]


def test_latency_is_told_for_each_stage() -> None:
    """Median and 95th percentile of waiting and work, and of the whole way."""
    timings = [
        (StageTiming(stage=StageName.INGEST, waited_ms=1, worked_ms=n),
         StageTiming(stage=StageName.SAFETY, waited_ms=0, worked_ms=2.0))
        for n in range(1, 102)
    ]  # fmt: skip
    told = figures([judged("exact", timings=each) for each in timings])["latency_ms"]
    assert {"waited_p50": 1.0, "waited_p95": 1.0, "worked_p50": 51.0, "worked_p95": 96.0} == told["ingest"]
    assert {"whole_p50": 54.0, "whole_p95": 99.0} == told["total"]


def test_an_interval_is_that_of_paired_pictures() -> None:
    """20 of 100 pictures gained: the interval lies about 0.2; its width is that of a share, 1.96 √(pq/n)."""
    import numpy as np

    before, after = np.zeros(100), np.array([1.0] * 20 + [0.0] * 80)
    low, high = interval(before, after, seed=1)
    assert pytest.approx((0.1216, 0.2784), abs=0.02) == (low, high)
    assert (low, high) == interval(before, after, seed=1)
    assert (0.0, 0.0) == interval(after, after, seed=1)


def test_two_runs_are_compared_over_the_pictures_of_both() -> None:
    """A picture in one run only counts in neither; a certain gain is marked, an unchanged share is 0."""
    before = [judged("wrong", file=f"{n}") for n in range(40)] + [judged("exact", file="only before")]
    after = [judged("exact" if n < 30 else "wrong", file=f"{n}") for n in range(41)]
    found = {each.name: each for each in differences(before, after)}
    assert (0.0, 0.75, 0.75, True) == (
        found["named"].before, found["named"].after, found["named"].difference, found["named"].certain,
    )  # fmt: skip
    assert (0.0, False) == (found["lint"].difference, found["lint"].certain)
    calibration = found["calibration_error"]
    assert calibration.difference == pytest.approx(-0.75, abs=1e-4)
    assert "named              0.0 % → 75.0 %  +75.0" in differences_as_text("tuxpaint", list(found.values()))


def test_a_run_is_read_as_it_was_saved(tmp_path: Path) -> None:
    """Everything comes back; another file is refused in words."""
    run = Run(made_by="test", half="tune", sets={"tuxpaint": tuple(TEN)})
    run.save(tmp_path / "run.json")
    assert run == Run.read(tmp_path / "run.json")
    (tmp_path / "other.json").write_text("[]")
    for name in ("other.json", "missing.json"):
        with pytest.raises(BadRun, match=name):
            Run.read(tmp_path / name)


def test_a_person_sees_the_shares_the_worst_and_the_times() -> None:
    """One line a set, then what went wrong."""
    told = {"tuxpaint": {**figures(TEN), "missing": 1, "seconds": 2.0, "cpu_s": {"process": 3.0}}}
    lines = as_text(told, {"tuxpaint": TEN}).splitlines()
    assert ["tuxpaint", "10", "40.0", "%", "10.0", "%"] == lines[1].split()[:6]
    assert any("wrong" in line and "not dog" in line and "[0.95]" in line for line in lines[2:])
    assert any("1 held, 1 refused, 1 missing" in line for line in lines)
    assert any("process 300 ms" in line for line in lines)


def test_the_report_shows_what_went_wrong_and_nothing_else() -> None:
    """Caption, confidence, labels and reason beside the picture; texts of others are escaped."""
    bad = judged("wrong", 0.91, text='A <b>dog</b> & "cat".', head="dog", accepted=("tree",))
    told = {"tuxpaint": {**figures(TEN), "missing": 0, "seconds": 2.0, "cpu_s": {}}}
    run = Run(made_by="test", sets={"tuxpaint": tuple(TEN)})
    html = page(
        run, told, [Illustrated("tuxpaint", each, lambda: b"no picture") for each in (bad, judged("exact"))]
    )
    assert 1 == html.count("<figcaption>\n")
    assert "A &lt;b&gt;dog&lt;/b&gt; &amp; &#34;cat&#34;." in html
    assert "[0.91]" in html
    assert "Labels: tree" in html
    assert "wrong name “dog”, said for sure" in html
    assert 1 == html.count("<svg")
    for address in ('src="http', 'href="http', "@import", "<script"):
        assert address not in html


REFERENCES = {
    "1": ["the cat sat on the mat", "there is a cat on the mat"],
    "2": ["a man rides a horse"],
    "3": ["a bird"],
}


@pytest.mark.timeout(420)  # METEOR reads a table of 60 MB: seconds, or minutes on a busy machine
def test_sentence_scores_are_those_of_the_published_measures() -> None:
    """BLEU and ROUGE-L against values by hand, over a near, an exact and an empty caption."""
    found = scores(REFERENCES, {"1": "The cat sat on a mat.", "2": "A man rides a horse.", "3": ""})
    assert set(NAMES) == set(found)
    brevity = math.exp(1 - 13 / 12)  # 12 words, where the nearest references have 13
    words, pairs = 11 / 12, 7 / 9  # that stand in a reference; "on a" and "a mat" do not
    assert pytest.approx(brevity * words, abs=1e-3) == found["BLEU-1"]
    assert pytest.approx(brevity * (words * pairs) ** 0.5, abs=1e-3) == found["BLEU-2"]
    assert pytest.approx((5 / 6 + 1 + 0) / 3, abs=1e-3) == found["ROUGE-L"]  # the longest common parts
    assert 0.2 < (found["METEOR"] or 0) < 0.9
    assert 1 < (found["CIDEr"] or 0) < 10
