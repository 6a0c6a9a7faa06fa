"""Every answer counts once: over repeats, restarts and rubbish; and what stands out is said once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.record import Record
from captionstream.contracts.values import StageName
from services.monitor.texts import Texts
from services.monitor.watch import KEPT, Skipped, Watch
from tests.builders import NOON, clock_at, record
from tests.unit.monitor.builders import on_log, published, refused


def watch(at: float = 0) -> Watch:
    return Watch(clock=lambda: clock_at(at))


def answers_in(seen: Watch) -> int:
    return sum(row.answers for row in seen.rows.values())


def restarted(seen: Watch) -> Watch:
    """A new process that reads back what the old one wrote."""
    new = watch()
    new.restore(seen.rows.values(), seen.standing.values())
    return new


@settings(max_examples=80)
@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 7))
def test_an_answer_counts_once_however_often_it_is_seen(order: list[int], batch: int) -> None:
    """The log may show an answer again, at another place: after an abort it was done again."""
    seen = watch()
    records = on_log([published(f"event-{number}") for number in order])
    for start in range(0, len(records), batch):
        seen.take(records[start : start + batch])
    assert len(set(order)) == answers_in(seen)


@settings(max_examples=80)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 3))
def test_a_restart_counts_nothing_again_and_misses_nothing(first: int, back: int, minutes: int) -> None:
    """The new process is given the log from some place before the old one's death, without its memory."""
    answers = [published(f"event-{place}", clock_at(-place * 20 * minutes)) for place in range(20)]
    records = on_log(answers)
    old = watch()
    old.take(records[:first])
    new = restarted(old)
    new.take(records[max(0, first - back) :])
    assert len(answers) == answers_in(new)


def test_rows_that_were_not_written_are_counted_by_the_successor() -> None:
    """Rows stand for themselves: one that was written says nothing about one that was not."""
    records = on_log([published("a"), published("b", profile="product")])
    old = watch()
    changes = old.take(records)
    new = watch()
    new.restore([row for row in changes.rows if row.profile == "product"], ())
    new.take(records)
    assert 2 == answers_in(new)


def test_rubbish_is_counted_and_passed_over() -> None:
    """A malformed record stops nothing."""
    good = on_log([published("a")])
    bad = [replace(good[0], value=value, offset=9) for value in (b"", b"{", b"\xff", b"[]")]
    seen = watch()
    changes = seen.take([*bad, *good])
    assert [Skipped.MALFORMED] * 4 == list(changes.skipped)
    assert 1 == answers_in(seen)


def test_what_is_too_old_or_from_the_future_is_left_out() -> None:
    """One wrong clock must not end all windows; an old topic is passed over."""
    seen = watch()
    changes = seen.take(
        on_log([published("old", NOON - KEPT), published("ahead", NOON + timedelta(hours=1)), published("a")])
    )
    assert (Skipped.LATE, Skipped.AHEAD) == changes.skipped
    assert 1 == answers_in(seen)


def test_memory_is_bounded_by_the_hour() -> None:
    """Three hours of answers leave one hour of rows."""
    moment = [0.0]
    seen = Watch(clock=lambda: clock_at(moment[0]))
    for minute in range(3 * 60):
        moment[0] = minute * 60
        seen.take(on_log([published(f"event-{minute}", clock_at(moment[0]))], first=minute))
    assert KEPT // timedelta(minutes=1) == len(seen.rows)


def wave(first: int = 0) -> list[Record]:
    return on_log([refused(f"wave-{place}", NOON) for place in range(first, first + 40)], first=first)


def test_a_wave_is_said_once_even_over_a_restart() -> None:
    """Onset, more of it, a new process, more of it: one alert. Then its end: one more."""
    old = watch()
    assert [m.AnomalyRaised] == [type(anomaly) for anomaly in old.take(wave()).anomalies]
    assert () == old.take(wave(40)).anomalies
    new = restarted(old)
    assert () == new.take(wave(80)).anomalies
    calm = [published(f"calm-{place}", NOON) for place in range(600)]
    assert [m.AnomalyCleared] == [type(anomaly) for anomaly in new.take(on_log(calm, first=120)).anomalies]


def test_profiles_are_watched_apart() -> None:
    """What goes wrong with products is not said of anything else."""
    seen = watch()
    others = on_log([published(f"event-{place}", profile="alt") for place in range(100)])
    bad = on_log([refused(f"bad-{place}", profile="product") for place in range(40)], first=100)
    assert [("refusal-rate", "product")] == [
        (a.kind, a.profile) for a in seen.take([*others, *bad]).anomalies
    ]


def test_one_text_for_many_pictures_is_said() -> None:
    """Also when the answers of the wave look fine one by one; the captions that show it are named."""
    same = [published(f"event-{place}", text="A cat.") for place in range(40)]
    [raised] = watch().take(on_log(same)).anomalies
    assert m.AnomalyKind.REPETITION == raised.kind
    assert tuple(answer.caption_id for answer in same[-5:]) == raised.captions


def test_a_camera_may_say_the_same_of_one_scene() -> None:
    """So may a picture that comes twice, an abstention, and a decorative image."""
    cat = "A cat."
    camera = [published(f"frame-{place}", stream_key="cam-7", text=cat) for place in range(40)]
    vague = [published(f"vague-{place}", text="A picture.", abstained=True) for place in range(40)]
    empty = [published(f"empty-{place}", text="") for place in range(40)]
    one = {"image_digest": "1" * 64}
    again = [published(f"again-{place}", text=cat).model_copy(update=one) for place in range(40)]
    for answers in (camera, vague, empty, again):
        assert () == watch().take(on_log(answers)).anomalies


def test_the_memory_of_texts_is_bounded() -> None:
    """The text that was longest unused falls out."""
    texts = Texts(most=3)
    for name in "abcd":
        texts.had_elsewhere(published(name, text=name))
    assert 3 == len(texts)
    assert not texts.had_elsewhere(published("again-a", text="a"))
    assert texts.had_elsewhere(published("again-d", text="d"))


def test_measures_are_unknown_while_few_answers_came() -> None:
    """A number of nothing would look like good news."""
    seen = watch()
    seen.take(on_log([refused("a")]))
    assert {None} == set(seen.measures().values())


def test_an_answer_of_a_newer_version_is_counted() -> None:
    """Fields that this version does not know do no harm."""
    outgoing = codec.encode(published("a"), StageName.SAFETY)
    newer = replace(outgoing, value=outgoing.value[:-1] + b',"brand_new":1}')
    seen = watch()
    seen.take([record(newer)])
    assert 1 == answers_in(seen)
