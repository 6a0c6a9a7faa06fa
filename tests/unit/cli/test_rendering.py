"""`captionstream models render`: a model's eye for a Triton of somebody's own."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import Result

from captionstream.cli.rendering import Backend
from tests.unit.cli.test_models import ask
from tests.unit.models.builders import PARITY_TOLD, flip, ready_model
from triton_models.registry import Aliases, Registry, SplitModel
from triton_models.repository import render_split
from triton_models.vision_language import card
from triton_models.vision_language.graph import plan_command

FILES = {
    Backend.PYTHON: {"model.onnx", "model.py", "onnx_session.py"},
    Backend.ONNXRUNTIME: {"model.onnx"},
    Backend.TENSORRT: {"model.onnx"},
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def model(models: Path) -> SplitModel:
    return ready_model(models, "small")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "triton" / "models"


def render(
    model: SplitModel, target: Path, *more: str, name: str = "small", backend: str = "python"
) -> Result:
    return ask(model.folder.parent, "render", name, str(target), "--backend", backend, *more)


def written(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_it_explains_itself_with_an_example(models: Path) -> None:
    """And says which ways no server has tried."""
    said = ask(models, "render", "--help").output
    assert "Example: captionstream models render smolvlm ./triton-models --backend python" in said
    assert "onnxruntime (CPU) and tensorrt (GPU) are unverified" in said


@pytest.mark.parametrize("backend", Backend)
def test_the_folder_is_written_and_named_on_stdout(model: SplitModel, target: Path, backend: Backend) -> None:
    """All else is for people, on stderr; the folder is what the local stack's own rendering makes for that back end."""
    asked = render(model, target, "--instances", "3", backend=backend)
    made = target / model.triton_name
    assert (0, f"{made}\n") == (asked.exit_code, asked.stdout)
    assert FILES[backend] == {file.name for file in (made / "1").iterdir()}
    expected = render_split(model.folder, model.triton_name, target.parent / "other", backend.value, 3)
    assert written(expected) == written(made)
    assert f"/v2/repository/models/{model.triton_name}/load" in asked.stderr
    assert f"captionstream models promote {model.folder.name}" in asked.stderr


@pytest.mark.parametrize("backend", Backend)
def test_what_no_server_has_loaded_is_said_to_be_unverified(
    model: SplitModel, target: Path, backend: Backend
) -> None:
    """The Python back end is the local stack's, which tests start."""
    assert (backend is not Backend.PYTHON) is ("unverified" in render(model, target, backend=backend).stderr)


def test_the_call_that_builds_a_plan_is_printed_whole(model: SplitModel, target: Path) -> None:
    """On one line of its own, with the path of the graph that was written; only where there is a plan to build."""
    spaced = target / "with space"
    said = render(model, spaced, backend="tensorrt").stderr
    [call] = [line for line in said.splitlines() if line.startswith("trtexec")]
    version = spaced / model.triton_name / "1"
    assert plan_command(model.halves.split, version / "model.onnx") == shlex.split(call)
    assert (version / "model.onnx").is_file() and f"'--saveEngine={version / 'model.plan'}'" in call
    assert "on the GPU that will serve it" in said and "never run" in said
    assert "trtexec" not in render(model, target, backend="onnxruntime").stderr


def test_tensorrt_is_unverified_wherever_it_is_told(models: Path, model: SplitModel) -> None:
    """In the help of `add`, and on the card, which names the command that writes for another Triton."""
    assert "TensorRT is unverified" in ask(models, "add", "--help").output
    page = card.render(model.name, "owner/model", model.digest, model.halves, PARITY_TOLD, ())
    told = page.partition("<h2>Another Triton, and TensorRT</h2>")[2].partition("<h2>")[0]
    assert "<strong>Unverified:</strong>" in told and f"models render {model.folder.name} TARGET" in told
    assert f"<pre>{card.plan(model.halves)}</pre>" in told


def test_a_model_is_named_as_every_verb_takes_it(models: Path, model: SplitModel, target: Path) -> None:
    """By name, folder, digest, or what stands for it."""
    other = ready_model(models, "other")
    Registry(models).write(Aliases(production=model.digest, canary=other.digest))
    for name in ("small", model.folder.name, model.digest[:8], "production"):
        assert f"{target / model.triton_name}\n" == render(model, target, name=name).stdout
    assert f"{target / other.triton_name}\n" == render(model, target, name="canary").stdout
    assert {model.triton_name, other.triton_name} == {folder.name for folder in target.iterdir()}


def test_only_the_models_own_folder_is_replaced(model: SplitModel, target: Path) -> None:
    """Another back end's files go, and a plan; the neighbours stay as they were."""
    render(model, target)
    (target / model.triton_name / "1" / "model.plan").write_bytes(b"of another graph")
    for neighbour in ("vision_encoder", f"{model.triton_name}0"):
        (target / neighbour / "1").mkdir(parents=True)
        (target / neighbour / "1" / "model.onnx").write_bytes(b"theirs")
    assert 0 == render(model, target, backend="onnxruntime").exit_code
    assert ["model.onnx"] == [file.name for file in (target / model.triton_name / "1").iterdir()]
    left = {name: data for name, data in written(target).items() if f"{model.triton_name}/" not in name}
    assert {
        "vision_encoder/1/model.onnx": b"theirs",
        f"{model.triton_name}0/1/model.onnx": b"theirs",
    } == left


def test_a_link_is_replaced_and_what_it_leads_to_stays(
    model: SplitModel, target: Path, tmp_path: Path
) -> None:
    """Somebody's folder elsewhere is not written into."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.pbtxt").write_text("theirs")
    target.mkdir(parents=True)
    (target / model.triton_name).symlink_to(theirs)
    assert 0 == render(model, target).exit_code
    assert {"config.pbtxt": b"theirs"} == written(theirs)
    assert (target / model.triton_name / "1" / "model.onnx").is_file()


@pytest.mark.parametrize("file", ["vision/model.onnx", "language/model.safetensors"])
def test_a_changed_file_is_told_and_nothing_written(model: SplitModel, target: Path, file: str) -> None:
    """Of either half: a model whose words are not what was proved is not put before a Triton."""
    flip(model.folder / file)
    asked = render(model, target)
    assert 1 == asked.exit_code and file in asked.stderr and "not what was proved" in asked.stderr
    assert "" == asked.stdout and not target.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", "{target}", "--backend", "python"), "no model 'nobody'"),
        (("canary", "{target}", "--backend", "python"), "no model 'canary'"),
        (("small", "{target}"), "--backend"),
        (("small", "{target}", "--backend", "onnx"), "onnxruntime"),
        (("small", "{target}", "--backend", "python", "--instances", "0"), "--instances"),
        (("small", "{file}", "--backend", "python"), "is a file"),
        (("small", "{models}", "--backend", "python"), "where split models are kept"),
        (("small", "{models}/served/here", "--backend", "python"), "where split models are kept"),
    ],
)
def test_wrong_use_writes_nothing(
    models: Path, model: SplitModel, target: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 2 and a sentence: a name, a target or an option that makes no sense."""
    file = models.parent / "a-file"
    file.write_text("theirs")
    before = written(models.parent)
    asked = ask(
        models, "render", *(each.format(target=target, file=file, models=models) for each in arguments)
    )
    assert 2 == asked.exit_code and said in asked.stderr and "Traceback" not in asked.output
    assert before == written(models.parent) and "" == asked.stdout


@pytest.mark.parametrize("place", ["{tmp}/a-file/models", "/proc/models"])
def test_a_place_that_cannot_be_written_is_told(model: SplitModel, tmp_path: Path, place: str) -> None:
    """Exit code 3, with the system's own reason: below a file, and where nobody may make a folder."""
    (tmp_path / "a-file").write_text("theirs")
    target = Path(place.format(tmp=tmp_path))
    asked = render(model, target)
    assert 3 == asked.exit_code and asked.stderr.startswith(f"captionstream: {target}")
    assert 1 == len(asked.stderr.splitlines()) and "" == asked.stdout


def test_a_file_in_the_models_place_is_not_taken_away(model: SplitModel, target: Path) -> None:
    """Nobody's rendering is a file."""
    target.mkdir(parents=True)
    (target / model.triton_name).write_text("theirs")
    assert 3 == render(model, target).exit_code
    assert {model.triton_name: b"theirs"} == written(target)
