"""Checkpoints from a hub, fetched by its own client from a server on this machine. Needs huggingface_hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.parity.loopback_hub import Hub, served
from triton_models.vision_language.hub import is_id

pytestmark = pytest.mark.models
FIRST, SECOND = "1" * 40, "2" * 40
REPOSITORY = "someone/small-model"


@pytest.fixture
def hub(published: Path, tmp_path: Path) -> Iterator[Hub]:
    """Two commits of one model; the later one has code, pickled weights and another form of them beside."""
    later = shutil.copytree(published, tmp_path / "later")
    (later / "README.md").write_text("---\nlicense: mit\n---\nLater.\n")
    (later / "modeling.py").write_text("raise SystemError")
    (later / "pytorch_model.bin").write_bytes(b"\x80")
    (later / "onnx").mkdir()
    (later / "onnx" / "config.json").write_text("{}")
    with served(Hub(REPOSITORY, {FIRST: published, SECOND: later}, {"main": SECOND, "v1": FIRST})) as hub:
        yield hub


def fetch(hub: Hub, tmp_path: Path, revision: str | None, repository: str = REPOSITORY) -> tuple[int, str]:
    """In a process of its own, for the client reads where its hub is when it is imported. Its status, what it said."""
    code = (
        "import sys; from pathlib import Path\n"
        "from triton_models.vision_language.hub import NotDownloaded, download\n"
        "work = Path(sys.argv[1]); work.mkdir(exist_ok=True)\n"
        "try:\n"
        "    print(download(sys.argv[2], sys.argv[3] or None, work, lambda done, of: print(done, of)))\n"
        "except NotDownloaded as refused:\n"
        "    sys.exit(str(refused))"
    )
    work = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
    told = {"HF_ENDPOINT": hub.base_url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(work), repository, revision or ""],
        env={**os.environ, **told}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout if done.returncode == 0 else done.stderr).strip()


def test_a_model_without_a_revision_is_taken_at_todays_commit(hub: Hub, tmp_path: Path) -> None:
    """The folder is named by it, so the record tells it."""
    status, said = fetch(hub, tmp_path, None)
    folder = Path(said.splitlines()[-1])
    assert (0, SECOND) == (status, folder.name)
    assert "license: mit" in (folder / "README.md").read_text()


@pytest.mark.parametrize("revision", [FIRST, "v1"])
def test_a_revision_is_a_commit_or_resolved_to_one(revision: str, hub: Hub, tmp_path: Path) -> None:
    """A tag may move tomorrow; the commit is what is kept."""
    folder = Path(fetch(hub, tmp_path, revision)[1].splitlines()[-1])
    assert FIRST == folder.name
    assert "license: apache-2.0" in (folder / "README.md").read_text()


def test_no_code_and_no_pickled_weights_are_fetched(hub: Hub, tmp_path: Path) -> None:
    """Nor what lies in folders below."""
    folder = Path(fetch(hub, tmp_path, None)[1].splitlines()[-1])
    expected = {"README.md", "config.json", "model.safetensors"}
    assert expected == {file.name for file in folder.iterdir()} == set(hub.asked)


def test_what_others_left_in_the_cache_is_not_taken(hub: Hub, tmp_path: Path) -> None:
    """The cache is shared: another program may have fetched code and pickles of the same commit."""
    fetch(hub, tmp_path, None)
    (cached,) = (tmp_path / "home").glob(f"hub/models--*/snapshots/{SECOND}")
    (cached / "modeling.py").write_text("raise SystemError")
    folder = Path(fetch(hub, tmp_path, None)[1].splitlines()[-1])
    assert {"README.md", "config.json", "model.safetensors"} == {file.name for file in folder.iterdir()}


def test_progress_is_told_in_bytes(hub: Hub, tmp_path: Path) -> None:
    """Up to all of them."""
    *steps, _folder = fetch(hub, tmp_path, FIRST)[1].splitlines()
    done, of = map(int, steps[-1].split())
    assert done == of == sum(file.stat().st_size for file in hub.files(FIRST))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_byte_that_arrived_changed_is_refused(name: str, hub: Hub, tmp_path: Path) -> None:
    """Large files are held against their sha256, small ones against git's sha1."""
    hub.damaged = name
    status, said = fetch(hub, tmp_path, FIRST)
    assert 1 == status and f"{name} of {REPOSITORY} is not the file that the hub names" in said


def test_a_byte_that_changed_in_the_cache_is_refused(hub: Hub, tmp_path: Path) -> None:
    """It is read again every time, and the file to remove is named."""
    fetch(hub, tmp_path, FIRST)
    (cached,) = (tmp_path / "home").glob(f"hub/models--*/snapshots/{FIRST}/model.safetensors")
    blob = cached.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\1")
    status, said = fetch(hub, tmp_path, FIRST)
    assert 1 == status and f"Remove {blob}" in said
    blob.unlink()
    assert 0 == fetch(hub, tmp_path, FIRST)[0]


@pytest.mark.parametrize(
    ("repository", "revision", "gated", "why"),
    [
        ("someone/nothing", None, False, "the hub has no someone/nothing"),
        (REPOSITORY, "v9", False, "has no revision v9"),
        (REPOSITORY, None, True, "consent"),
    ],
)
def test_what_the_hub_does_not_give_is_told(
    repository: str, revision: str | None, gated: bool, why: str, hub: Hub, tmp_path: Path
) -> None:
    """No such model, no such revision, terms to be agreed to: a sentence each."""
    hub.gated = gated
    status, said = fetch(hub, tmp_path, revision, repository)
    assert 1 == status and why in said and "Traceback" not in said


def test_without_a_hub_what_was_fetched_before_is_enough(hub: Hub, tmp_path: Path) -> None:
    """And what was not is told in one sentence."""
    fetch(hub, tmp_path, FIRST)
    away = Hub(REPOSITORY, {}, {}, base_url=f"http://127.0.0.1:{free_port()}")
    status, said = fetch(away, tmp_path, FIRST)
    assert (0, FIRST) == (status, Path(said.splitlines()[-1]).name)
    status, said = fetch(away, tmp_path, None, "someone/else")
    assert 1 == status and "does not answer" in said and "Traceback" not in said


def test_an_id_has_an_owner_and_a_name() -> None:
    """Neither a path nor a URL is one."""
    assert is_id("HuggingFaceTB/SmolVLM-256M-Instruct") and is_id("a/b")
    for no_id in ("model", "./model", "../a", "a/b/c", "/a/b", "https://a/b", "a/", "a/..", "a b/c"):
        assert not is_id(no_id), no_id
