"""`captionstream models`: what is said, what is changed, and which exit code tells it. No torch."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from captionstream.cli import adding
from captionstream.cli.app import app
from captionstream.local.installed import Installed
from captionstream.local.state import Condition, PartState, StackState, held, now, write_state
from tests.unit.models.builders import flip, ready_model
from triton_models.registry import Aliases, Registry


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def ask(models: Path, *arguments: str, **more: str) -> Result:
    """The real command; no stack runs in its directory."""
    told = {
        "CAPTIONSTREAM_MODELS": str(models),
        "CAPTIONSTREAM_DIRECTORY": str(models.parent),
        "COLUMNS": "200",
        **more,
    }
    return CliRunner().invoke(app, ["models", *arguments], env=told)


# ---------------------------------------------------------------- looking


@pytest.mark.parametrize("verb", ["add", "list", "show", "verify", "promote", "rollback", "remove"])
def test_every_verb_explains_itself_with_an_example(verb: str, models: Path) -> None:
    """What to type stands in its help."""
    assert f"Example: captionstream models {verb}" in ask(models, verb, "--help").output


def test_models_are_listed_for_people_and_for_programs(models: Path) -> None:
    """Both tell class, licence, engines and which name stands for it."""
    small, other = ready_model(models, "small"), ready_model(models, "other", serving=False)
    Registry(models).write(Aliases(production=small.digest, canary=other.digest, share=0.25))
    text = ask(models, "list").stdout
    assert (
        small.folder.name in text and "production" in text and "canary 25%" in text and "apache-2.0" in text
    )
    narrow = ask(models, "list", COLUMNS="60").stdout
    assert small.folder.name in narrow and "…" not in narrow
    rows = {row["model"]: row for row in json.loads(ask(models, "list", "-o", "json").stdout)}
    assert (["production"], None, ["onnx", "transformers"]) == tuple(
        rows[small.folder.name][key] for key in ("named", "share", "engines")
    )
    assert (["canary"], 0.25, ["transformers"]) == tuple(
        rows[other.folder.name][key] for key in ("named", "share", "engines")
    )


def test_without_models_it_is_said_how_to_get_one(models: Path) -> None:
    """And a program reads an empty list."""
    assert "`captionstream models add`" in ask(models, "list").stderr
    assert [] == json.loads(ask(models, "list", "-o", "json").stdout)


def test_a_model_is_shown_with_what_was_proved_of_it(models: Path) -> None:
    """Source, revision, the table, the bytes of a picture; and as JSON all of it, the record of its files too."""
    model = ready_model(models, "small")
    text = ask(models, "show", "small").stdout
    for told in (model.digest, "owner/model", "20 ✓", "640 × 480: 64 visual tokens, 1.1 kB", "card.html"):
        assert told in text
    told = json.loads(ask(models, "show", model.digest[:8], "-o", "json").stdout)
    assert told["parity"]["rows"][0]["proved"] and told["plan"].startswith("trtexec --onnx=model.onnx")
    assert 3 == len(told["halves"]["files"])


def test_a_model_that_is_not_there_is_wrong_use(models: Path) -> None:
    """The models that are there are named."""
    ready_model(models, "small")
    asked = ask(models, "show", "smal")
    assert 2 == asked.exit_code and "there: small-" in asked.stderr


# ---------------------------------------------------------------- verifying


def test_a_flipped_byte_is_told_by_the_exit_code(models: Path) -> None:
    """And by a sentence that names the file; the other model is still looked at."""
    bad, good = ready_model(models, "bad"), ready_model(models, "good")
    assert 0 == ask(models, "verify").exit_code
    flip(bad.language / "model.safetensors")
    asked = ask(models, "verify")
    assert 1 == asked.exit_code
    assert f"✓ {good.folder.name}: 6 files" in asked.stdout and "language/model.safetensors" in asked.stderr
    assert 0 == ask(models, "verify", "good").exit_code
    assert 1 == ask(models, "verify", "bad").exit_code


def test_a_name_that_stands_for_nothing_fails_the_verification(models: Path) -> None:
    """A folder was taken away by hand: events would find no model."""
    model = ready_model(models, "small")
    Registry(models).write(Aliases(production=model.digest))
    model.folder.rename(models.parent / "elsewhere")
    asked = ask(models, "verify")
    assert 1 == asked.exit_code and f"production is {model.digest[:12]}" in asked.stderr


# ---------------------------------------------------------------- naming


def test_a_model_is_tried_promoted_and_taken_back(models: Path) -> None:
    """What each command leaves is what the next one starts from."""
    first, second = ready_model(models, "first"), ready_model(models, "second")
    asked = Registry(models)
    ask(models, "promote", "first")
    assert Aliases(production=first.digest) == asked.aliases()
    ask(models, "promote", "second", "--alias", "canary", "--share", "0.3")
    assert Aliases(production=first.digest, canary=second.digest, share=0.3) == asked.aliases()
    ask(models, "promote", "--alias", "canary", "--share", "0.6")
    assert 0.6 == asked.aliases().share
    shown = ask(models, "promote").stdout
    assert f"production  {second.folder.name}" in shown and (first.digest,) == asked.aliases().history
    ask(models, "rollback")
    assert (first.digest, None) == (asked.aliases().production, asked.aliases().canary)


def test_a_trial_is_ended_without_touching_production(models: Path) -> None:
    """`rollback --alias canary`."""
    first, second = ready_model(models, "first"), ready_model(models, "second")
    Registry(models).write(Aliases(production=first.digest, canary=second.digest))
    ask(models, "rollback", "--alias", "canary")
    assert Aliases(production=first.digest) == Registry(models).aliases()


@pytest.mark.parametrize(
    ("running", "servable", "said"),
    [
        (("triton",), False, True),
        (("triton", "reference-engine"), False, False),
        (("triton",), True, False),
        ((), False, False),
    ],
)
def test_a_model_that_the_running_stack_cannot_write_for_says_what_to_do(
    running: tuple[str, ...], servable: bool, said: bool, models: Path
) -> None:
    """Only where the reference engine is needed, the stack runs, and has none."""
    model = ready_model(models, "small", serving=servable)
    parts = tuple(PartState(role, 0, role, None, 1, Condition.READY, now(), 0) for role in running)
    with held(models.parent) if running else nullcontext():
        write_state(models.parent, StackState(os.getpid(), now(), parts))
        answer = ask(models, "promote", model.folder.name)
    assert answer.exit_code == 0
    assert said is ("`captionstream down`, then `up`, starts it" in answer.stderr)


def test_a_changed_model_is_not_promoted(models: Path) -> None:
    """It is read again before any event goes to it."""
    model = ready_model(models, "small")
    flip(model.graph)
    asked = ask(models, "promote", "small")
    assert 1 == asked.exit_code and "vision/model.onnx" in asked.stderr
    assert Aliases() == Registry(models).aliases()


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote",), ("rollback",), ("promote", "--alias", "canary"), ("promote", "small", "--share", "0.5"),
        ("promote", "small", "--alias", "canary", "--share", "1.5"), ("promote", "nobody"), ("remove", "nobody"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_changes_nothing(arguments: tuple[str, ...], models: Path) -> None:
    """No canary, no production before, a share of production, a share of more than all, no such model."""
    ready_model(models, "small")
    assert 2 == ask(models, *arguments).exit_code
    assert Aliases() == Registry(models).aliases()


def test_broken_names_are_told_with_their_cure(models: Path) -> None:
    """And no command writes over them unasked."""
    ready_model(models, "small")
    (models / "aliases.json").write_text('{"production": "')
    for arguments in (("list",), ("promote", "small"), ("rollback",), ("remove", "small")):
        asked = ask(models, *arguments)
        assert 3 == asked.exit_code and "Remove it and name the models again" in asked.stderr
    assert '{"production": "' == (models / "aliases.json").read_text()


def test_a_model_in_use_stays(models: Path) -> None:
    """One that no name stands for goes, off the disk."""
    first, _ = ready_model(models, "first"), ready_model(models, "second")
    ask(models, "promote", "first")
    refused = ask(models, "remove", "first")
    assert 2 == refused.exit_code and "is production" in refused.stderr
    assert 0 == ask(models, "remove", "second").exit_code
    assert {first.folder.name, "aliases.json", ".lock"} == set(os.listdir(models))


# ---------------------------------------------------------------- adding: what is done with the other process


def scripted(folder: Path, lines: str) -> adding.Child:
    """A process in the place of the one that has torch; it speaks as that one does."""
    package = folder / "source" / "triton_models" / "vision_language"
    package.mkdir(parents=True)
    for inside in (package, package.parent):
        (inside / "__init__.py").write_text("")
    (package / "adding.py").write_text(lines)
    return adding.Child(Path(sys.executable), folder / "source")


def test_every_step_is_shown_and_the_model_named(tmp_path: Path) -> None:
    """Each step ends full when the next one begins."""
    steps = (
        '{"step": "split", "done": 0, "of": 1}', '{"step": "prove", "done": 0, "of": 6}',
        '{"step": "prove", "done": 5, "of": 6}', '{"ready": "small-0123456789ab"}',
    )  # fmt: skip
    shown = io.StringIO()
    child = scripted(tmp_path, "\n".join(f"print('{line}', flush=True)" for line in steps))
    assert "small-0123456789ab" == adding.run(child, [], Console(file=shown))
    assert "splitting it" in shown.getvalue() and "1/1" in shown.getvalue()
    assert "comparing every token" in shown.getvalue() and "6/6" in shown.getvalue()


def test_what_the_other_process_refuses_is_refused_with_its_words(tmp_path: Path) -> None:
    """And with the kind of its error, which decides on the exit code."""
    child = scripted(tmp_path, """print('{"refused": "3 of 240 tokens differ", "kind": "NotProved"}')""")
    with pytest.raises(adding.Refused, match="3 of 240 tokens differ") as refused:
        adding.run(child, [], Console(file=io.StringIO()))
    assert "NotProved" == refused.value.kind


def test_a_process_that_breaks_is_told_with_its_last_lines(tmp_path: Path) -> None:
    """A defect is not hidden behind a general sentence."""
    child = scripted(tmp_path, "raise SystemError('no such thing')")
    with pytest.raises(adding.Refused, match=r"(?s)status 1.*no such thing"):
        adding.run(child, [], Console(file=io.StringIO()))


STARTED = 30.0
"""Seconds that a process may take to begin, on a busy machine."""


def test_an_interrupted_addition_leaves_nothing(tmp_path: Path, models: Path) -> None:
    """Ctrl-C while the other process works: it ends, and its workplace is gone."""
    code = (
        "import signal, sys; from pathlib import Path; from rich.console import Console\n"
        "from captionstream.cli import adding, models\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job of a shell ignores it
        "from triton_models.registry import Registry\n"
        f"adding.Child.here = lambda: adding.Child(Path(sys.executable), Path({str(tmp_path / 'source')!r}))\n"
        "models._added(Registry(Path(sys.argv[1])), [sys.argv[1]], Console(stderr=True))"
    )
    scripted(
        tmp_path,
        "import os, sys, tempfile, time, fcntl\n"
        "work = tempfile.mkdtemp(prefix='.adding-', dir=sys.argv[1])\n"
        "fcntl.flock(os.open(work, os.O_RDONLY), fcntl.LOCK_EX)\n"
        "open(sys.argv[1] + '/pid', 'w').write(str(os.getpid()))\n"
        "time.sleep(60)",
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(models)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + STARTED
    while not (models / "pid").exists() or not (models / "pid").read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    assert 1 == len(list(models.glob(".adding-*")))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=STARTED)
    assert 1 == process.returncode and "interrupted; nothing was added" in said
    assert [] == list(models.glob(".adding-*"))
    assert not psutil.pid_exists(int((models / "pid").read_text()))


def test_without_torch_one_sentence_says_what_to_do(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is installed unasked."""
    monkeypatch.setattr(Installed, "here", lambda: Installed(tmp_path / "nothing", tmp_path))
    asked = ask(models, "add", str(tmp_path))
    assert 3 == asked.exit_code and "make setup-models" in asked.stderr
    assert 1 == len(asked.stderr.strip().splitlines())
