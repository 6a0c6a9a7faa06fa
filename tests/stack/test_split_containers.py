"""What deploy/compose.split-models.yml tells, tried without containers, as test_containers.py does for the base.

A real tritonserver is started by its command; encoder and generator are opened from the packages of their image with
the variables that it sets; the reference engine is started by its image's command, from the packages of its image.
The models are tiny. What stays unproved is what only a container runtime shows.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from captionstream.cli.app import app
from captionstream.contracts.evidence import VisualPrefix
from captionstream.local import triton, uv
from captionstream.local.installed import Installed
from captionstream.local.process import Part
from captionstream.runtime.errors import Unavailable
from services.encoder.scripted import plate
from services.encoder.seer import RegistrySeer, laid_out
from services.encoder.triton import TritonEyes, reached
from services.generator.grammar import accepts
from services.generator.prefix.writer import PrefixWriter
from services.generator.prompt import Prompt
from services.generator.writer import Piece, Task
from tests.conftest import free_port
from tests.parity.end_to_end import running
from tests.stack.test_reference_engine import GREEDY, seen_by
from tests.stack.tiny_models import copied_registry
from tests.unit.deploy.compose_files import own_command, together
from tests.unit.encoder.photographs import astronaut
from tests.unit.generator.prefix_writer.shelf import choice
from triton_models import repository
from triton_models.registry import Aliases, Registry, SplitModel
from triton_models.vision_language.eye import Eye
from triton_models.vision_language.visual_tokens import decode

pytestmark = [pytest.mark.stack, pytest.mark.models, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "compose.split-models.yml"
TOLD = {"CAPTIONSTREAM_LINEUP_FILE": "./examples/lineups/local.yaml"}
"""A strict one: random weights never end a free sentence by themselves."""
SERVICES: dict[str, Any] = together(ROOT / "docker-compose.yml", FILE, told=TOLD)["services"]
NOBODY = "http://127.0.0.1:9/v1"  # the discard port: no language model is asked
REFERENCE = "reference-engine"
TALK = """
import asyncio, json, sys
from captionstream.payloads.store import PayloadStore
from services.encoder.wiring import open_encoder
from services.generator.wiring import open_generator
from tests.unit.encoder.builders import DELIVERY, prepared
from tests.unit.encoder.photographs import astronaut

async def main():
    payloads = PayloadStore.open(sys.argv[1])
    async with open_encoder(payloads) as encoder, open_generator(payloads) as generator:
        await encoder.probe()
        message = await prepared(astronaut(), payloads)
        (encoded,) = [one async for one in encoder.stage.advance(message, DELIVERY)]
        drafted = [one async for one in generator.stage.advance(encoded, DELIVERY)][-1]
    torch = any(name.partition(".")[0] == "torch" for name in sys.modules)
    told = {"encoded": encoded, "drafted": drafted}
    print(json.dumps({"torch": torch} | {name: one.model_dump(mode="json") for name, one in told.items()}))

asyncio.run(main())
"""


@dataclass(frozen=True)
class Host:
    """One machine in the place of the containers."""

    home: Path
    http: int
    grpc: int

    @property
    def repository(self) -> Path:
        return self.home / "triton-models"

    def command(self) -> list[str]:
        """The file's own, its folders those of this machine; and what only a server without an image is told."""
        server = triton.server_folder(Installed.here().triton_venv)
        words = [_at(word, {"/models": self.home / "models-of-the-image", "/split-models": self.repository})
                 for word in SERVICES["triton"]["command"]]  # fmt: skip
        return [
            str(server / "bin" / words[0]), *words[1:],
            f"--backend-directory={self.home / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={triton.shared_memory_prefix(self.home)}",
            "--http-address=127.0.0.1", f"--http-port={self.http}",
            "--grpc-address=127.0.0.1", f"--grpc-port={self.grpc}", "--allow-metrics=false",
        ]  # fmt: skip

    def answered(self, method: str, path: str) -> httpx.Response:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.http}", **triton.PLAIN, timeout=60) as client:
            return client.request(method, path)

    def state(self, model: str) -> str | None:
        """As the server's index has it."""
        index = self.answered("POST", "/v2/repository/index").json()
        return {one["name"]: one.get("state") for one in index}.get(model)

    def is_healthy(self) -> bool:
        """By the file's own check."""
        url = SERVICES["triton"]["healthcheck"]["test"][-1]
        try:
            return 200 == self.answered("GET", httpx.URL(url).path).status_code
        except httpx.HTTPError:
            return False


def _at(word: str, places: dict[str, Path]) -> str:
    flag, _, value = word.partition("=")
    return f"{flag}={places[value]}" if value in places else word


def rendered(registry: Registry, name: str, repository: Path) -> Path:
    """By the command that the file tells to use."""
    [how] = re.findall(r"models render \S+ \S+ (--backend \w+)", FILE.read_text())
    told = {"CAPTIONSTREAM_MODELS": str(registry.folder)}
    done = CliRunner().invoke(app, ["models", "render", name, str(repository), *how.split()], env=told)
    assert 0 == done.exit_code, done.output
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    made = copied_registry(tmp_path_factory.mktemp("registry"), "smolvlm", "smolvlm-other")
    made.write(Aliases(production=made.named("smolvlm").digest))
    return made


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Host]:
    """Triton as the file starts it, with one split model, and one whose plan nobody built."""
    host = Host(tmp_path_factory.mktemp("host"), free_port(), free_port())
    repository.render(repository.ROOT, host.home / "models-of-the-image", "python", instances=1)
    rendered(registry, "smolvlm", host.repository)
    repository.render_split(registry.named("smolvlm").folder, "vlm_unbuilt", host.repository, "tensorrt")
    venv = Installed.here().triton_venv
    triton.link_backends(triton.server_folder(venv), host.home / "backends")
    part = Part(
        name="tritonserver of the overlay",
        role="triton",
        argv=tuple(host.command()),
        env=triton.server_environment(venv, os.environ),
        port=host.grpc,
        ready=lambda: asyncio.to_thread(host.is_healthy),
        log_path=host.home / "triton.log",
    )
    try:
        with running(part):
            yield host
    finally:
        triton.remove_stale_regions(triton.shared_memory_prefix(host.home))


def tokens_of(host: Host, registry: Registry, model: SplitModel) -> Any:
    async def seen() -> Any:
        async with reached(f"127.0.0.1:{host.grpc}", shared_bytes=0) as server:
            return await RegistrySeer(registry, TritonEyes(server, timeout_s=60)).see(model, plate(3))

    return asyncio.run(seen())


def test_both_repositories_are_served_and_a_model_that_fails_stops_no_other(
    host: Host, registry: Registry
) -> None:
    """The image's models and the rendered one are ready; the one without a plan is not, and the server is well."""
    names = [*(model.name for model in repository.MODELS), registry.named("smolvlm").triton_name]
    assert {"READY"} == {host.state(name) for name in names}
    assert "UNAVAILABLE" == host.state("vlm_unbuilt")
    assert host.is_healthy()


def test_a_model_is_added_while_it_runs_by_what_the_file_says(host: Host, registry: Registry) -> None:
    """Rendered and loaded, and it sees what its eye sees in process; nothing was restarted."""
    other = registry.named("smolvlm-other")
    assert host.state(other.triton_name) is None
    assert host.repository / other.triton_name == rendered(registry, "smolvlm-other", host.repository)
    [path] = re.findall(r"curl --fail -X POST http://127\.0\.0\.1:8000(\S+)", FILE.read_text())
    loaded = host.answered("POST", path.replace("vlm_DIGEST", other.triton_name))
    assert 200 == loaded.status_code, loaded.text
    assert "READY" == host.state(other.triton_name)
    expected = Eye(other.halves.split, other.graph).see(laid_out(other.halves.split, plate(3)))
    assert (expected.values == tokens_of(host, registry, other).values).all()


def environment(host: Host, registry: Registry) -> dict[str, str]:
    """What the file tells encoder and generator, its names and folders those of this machine."""
    lineup = next(m["source"] for m in SERVICES["generator"]["volumes"] if "/lineup.yaml" in str(m))
    here = {
        "/models": str(registry.folder), "/lineup.yaml": str(ROOT / lineup), "/payloads": str(host.home / "payloads"),
        "triton:8001": f"127.0.0.1:{host.grpc}", "http://language-model:8080/v1": NOBODY,
    }  # fmt: skip
    told = {**SERVICES["encoder"]["environment"], **SERVICES["generator"]["environment"]}
    return {name: here.get(value, value) for name, value in told.items() if value is not None}


def test_the_images_packages_caption_a_picture_with_it(host: Host, registry: Registry) -> None:
    """Seen by the production's eye on Triton, written by its language half; the message names it. No torch."""
    installed = Installed.here()
    venv = installed.home / "services-venv"
    uv.make_venv(installed, venv, installed.requirements / "services.txt")
    system = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    done = subprocess.run(
        [str(venv / "bin" / "python"), "-c", TALK, str(host.home / "payloads")],
        env={**system, **environment(host, registry)}, cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    model = registry.named("smolvlm")
    visual = VisualPrefix.model_validate(told["encoded"]["visual"])
    expected = Eye(model.halves.split, model.graph).see(laid_out(model.halves.split, astronaut()))
    assert visual.model.digest == model.digest and visual.tokens.inline is not None
    assert (expected.values.astype("float16") == decode(visual.tokens.inline, visual.width).values).all()
    made_by = told["drafted"]["provenance"]
    assert "split" == made_by["choice"]["engine"], made_by["choice"]["reason"]
    assert model.name == told["drafted"]["candidates"][0]["writer"]
    assert model.digest in [one["digest"] for one in made_by["models"]]
    assert told["torch"] is False


# ---------------------------------------------------------------- what starts with its profile


def reference_part(models: Path, port: int, log: Path) -> Part:
    """The image's own command and the file's own check, with the folder, the address and the Python of this machine."""
    service = SERVICES[REFERENCE]
    python = str(Installed.here().models_venv / "bin" / "python")
    here = {"python": python, "0.0.0.0": "127.0.0.1", "8190": str(port), "/models": str(models)}
    command = own_command((ROOT / "Dockerfile").read_text(), service["build"]["target"])
    check = [
        here.get(word, word).replace(":8190/", f":{port}/") for word in service["healthcheck"]["test"][1:]
    ]

    def is_healthy() -> bool:
        return 0 == subprocess.run(check, capture_output=True, timeout=65).returncode

    return Part(
        name="reference engine of the overlay",
        role=REFERENCE,
        argv=tuple(here.get(word, word) for word in command),
        env={"PYTHONPATH": str(ROOT), **service["environment"]},
        port=port,
        ready=lambda: asyncio.to_thread(is_healthy),
        log_path=log,
        start_timeout_s=120.0,
    )


@pytest.fixture(scope="module")
def no_decoder(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A model that no other engine writes for, and one that does without it."""
    made = copied_registry(tmp_path_factory.mktemp("no-decoder"), "qwen2_5_vl", "smolvlm")
    made.write(Aliases(production=made.named("qwen2_5_vl").digest))
    return made


def address(port: int) -> str:
    """Where the file tells the generator to ask, on this machine."""
    told: str = SERVICES["generator"]["environment"]["CAPTIONSTREAM_REFERENCE_ENGINE"]
    assert told.endswith(f"//{REFERENCE}:8190")
    return told.replace(f"{REFERENCE}:8190", f"127.0.0.1:{port}")


async def told_by(model: SplitModel, registry: Registry, url: str) -> tuple[str, str]:
    """What is written of a picture that the model saw, and by which engine."""
    task = Task(Prompt("Say it.", "A car."), choice("car"), seen=seen_by(model))
    async with PrefixWriter.open(registry, GREEDY, reference_url=url) as writer:
        text = "".join([piece.text async for piece in writer.write(task) if isinstance(piece, Piece)])
        assert task.seen is not None and accepts(task.allowed, text.strip()), text
        return text, writer.why(task.seen)


def test_the_image_of_the_reference_engine_writes_for_a_class_without_a_decoder(
    no_decoder: Registry, tmp_path: Path
) -> None:
    """Started by its command it is healthy by the file's check, and is asked where the file tells the generator."""
    model = no_decoder.named("qwen2_5_vl")
    assert not model.servable
    with running(reference_part(no_decoder.folder, free_port(), tmp_path / "reference.log")) as port:
        text, how = asyncio.run(told_by(model, no_decoder, address(port)))
    assert text.strip() and "by transformers fp32" == how


def test_without_its_profile_only_a_model_that_needs_it_is_not_written(no_decoder: Registry) -> None:
    """Its name leads to nobody then: that model's engine is away, and the other one's text comes as always."""
    nobody = address(free_port())
    with pytest.raises(Unavailable, match="reference engine"):
        asyncio.run(told_by(no_decoder.named("qwen2_5_vl"), no_decoder, nobody))
    _, how = asyncio.run(told_by(no_decoder.named("smolvlm"), no_decoder, nobody))
    assert "onnxruntime" in how
