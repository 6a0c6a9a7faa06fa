"""Real parts that several test folders share, started once and only when asked for."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Properties are tried on few examples while one works, and on many before a change lands.
settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=250, deadline=None)
settings.load_profile("thorough")
pytest.register_assert_rewrite("tests.contract.log_behaviour", "tests.contract.writer_behaviour")

from captionstream.local.kafka import kafka_part  # noqa: E402
from captionstream.local.process import Part  # noqa: E402


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(part: Part) -> subprocess.Popen[bytes]:
    """Start a part and wait until it answers; its log is shown if it does not."""
    part.log_path.parent.mkdir(parents=True, exist_ok=True)
    log = part.log_path.open("ab")
    process = subprocess.Popen(part.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + part.start_timeout_s
    while not asyncio.run(part.ready()):  # type: ignore[arg-type]
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"{part.name} did not start:\n{part.log_path.read_text()[-3000:]}")
        time.sleep(0.1)
    return process


@pytest.fixture(scope="session", autouse=True)
def no_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nobody's own split models look at a test's pictures: where a test names no registry, there is none yet."""
    with pytest.MonkeyPatch.context() as told:
        told.setenv("CAPTIONSTREAM_MODELS", str(tmp_path_factory.mktemp("models") / "none"))
        yield


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A command that quietens the logs of its process does not quieten those that the next test looks at."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real, empty Apache Kafka."""
    folder: Path = tmp_path_factory.mktemp("kafka")
    port = free_port()
    process = start(kafka_part(folder, port, free_port()))
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(20)
