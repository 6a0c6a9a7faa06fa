"""Models come to a stack that runs without any: added, tried, promoted, taken back and removed by the command.

Kafka, Triton, the language model and all services are real. On a machine without torch a small model that lies
beside the tests stands for the one that `models add` makes; where torch is, the whole command runs, proof and all.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from typer.testing import CliRunner, Result

from captionstream.cli import adding
from captionstream.cli.app import app
from captionstream.cli.stack import models_folder
from captionstream.contracts import messages as m
from captionstream.contracts.messages import Archetype, EngineChoice
from captionstream.contracts.values import ImageReference
from captionstream.local.installed import Installed
from captionstream.local.state import read_state
from captionstream.local.supervisor import StartFailed, Supervisor
from captionstream.local.triton import TritonPorts, server_address, triton_part
from captionstream.runtime.asking import ask
from captionstream.runtime.kafka_log import KafkaLog
from tests.conftest import free_port
from tests.stack.conftest import Stack
from tests.stack.small_split import publish
from tests.stack.tiny_models import tiny_checkpoint
from tests.unit.encoder.builders import registry_with
from triton_models import repository
from triton_models.registry import Aliases, Registry, SplitModel

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

ANSWERED_S = 60.0
PATIENCE = 5
"""So many events may be written by another engine before a model that is being loaded writes."""


@dataclass(frozen=True)
class User:
    """Somebody with a running stack, a picture, and `captionstream models`."""

    stack: Stack
    picture: bytes

    @property
    def registry(self) -> Registry:
        return Registry(models_folder(self.stack.directory))

    def models(self, *arguments: str) -> Result:
        told = {"CAPTIONSTREAM_DIRECTORY": str(self.stack.directory)}
        return CliRunner().invoke(app, ["models", *arguments], env=told)

    def adds(self, checkpoint: Path, *arguments: str) -> SplitModel:
        done = self.models("add", str(checkpoint), *arguments)
        assert 0 == done.exit_code, done.output
        return self.registry.named(done.stdout.splitlines()[0])

    def caption(self) -> m.CaptionPublished:
        """Of the picture, as a new event."""
        event = m.ImageSubmitted(id=f"first-{uuid4()}", image=ImageReference(inline=self.picture))
        answer = asyncio.run(_answer(self.stack.kafka, event))
        assert isinstance(answer, m.CaptionPublished), answer
        return answer

    def caption_by_a_split_model(self) -> m.CaptionPublished:
        """Loading may take longer than one event waits; whoever wrote instead, the message says why."""
        for _ in range(PATIENCE):
            caption = self.caption()
            if choice_of(caption).archetype is Archetype.SPLIT:
                return caption
            assert "split skipped: failed (" in choice_of(caption).reason
        raise AssertionError(f"no split model wrote: {choice_of(caption)}")

    def choice_in_one_process(self, folder: Path) -> tuple[str, str]:
        """Engine and archetype of `captionstream caption`, which is told where a stack's files lie and no more."""
        photo, lineup = folder / "photo.jpg", folder / "lineup.yaml"
        (folder / "models").symlink_to(self.registry.folder)
        told = {name: value for name, value in os.environ.items() if name != "CAPTIONSTREAM_MODELS"}
        photo.write_bytes(self.picture)
        lineup.write_text(
            "engines: {split: {kind: prefix}}\negress: {default: nothing}\nroutes: [{engine: split}]\n"
        )
        asked = ("caption", str(photo), "--lineup", str(lineup), "-o", "jsonl")
        done = subprocess.run(
            [sys.executable, "-m", "captionstream", *asked],
            env={**told, "CAPTIONSTREAM_DIRECTORY": str(folder)},
            capture_output=True, text=True, timeout=ANSWERED_S,
        )  # fmt: skip
        assert 0 == done.returncode, done.stderr
        choice = json.loads(done.stdout)["choice"]
        return choice["engine"], choice["archetype"]

    def served(self) -> set[str]:
        return served_in(self.stack.directory)

    def looked_at(self, model: SplitModel, alias: str) -> bool:
        """Whether the encoder's metrics know of an event that the model was given under that name."""
        state = read_state(self.stack.directory)
        assert state is not None
        told = httpx.get(f"http://127.0.0.1:{state.part('encoder').port}/metrics", timeout=10).text
        labels = f'{{alias="{alias}",model="{model.triton_name}"}}'
        return f"captionstream_split_model_events_total{labels}" in told


async def _answer(kafka: str, event: m.ImageSubmitted) -> m.Answer:
    log = KafkaLog(kafka)
    try:
        (answer,) = [answer async for answer in ask(log, [event], ANSWERED_S)]
        return answer
    finally:
        await log.close()


def served_in(directory: Path) -> set[str]:
    """Names of the models that the Triton of that folder answers for."""
    address = server_address(directory)
    index = httpx.post(f"{address}/v2/repository/index", json={"ready": True}, timeout=10).json()
    return {model["name"] for model in index}


def choice_of(caption: m.CaptionPublished) -> EngineChoice:
    assert caption.provenance is not None and caption.provenance.choice is not None
    return caption.provenance.choice


def digests_of(caption: m.CaptionPublished) -> set[str]:
    assert caption.provenance is not None
    return {model.digest for model in caption.provenance.models}


@pytest.fixture
def user(stack: Stack, photographs: Path) -> Iterator[User]:
    """Afterwards the stack is as it was: without models."""
    picture = photographs / "skimage" / "data" / "rocket.jpg"
    one = User(stack, picture.read_bytes())
    yield one
    one.registry.write(Aliases())
    for model in one.registry.models():
        removed = one.models("remove", model.folder.name)
        assert 0 == removed.exit_code, removed.output


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`models add` starts a process in the place of the one that has torch."""
    python = tmp_path / "python"
    # -P -m triton_models.vision_language.adding are left out
    called = f"shift 3; exec {shlex.quote(sys.executable)} -m tests.stack.small_split"
    python.write_text(f'#!/bin/sh\n{called} "$@"\n')
    python.chmod(0o755)
    child = adding.Child(python, Installed.here().source)
    monkeypatch.setattr(adding.Child, "here", lambda: child)


@pytest.mark.usefixtures("without_torch")
def test_a_stack_without_models_writes_with_the_first_one_that_is_added(user: User, tmp_path: Path) -> None:
    """Nothing is started again: before, the reason says that there are no visual tokens; then the model is named."""
    is_taken_up(user, tmp_path / "small")
    assert ("split", "split") == user.choice_in_one_process(tmp_path)


@pytest.mark.models
def test_a_checkpoint_that_is_split_and_proved_now_is_taken_up_as_well(user: User) -> None:
    """The same with the real process of `models add`, which needs torch."""
    is_taken_up(user, tiny_checkpoint("smolvlm"))


def is_taken_up(user: User, checkpoint: Path) -> None:
    before = user.caption()
    assert Archetype.SPLIT is not choice_of(before).archetype
    assert "split skipped: no visual tokens" in choice_of(before).reason
    model = user.adds(checkpoint, "--alias", "production")
    caption = user.caption_by_a_split_model()
    assert ("split", model.name) == (choice_of(caption).engine, caption.writer)
    assert "visual tokens present" in choice_of(caption).reason
    assert model.digest in digests_of(caption) - digests_of(before)


@pytest.mark.usefixtures("without_torch")
def test_a_canary_is_promoted_taken_back_and_removed_while_the_stack_runs(user: User, tmp_path: Path) -> None:
    """Each next caption names the model of that moment. What a name stands for stays, on the disk and on Triton."""
    first = user.adds(tmp_path / "first", "--alias", "production")
    second = user.adds(tmp_path / "second", "--alias", "canary", "--share", "1")
    assert second.digest in digests_of(user.caption_by_a_split_model())
    assert user.looked_at(second, "canary") and not user.looked_at(second, "production")
    assert 2 == user.models("remove", "second").exit_code

    assert 0 == user.models("promote").exit_code
    assert second.digest in digests_of(user.caption_by_a_split_model())
    assert user.looked_at(second, "production")
    assert 2 == user.models("remove", "second").exit_code
    assert {first.triton_name, second.triton_name} <= user.served()

    assert 0 == user.models("rollback").exit_code
    caption = user.caption_by_a_split_model()
    assert (True, False) == tuple(model.digest in digests_of(caption) for model in (first, second))
    assert 0 == user.models("remove", "second").exit_code
    assert [first] == user.registry.models()
    assert second.triton_name not in user.served()
    assert first.digest in digests_of(user.caption_by_a_split_model())


async def test_a_model_that_triton_cannot_load_keeps_no_other_from_being_served(tmp_path: Path) -> None:
    """It is ready by its digests, and its graph is none for this version; the stack starts all the same."""
    registry = registry_with(tmp_path / "registry", "unreadable")
    good = publish(registry, "good")
    part = triton_part(tmp_path, _ports(), split_models=registry.folder)
    async with Supervisor(tmp_path, [part]):
        served = await asyncio.to_thread(served_in, tmp_path)
    assert {good.triton_name, "vision_encoder"} <= served
    assert registry.named("unreadable").triton_name not in served


async def test_a_server_of_split_models_alone_is_ready_when_they_answer(tmp_path: Path) -> None:
    """A Triton that somebody keeps for eyes only."""
    model = publish(Registry(tmp_path / "registry"), "alone")
    repository.render_split(model.folder, model.triton_name, tmp_path / "models", "python")
    part = triton_part(tmp_path, _ports(), models=tmp_path / "models")
    async with Supervisor(tmp_path, [part]):
        assert part.alive is not None and await part.alive()
        served = await asyncio.to_thread(served_in, tmp_path)
    assert {model.triton_name} == served


async def test_a_model_of_ours_that_triton_cannot_load_stops_the_start_at_once(tmp_path: Path) -> None:
    """Nothing could be captioned; what is wrong is said, and nobody waits for the end of the patience."""
    repository.render(Path(repository.__file__).parent, tmp_path / "models", backend="python", instances=1)
    graph = next((tmp_path / "models" / "content_screen").rglob("*.onnx"))
    graph.write_bytes(b"no graph")
    part = triton_part(tmp_path, _ports(), models=tmp_path / "models")
    with pytest.raises(StartFailed, match="content_screen could not be loaded"):
        async with Supervisor(tmp_path, [part]):
            pass


def _ports() -> TritonPorts:
    return TritonPorts(free_port(), free_port(), free_port())
