"""From a checkpoint to a model that is ready: what is kept, what is proved, and what is never left. Needs torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from captionstream.local.installed import Installed
from tests.parity.conftest import Folders
from tests.parity.loopback_hub import Hub, served
from triton_models.registry import Registry, SplitModel

pytestmark = [
    pytest.mark.models,
    pytest.mark.timeout(600),
]  # on a busy machine one addition takes two minutes
STARTED_S = 240.0
"""What a process may take to come to a step, on a busy machine."""
Added = Callable[[str], SplitModel]


def add(models: Path, checkpoint: Path | str, **wanted: Any) -> tuple[SplitModel, list[str]]:
    """The model, and the steps that were told."""
    from triton_models.vision_language import adding

    steps: list[str] = []
    change = wanted.pop("change", None)
    asked = adding.Wanted(str(checkpoint), **wanted)
    model = adding.add(models, asked, lambda step, *_far: steps.append(step), change)
    return model, list(dict.fromkeys(steps))


@pytest.fixture(scope="module")
def added(checkpoint_of: Folders, tmp_path_factory: pytest.TempPathFactory) -> Added:
    """The tiny model of that class, added once."""
    models = tmp_path_factory.mktemp("models")

    def made(name: str) -> SplitModel:
        there = [model for model in Registry(models).models() if model.name == name]
        return there[0] if there else add(models, checkpoint_of(name))[0]

    return made


# ---------------------------------------------------------------- what is kept


def test_a_model_is_ready_with_all_that_belongs_to_it(added: Added) -> None:
    """Both halves, the decoder without torch, the proof, the page and the mark."""
    model = added("smolvlm")
    there = {path.name for path in model.folder.iterdir()}
    assert {
        "halves.json", "vision", "language", "serving", "parity.json", "card.html", "ready.json",
    } == there  # fmt: skip
    assert model.servable and model.check() > 10
    assert ("smolvlm", "local") == (model.reference.name, model.reference.version)


def test_a_class_without_such_a_decoder_is_ready_all_the_same(added: Added) -> None:
    """The reference engine takes it, and the proof says why the other does not."""
    model = added("qwen2_5_vl")
    assert not model.servable and not model.serving.exists()
    assert json.loads((model.folder / "parity.json").read_bytes())["not_servable"]


def test_the_proof_is_kept_row_by_row(added: Added) -> None:
    """Greedy and sampled, one picture, mixed sizes, several prompts; every token equal in fp32."""
    told = json.loads((added("smolvlm").folder / "parity.json").read_bytes())
    assert 12 == len(told["rows"])
    assert all(row["proved"] and row["tokens"] == row["same_fp32"] > 0 for row in told["rows"])
    assert {"greedy", "sampled, seed 7"} == {row["decoding"] for row in told["rows"]}
    assert {"Python", "torch", "transformers", "onnxruntime"} <= told["versions"].keys()


def test_what_a_picture_weighs_is_what_the_eye_gives(added: Added) -> None:
    """Tokens times width times two bytes, and a little for what names them."""
    model = added("smolvlm")
    for image in json.loads((model.folder / "parity.json").read_bytes())["images"]:
        alone = image["tokens"] * model.halves.split.width * 2
        assert alone < image["size"] < alone + 300


def test_the_same_checkpoint_again_is_the_same_model(added: Added, checkpoint_of: Folders) -> None:
    """It is found before it is split a second time."""
    model = added("smolvlm")
    again, steps = add(model.folder.parent, checkpoint_of("smolvlm"), name="another-name")
    assert (model.digest, []) == (again.digest, steps)


def test_a_checkpoint_split_twice_gives_one_digest(
    added: Added, checkpoint_of: Folders, tmp_path: Path
) -> None:
    """So two machines name the same model alike."""
    assert added("smolvlm").digest == add(tmp_path, checkpoint_of("smolvlm"))[0].digest


# ---------------------------------------------------------------- what is refused


def test_one_wrong_weight_and_nothing_is_added(checkpoint_of: Folders, tmp_path: Path) -> None:
    """Of the connector; the proof counts the tokens that differ, and nothing is left."""
    from triton_models.vision_language.adding import NotProved
    from triton_models.vision_language.parity import break_connector

    with pytest.raises(NotProved, match=r"[1-9]\d* of \d+ tokens differ"):
        add(tmp_path, checkpoint_of("smolvlm"), change=break_connector)
    assert [".lock"] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"name": "production"}, "is no name for a model"),
        ({"name": "../up"}, "is no name for a model"),
        ({"revision": "1" * 40}, "--revision belongs to"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    wanted: dict[str, Any], why: str, checkpoint_of: Folders, tmp_path: Path
) -> None:
    """A name that is an alias or a path, a commit of a folder."""
    from triton_models.vision_language.adding import WrongUse

    with pytest.raises(WrongUse, match=why):
        add(tmp_path, checkpoint_of("smolvlm"), **wanted)
    with pytest.raises(WrongUse, match="neither a folder nor"):
        add(tmp_path, "no/such/folder")


# ---------------------------------------------------------------- the command


def command(models: Path, *arguments: str, **told: str) -> subprocess.Popen[str]:
    """As `captionstream models add` runs it."""
    return subprocess.Popen(
        [sys.executable, "-m", "triton_models.vision_language.adding", str(models), *arguments],
        env={**os.environ, **told, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def last_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, errors = process.communicate(timeout=2 * STARTED_S)
    assert said, errors
    told: dict[str, Any] = json.loads(said.splitlines()[-1])
    return told


def until(process: subprocess.Popen[str], step: str) -> None:
    """Reads on to the first line about that step."""
    for line in process.stdout or ():
        if json.loads(line).get("step") == step:
            return
    raise AssertionError(f"it ended before {step}: {process.stderr and process.stderr.read()}")


def test_a_checkpoint_that_is_refused_is_told_in_one_line(published: Path, tmp_path: Path) -> None:
    """Its kind decides on the exit code of the command that is typed."""
    (published / "pytorch_model.bin").write_bytes(b"")
    process = command(tmp_path / "models", str(published))
    told = last_line(process)
    assert (1, "PickledWeights") == (process.returncode, told["kind"])
    assert "only safetensors are" in told["refused"]


def test_a_model_of_a_hub_is_added_at_a_commit(checkpoint_of: Folders, tmp_path: Path) -> None:
    """The commit of today is in the record, in every message, and on its page; the hub's id is its source."""
    commit = "a" * 40
    with served(Hub("someone/tiny", {commit: checkpoint_of("smolvlm")}, {"main": commit})) as hub:
        home = str(tmp_path / "home")
        process = command(tmp_path / "models", "someone/tiny", HF_ENDPOINT=hub.base_url, HF_HOME=home)
        told = last_line(process)
    assert 0 == process.returncode, told
    (model,) = Registry(tmp_path / "models").models()
    assert ("tiny", commit, "someone/tiny") == (model.name, model.reference.version, model.ready.source)
    assert told == {"ready": model.folder.name}
    assert commit in (model.folder / "card.html").read_text()


@pytest.mark.parametrize(
    ("ended_by", "step", "left"), [(signal.SIGTERM, "prove", 0), (signal.SIGKILL, "serving", 1)]
)
def test_an_addition_that_is_ended_leaves_no_model(
    ended_by: signal.Signals, step: str, left: int, checkpoint_of: Folders, tmp_path: Path
) -> None:
    """Told to end it cleans up; killed it leaves a hidden folder, which the next one sweeps up."""
    process = command(tmp_path, str(checkpoint_of("smolvlm")))
    until(process, step)
    process.send_signal(ended_by)
    process.communicate(timeout=STARTED_S)
    assert 0 != process.returncode
    assert [] == Registry(tmp_path).models()
    assert left == len(list(tmp_path.glob(".adding-*")))
    Registry(tmp_path).sweep()
    assert [".lock"] == os.listdir(tmp_path)


def test_an_addition_that_nobody_reads_any_more_ends_and_cleans_up(
    checkpoint_of: Folders, tmp_path: Path
) -> None:
    """As when the command that is typed was killed."""
    process = command(tmp_path, str(checkpoint_of("smolvlm")))
    until(process, "serving")
    assert process.stdout is not None
    process.stdout.close()
    assert 0 != process.wait(STARTED_S)
    deadline = time.monotonic() + STARTED_S
    while list(tmp_path.glob(".adding-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [".lock"] == os.listdir(tmp_path)


def test_the_command_that_is_typed_adds_a_model_and_names_it(checkpoint_of: Folders, tmp_path: Path) -> None:
    """From the environment that serves to the one that has torch, and back."""
    python = Installed.here().venv / "bin" / "python"
    folder = shutil.copytree(checkpoint_of("smolvlm"), tmp_path / "checkpoint")
    told = {"CAPTIONSTREAM_MODELS": "models", "CAPTIONSTREAM_DIRECTORY": "stack", "OMP_NUM_THREADS": "1"}
    asked = ("models", "add", folder.name, "--name=mine", "--alias=canary", "--share=0.2")
    done = subprocess.run(
        [str(python), "-m", "captionstream", *asked],
        cwd=tmp_path, env={**os.environ, **told}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    (model,) = Registry(tmp_path / "models").models()
    assert model.folder.name == done.stdout.strip() and "mine" == model.name
    aliases = Registry(tmp_path / "models").aliases()
    assert (None, model.digest, 0.2) == (aliases.production, aliases.canary, aliases.share)


# ---------------------------------------------------------------- the page


class Page(HTMLParser):
    """What assistive software looks at, and whatever would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.language: str | None = None
        self.fetched: list[str] = []
        self.scopes: list[str | None] = []
        self.uncaptioned = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if self.tags and self.tags[-1] == "table" and tag != "caption":
            self.uncaptioned += 1
        self.tags.append(tag)
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)
        if tag == "html":
            self.language = told.get("lang")
        if tag == "th":
            self.scopes.append(told.get("scope"))
        self.fetched += [str(told[name]) for name in ("src", "href", "srcset", "action") if name in told]

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()


@pytest.mark.parametrize("name", ["smolvlm", "qwen2_5_vl"])
def test_the_page_opens_offline_and_can_be_read_by_everybody(name: str, added: Added) -> None:
    """A language, one first heading, a caption on every table, a scope on every heading of a row or column."""
    text = (added(name).folder / "card.html").read_text("utf-8")
    page = Page()
    page.feed(text)
    assert "en" == page.language and [] == page.open and [] == page.fetched
    assert 1 == page.tags.count("h1") and page.tags.count("h2") >= 5 and "script" not in page.tags
    assert page.tags.count("caption") == page.tags.count("table") >= 5 and 0 == page.uncaptioned
    assert {"row", "col"} == set(page.scopes)
    assert "url(" not in text and "@import" not in text


def test_the_page_tells_what_one_must_know(added: Added) -> None:
    """Class, source, licence, digests, the table, what travels, how to promote, and that no plan was ever built."""
    model = added("smolvlm")
    text = re.sub(r"<[^>]+>", " ", (model.folder / "card.html").read_text("utf-8"))
    for told in (
        "SmolVLMForConditionalGeneration", "local folder smolvlm", "apache-2.0", model.digest,
        model.halves.source.revision, "3 prompts, 1 picture", "640 × 480", "in the message",
        f"captionstream models promote {model.folder.name}", "Unverified:", "trtexec --onnx=model.onnx",
        *(file.sha256 for file in (*model.halves.files, *model.halves.source.files)),
    ):  # fmt: skip
        assert told in text, told
