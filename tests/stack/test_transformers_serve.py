"""The `openai` engine against a real `transformers serve`: a peer that streams, counts, and knows no schema.

Its model is tiny and random, and a third of its tokens end a text: it writes nonsense, but briefly, always
the same for the same words and picture, and another for another picture.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captionstream.contracts.messages import Usage
from captionstream.local.installed import Installed
from captionstream.local.probe import get_ok
from captionstream.local.process import Part
from captionstream.runtime.errors import Unavailable
from services.generator.grammar import Literal
from services.generator.language_model import LanguageModel
from services.generator.openai.torch_file import torch_file
from services.generator.openai_settings import OpenAISettings
from services.generator.prompt import Prompt
from services.generator.writer import Picture, Piece, Task, Unusable, Writer
from services.generator.writing import Outcome, Patience, PatientWriter
from tests.conftest import free_port, start
from tests.contract.writer_behaviour import RemoteWriterBehaviour, everything, text_of

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]
SETTINGS = ("HF_HUB_OFFLINE=1", "OMP_NUM_THREADS=1", "TOKENIZERS_PARALLELISM=false")
PRICE = {"input": 1_000_000, "output": 10_000_000, "currency": "EUR"}


def serve_part(folder: Path, port: int, log: Path) -> Part:
    command = Installed.here().models_venv / "bin" / "transformers"
    told = ("serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    return Part(
        name="transformers serve",
        role="language-model",
        argv=("env", *SETTINGS, str(command), *told),
        port=port,
        ready=lambda: get_ok(f"http://127.0.0.1:{port}/v1/models"),
        log_path=log,
        start_timeout_s=250.0,
    )


def served(folder: Path, log: Path) -> tuple[str, subprocess.Popen[bytes]]:
    port = free_port()
    return f"http://127.0.0.1:{port}/v1", start(serve_part(folder, port, log))


def stopped(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)


WRITE = """
import sys, pathlib
from triton_models.vision_language import tiny
tiny.write("smolvlm", pathlib.Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random SmolVLM, which hardly ever ends a text."""
    folder, installed = tmp_path_factory.mktemp("endless") / "model", Installed.here()
    python = installed.models_venv / "bin" / "python"
    subprocess.run([python, "-c", WRITE, folder], cwd=installed.source, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def terse(endless: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and its texts end soon."""
    folder = tmp_path_factory.mktemp("terse") / "model"
    shutil.copytree(endless, folder)
    file = folder / "generation_config.json"
    size = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    told = json.loads(file.read_text()) | {"eos_token_id": list(range(0, size, 3))}
    file.write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def server(terse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    url, process = served(terse, tmp_path_factory.mktemp("serve") / "serve.log")
    yield url
    stopped(process)


def engine(url: str, **changes: Any) -> OpenAISettings:
    return OpenAISettings(
        **{"name": "transformers", "url": url, "timeout_s": 60, "max_tokens": 200} | changes
    )


def task(user: str, picture: Picture | None = None) -> Task:
    return Task(Prompt("Write.", user), Literal("A red car."), picture=picture)


def picture(*colour: int) -> Picture:
    file = io.BytesIO()
    Image.new("RGB", (48, 48), colour).save(file, "PNG")
    return Picture("image/png", file.getvalue())


async def as_it_says(model: Writer, start: str) -> Task:
    """A task that allows what the model says of itself; the first words that it answers at all."""
    for number in range(20):
        asked = task(f"{start} {number}")
        if text := text_of(await everything(model, asked)).strip():
            return replace(asked, allowed=Literal(text))
    raise AssertionError("the model says nothing")


class TestAsAWriter(RemoteWriterBehaviour):
    counts = True

    @pytest.fixture
    async def writer(self, server: str) -> AsyncIterator[Writer]:
        async with LanguageModel.open(engine(server)) as model:
            yield model

    @pytest.fixture
    async def away(self) -> AsyncIterator[Writer]:
        async with LanguageModel.open(engine(f"http://127.0.0.1:{free_port()}/v1")) as model:
            yield model

    @pytest.fixture
    async def task(self, writer: Writer) -> Task:
        return await as_it_says(writer, "car")

    @pytest.fixture
    async def other(self, writer: Writer) -> Task:
        return await as_it_says(writer, "dog")


async def test_what_it_invents_is_not_taken(server: str) -> None:
    """No grammar, no schema: the judge afterwards is all there is, and it is enough."""
    outcome = Outcome()
    async with LanguageModel.open(engine(server)) as model:
        asked = replace(await as_it_says(model, "car"), allowed=Literal("A red car."))
        async for _ in PatientWriter(model, Patience(budget_s=60)).write(asked, outcome):
            raise AssertionError("nothing of it may be shown")
    assert "says what the scene does not support" == outcome.problem


async def test_a_schema_that_is_ignored_is_noticed(server: str) -> None:
    """The server answers 200 and writes what it likes."""
    asked = await as_it_says_free(server)
    written: list[Piece | Usage] = []
    async with LanguageModel.open(engine(server, output="schema")) as model:
        with pytest.raises(Unusable, match="not what was asked for"):
            async for each in model.write(asked):
                written.append(each)
    assert 0 < usage_of(written).output_tokens
    assert "" == text_of(written)


async def as_it_says_free(server: str) -> Task:
    async with LanguageModel.open(engine(server)) as model:
        return await as_it_says(model, "car")


async def test_a_grammar_that_is_refused_is_no_absence(server: str) -> None:
    """It knows no such field and says so: asking again would not help."""
    async with LanguageModel.open(engine(server, output="grammar")) as model:
        with pytest.raises(Unusable, match="refused: HTTP 422"):
            await everything(model, task("car"))


async def test_the_picture_arrives(server: str) -> None:
    """Other pixels, other words; the same pixels, the same words; and they are counted."""
    red, blue = picture(250, 10, 10), picture(10, 10, 250)
    async with LanguageModel.open(engine(server, sends="pixels", price=PRICE)) as model:
        asked = [task("What is it?", picture=shown) for shown in (red, blue, red)]
        told = [await everything(model, each) for each in asked]
    async with LanguageModel.open(engine(server)) as model:
        blind = await everything(model, asked[0])
    assert text_of(told[0]) == text_of(told[2])
    assert text_of(told[0]) != text_of(told[1])
    usage, without = usage_of(told[0]), usage_of(blind)
    assert usage.input_tokens > without.input_tokens
    assert (usage.input_tokens + 10 * usage.output_tokens, "EUR") == (usage.cost, usage.currency)


def usage_of(written: list[Piece | Usage]) -> Usage:
    [usage] = [count for count in written if isinstance(count, Usage)]
    return usage


async def test_a_text_without_an_end_is_too_long(server: str) -> None:
    """Cut off by the limit, it is no sentence; what it cost is told all the same."""
    counted: list[Usage] = []
    async with LanguageModel.open(engine(server, max_tokens=1)) as model:
        asked = await as_it_says_free(server)
        with pytest.raises(Unusable, match="too long"):
            async for written in model.write(asked):
                counted.extend([written] if isinstance(written, Usage) else [])
    assert [1] == [usage.output_tokens for usage in counted]


@pytest.fixture
def mortal(endless: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of the test's own."""
    url, process = served(endless, tmp_path / "serve.log")
    yield url, process
    stopped(process)


async def test_a_server_that_dies_in_mid_sentence_is_unavailable(
    mortal: tuple[str, subprocess.Popen[bytes]],
) -> None:
    """Killed after the first piece: what came is no sentence, and another try is worth it."""
    url, process = mortal
    async with LanguageModel.open(engine(url, max_tokens=3000)) as model:
        pieces = model.write(task("car"))
        assert isinstance(await anext(pieces), Piece)
        process.kill()
        with pytest.raises(Unavailable, match=r"transformers: (ReadError|RemoteProtocolError)"):
            async for _ in pieces:
                pass
        with pytest.raises(Unavailable, match="ConnectError"):
            await model.probe()


READ = """
import base64, io, sys, torch
tensor = torch.load(io.BytesIO(base64.b64decode(sys.stdin.read())), weights_only=True)
print(tensor.dtype, list(tensor.shape), tensor.double().flatten().tolist())
"""


@pytest.mark.parametrize("type_name", ["float16", "float32", "int64"])
def test_torch_reads_our_tensor_files(type_name: str) -> None:
    """As vLLM reads them: nothing but weights is allowed in, and every value is the one that was written."""
    values = np.arange(-3, 3).reshape(2, 3).astype(type_name)
    python = Installed.here().models_venv / "bin" / "python"
    sent = base64.b64encode(torch_file(values)).decode()
    done = subprocess.run([python, "-c", READ], input=sent, capture_output=True, text=True, check=True)
    assert f"torch.{type_name} [2, 3] {values.astype(float).flatten().tolist()}" == done.stdout.strip()
