"""Which models are ready, which of them the names stand for, and who is seen with which."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionstream.contracts.messages import Event
from captionstream.contracts.values import Profile
from tests.unit.models.builders import COMMIT, flip, nobody, ready_model
from triton_models import registry
from triton_models.registry import Aliases, Registry, SplitModel, place

ONE, OTHER, THIRD = nobody("1"), nobody("2"), nobody("3")

# ---------------------------------------------------------------- models


def test_a_model_is_named_by_the_digest_of_its_facts(tmp_path: Path) -> None:
    """As messages name it, and as Triton serves it."""
    model = ready_model(tmp_path, "small")
    assert ("small", COMMIT, model.digest) == tuple(model.reference.model_dump().values())
    assert f"vlm_{model.digest[:12]}" == model.triton_name
    assert model.folder.name == f"small-{model.digest[:12]}"
    assert (model.folder / "language", model.folder / "serving") == (model.language, model.serving)


def test_a_folder_of_no_known_commit_is_local(tmp_path: Path) -> None:
    """Its version names no commit that nobody could look up."""
    assert "local" == ready_model(tmp_path, "mine", revision="sha256:" + "0" * 64).reference.version


def test_a_model_without_its_mark_is_not_there(tmp_path: Path) -> None:
    """The mark is written last, so what was never finished is never served."""
    model, kept = ready_model(tmp_path, "begun"), ready_model(tmp_path, "kept")
    (model.folder / registry.READY).unlink()
    asked = Registry(tmp_path)
    assert ["kept"] == [one.name for one in asked.models()]
    with pytest.raises(registry.NotThere, match=model.digest[:12]):
        asked.model(model.digest)
    assert kept.folder == asked.model(kept.digest).folder


def test_a_model_that_is_added_is_found_by_a_registry_that_is_open(tmp_path: Path) -> None:
    """Services look without a restart."""
    asked = Registry(tmp_path)
    assert [] == asked.models()
    assert ready_model(tmp_path, "late").digest == asked.models()[0].digest


def test_only_a_class_with_a_decoder_of_its_own_is_servable_without_torch(tmp_path: Path) -> None:
    """The mark says whether it was written, not whether a folder happens to lie there."""
    assert ready_model(tmp_path, "plain").servable
    without = ready_model(tmp_path, "axes", serving=False)
    without.serving.mkdir()
    assert not without.servable


@pytest.mark.parametrize(
    "file",
    [
        "halves.json", "vision/model.onnx", "language/model.safetensors", "serving/decoder.json", "parity.json",
        "card.html", "ready.json",
    ],
)  # fmt: skip
def test_a_flipped_bit_anywhere_is_noticed(file: str, tmp_path: Path) -> None:
    """Every file of a model is in one of its two records, and each record is held against the other."""
    model = ready_model(tmp_path, "small")
    assert 6 == model.check()
    flip(model.folder / file)
    with pytest.raises(registry.ModelChanged, match=f"models remove {model.folder.name}"):
        model.check()


def test_a_file_that_was_added_is_noticed(tmp_path: Path) -> None:
    """Beside the halves as well as in them."""
    for place_of_it in ("serving/more.onnx", "language/more.json", "more.txt"):
        model = ready_model(tmp_path, place_of_it.replace("/", "."))
        (model.folder / place_of_it).write_text("")
        with pytest.raises(registry.ModelChanged, match=place_of_it):
            model.check()


def test_one_broken_model_does_not_hide_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is named once in the log, and whoever asks for it is told what is wrong."""
    model, good = ready_model(tmp_path, "a"), ready_model(tmp_path, "b")
    (model.folder / "halves.json").write_text("{")
    asked = Registry(tmp_path)
    with caplog.at_level(logging.ERROR):
        assert (
            [good.digest] == [one.digest for one in asked.models()] == [one.digest for one in asked.models()]
        )
    assert 1 == len(caplog.records)
    assert [model.folder] == [broken.folder for broken in asked.broken()]
    with pytest.raises(registry.ModelChanged):
        asked.model(model.digest)


def test_a_model_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    """By name, folder, the name Triton has for it, the beginning of its digest, and by alias."""
    model, asked = ready_model(tmp_path, "small"), Registry(tmp_path)
    asked.write(Aliases(canary=model.digest))
    names = ("small", model.folder.name, model.triton_name, model.digest[:6], model.digest, "canary")
    assert {model.digest} == {asked.named(name).digest for name in names}
    for nothing in ("production", "smal", model.digest[:5]):
        with pytest.raises(registry.NotThere, match=r"there: small-"):
            asked.named(nothing)


def test_a_name_that_several_have_is_not_guessed(tmp_path: Path) -> None:
    """Their folders tell them apart."""
    first, second = ready_model(tmp_path, "small", "1"), ready_model(tmp_path, "small", "2")
    asked = Registry(tmp_path)
    with pytest.raises(registry.AmbiguousName, match=first.folder.name):
        asked.named("small")
    assert second.digest == asked.named(second.folder.name).digest


# ---------------------------------------------------------------- who is seen with which


def events(count: int) -> list[Event]:
    return [Event(id=f"event-{number}") for number in range(count)]


def test_an_event_is_always_seen_with_the_same_model() -> None:
    """Its identity alone decides: asking for another profile of the same picture changes nothing."""
    aliases = Aliases(production=ONE, canary=OTHER, share=0.5)
    for event in events(50):
        again = event.model_copy(update={"profile": Profile.PRODUCT, "language": "es"})
        assert aliases.chosen(event) == aliases.chosen(again)


def test_a_canary_takes_about_its_share() -> None:
    """Of 4,000 events a tenth, within five standard deviations."""
    aliases = Aliases(production=ONE, canary=OTHER, share=0.1)
    taken = sum(aliases.chosen(event) == OTHER for event in events(4000))
    assert abs(taken - 400) < 5 * (4000 * 0.1 * 0.9) ** 0.5


@given(st.floats(0, 1), st.floats(0, 1), st.text(min_size=1, max_size=20))
def test_a_larger_share_takes_no_event_away(one: float, other: float, name: str) -> None:
    """Whoever is seen with the canary at a small share is so at a larger one."""
    small, large = sorted((one, other))
    event = Event(id=name)
    if Aliases(production=ONE, canary=OTHER, share=small).chosen(event) == OTHER:
        assert OTHER == Aliases(production=ONE, canary=OTHER, share=large).chosen(event)


def test_a_share_of_all_and_of_nothing() -> None:
    """Both ends are exact; without a canary the share means nothing, and without a model nobody is chosen."""
    for event in events(100):
        assert 0 <= place(event) < 1
        assert OTHER == Aliases(production=ONE, canary=OTHER, share=1.0).chosen(event)
        assert ONE == Aliases(production=ONE, canary=OTHER, share=0.0).chosen(event)
        assert ONE == Aliases(production=ONE, share=1.0).chosen(event)
        assert Aliases().chosen(event) is None


# ---------------------------------------------------------------- names


def test_a_canary_becomes_production_and_the_one_before_is_remembered() -> None:
    """And there is no canary then."""
    promoted = Aliases(production=ONE, canary=OTHER, share=0.3).promoted()
    assert Aliases(production=OTHER, share=0.3, history=(ONE,)) == promoted
    assert Aliases(production=ONE, share=0.3) == promoted.rolled_back()


def test_one_goes_back_as_far_as_one_came() -> None:
    """Each step once, to no production at all; then it is said that there is nothing before it."""
    aliases = Aliases().producing(ONE).producing(OTHER).producing(THIRD)
    assert (ONE, OTHER) == aliases.history
    back = aliases.rolled_back().rolled_back()
    assert Aliases(production=ONE) == back
    back = back.rolled_back()
    assert Aliases() == back
    with pytest.raises(registry.NotThere, match="nothing to go back to"):
        back.rolled_back()


def test_promoting_what_is_production_already_changes_nothing() -> None:
    """Else going back would lead nowhere."""
    aliases = Aliases(production=ONE, history=(OTHER,))
    assert aliases == aliases.producing(ONE)


def test_without_a_canary_nothing_is_promoted() -> None:
    """And the production is no canary of itself."""
    with pytest.raises(registry.NotThere, match="no canary"):
        Aliases(production=ONE).promoted()
    with pytest.raises(registry.NotThere, match="production already"):
        Aliases(production=ONE).trying(ONE, 0.1)


def test_a_name_never_comes_to_stand_for_a_model_that_is_not_there(tmp_path: Path) -> None:
    """Also when it was removed between the command and the change."""
    asked = Registry(tmp_path)
    with pytest.raises(registry.NotThere):
        asked.change(lambda aliases: aliases.producing(ONE))
    assert not (tmp_path / registry.ALIASES).exists()


def test_a_change_of_names_is_seen_by_a_registry_that_is_open(tmp_path: Path) -> None:
    """Without a restart, however soon after the last one it comes."""
    writer, reader = Registry(tmp_path), Registry(tmp_path)
    assert Aliases() == reader.aliases()
    for number in range(20):
        aliases = Aliases(production=nobody(str(number)))
        writer.write(aliases)
        assert aliases == reader.aliases()


@pytest.mark.parametrize(
    "text", ["", '{"production": "', "[]", '{"production": "abc"}', '{"share": 1.5}', '{"prodction": null}']
)
def test_a_broken_file_of_names_is_refused_with_what_to_do(text: str, tmp_path: Path) -> None:
    """Half-written, no digest, no share, a name that is none."""
    (tmp_path / registry.ALIASES).write_text(text)
    with pytest.raises(registry.AliasesBroken, match="captionstream models promote"):
        Registry(tmp_path).aliases()


def test_a_reader_that_has_names_keeps_them_when_the_file_breaks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once, and takes the file again as soon as it is whole."""
    asked, good = Registry(tmp_path), Aliases(production=ONE)
    asked.write(good)
    asked.aliases()
    (tmp_path / registry.ALIASES).write_text('{"production": "')
    with caplog.at_level(logging.ERROR):
        assert [good] * 3 == [asked.aliases() for _ in range(3)]
    assert ["the aliases of before are kept"] == [r.getMessage().rpartition("; ")[2] for r in caplog.records]
    Registry(tmp_path).write(Aliases(production=OTHER))
    assert Aliases(production=OTHER) == asked.aliases()


def test_a_reader_sees_old_names_or_new_ones_and_never_half(tmp_path: Path) -> None:
    """While another process replaces the file as fast as it can."""
    one, other = Aliases(production=ONE, history=(ONE,) * 200), Aliases(production=OTHER)
    Registry(tmp_path).write(one)
    writing = threading.Event()

    def write() -> None:
        for number in range(300):
            Registry(tmp_path).write((one, other)[number % 2])
        writing.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while not writing.is_set():
        seen.add(Registry(tmp_path).aliases().production)
    thread.join()
    assert {ONE, OTHER} >= seen
    assert [registry.ALIASES] == os.listdir(tmp_path)


def test_changes_from_several_processes_are_all_kept(tmp_path: Path) -> None:
    """Each reads what the one before wrote: nobody's change is lost."""
    models = [ready_model(tmp_path, f"m{number}") for number in range(4)]
    code = (
        "import sys; from pathlib import Path; from triton_models.registry import Registry\n"
        "Registry(Path(sys.argv[1])).change(lambda aliases: aliases.producing(sys.argv[2]))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), one.digest]) for one in models]
    assert [0] * 4 == [process.wait() for process in started]
    found = Registry(tmp_path).aliases()
    assert {model.digest for model in models} == {*found.history, found.production}


# ---------------------------------------------------------------- coming and going


def staged(work: Path, model: SplitModel) -> Path:
    """A copy of a model, as one in the making."""
    made = work / "model"
    subprocess.run(["cp", "-r", str(model.folder), str(made)], check=True)
    return made


def test_a_model_appears_in_one_step(tmp_path: Path) -> None:
    """Its workplace is hidden, and gone when the work ends."""
    source, asked = ready_model(tmp_path, "small"), Registry(tmp_path / "models")
    with asked.workplace() as work:
        made = staged(work, source)
        assert [] == asked.models()
        published = asked.publish(made, source.ready)
    assert published.folder == asked.folder / source.folder.name
    assert source.check() == published.check()
    assert {".lock", source.folder.name} == set(os.listdir(asked.folder))


def test_a_model_is_read_by_services_of_other_users(tmp_path: Path) -> None:
    """Some libraries write for their owner only; a container's user is another one."""
    source, asked = ready_model(tmp_path, "small"), Registry(tmp_path / "models")
    with asked.workplace() as work:
        made = staged(work, source)
        closed = next((made / "language").iterdir())
        closed.chmod(0o600)
        published = asked.publish(made, source.ready)
    assert 0o644 == (published.language / closed.name).stat().st_mode & 0o777


def test_a_model_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    """Events that name it are on their way."""
    source, asked = ready_model(tmp_path, "small"), Registry(tmp_path)
    with asked.workplace() as work, pytest.raises(registry.AlreadyThere, match="models verify"):
        asked.publish(staged(work, source), source.ready)


def test_what_a_killed_process_left_is_swept_up_and_what_is_in_work_is_not(tmp_path: Path) -> None:
    """The kernel lets go of a workplace with its process."""
    code = (
        "import os, sys, signal; from pathlib import Path; from triton_models.registry import Registry\n"
        "with Registry(Path(sys.argv[1])).workplace() as work:\n"
        "    (work / 'half').write_text('')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    asked = Registry(tmp_path)
    with asked.workplace() as mine:
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
        assert 2 == len(list(tmp_path.glob(".adding-*")))
        assert 1 == asked.sweep()
        assert [mine] == list(tmp_path.glob(".adding-*"))
    assert [".lock"] == os.listdir(tmp_path)


def test_a_model_that_a_name_stands_for_is_not_removed(tmp_path: Path) -> None:
    """Neither production nor canary; when none does it goes, and out of the history too."""
    one, other, asked = ready_model(tmp_path, "a"), ready_model(tmp_path, "b"), Registry(tmp_path)
    asked.write(Aliases(production=other.digest, canary=one.digest, history=(one.digest,)))
    for named in (one, other):
        with pytest.raises(registry.StillNamed, match="promote another or roll back"):
            asked.remove(named.folder)
    asked.change(Aliases.untried)
    asked.remove(one.folder)
    assert Aliases(production=other.digest) == asked.aliases()
    assert {other.folder.name, ".lock", registry.ALIASES} == set(os.listdir(tmp_path))


def test_a_broken_model_can_be_removed(tmp_path: Path) -> None:
    """Its folder says which it was, so a name that stands for it is still seen."""
    model, asked = ready_model(tmp_path, "small"), Registry(tmp_path)
    asked.write(Aliases(canary=model.digest))
    (model.folder / "halves.json").write_text("{")
    asked = Registry(tmp_path)
    assert model.folder == asked.folder_of("small") == asked.folder_of(model.folder.name)
    with pytest.raises(registry.StillNamed, match="canary"):
        asked.remove(model.folder)
    asked.change(Aliases.untried)
    asked.remove(model.folder)
    assert not model.folder.exists()


def test_the_names_are_written_as_agreed(tmp_path: Path) -> None:
    """Other programs read the file too."""
    Registry(tmp_path).write(Aliases(production=ONE, canary=OTHER, share=0.25, history=(THIRD,)))
    told = json.loads((tmp_path / "aliases.json").read_bytes())
    assert {"production": ONE, "canary": OTHER, "share": 0.25, "history": [THIRD]} == told
