"""What docker-compose.yml tells the services, tried without containers: packages, commands, variables, health checks.

Kafka is started from the variables that its image would turn into settings; Triton and the language model are those
of the stack. What stays unproved is what only a container runtime shows: the images themselves.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from captionstream.contracts import messages as m
from captionstream.contracts.topics import BY_NAME
from captionstream.local import uv
from captionstream.local.installed import Installed
from captionstream.local.kafka import answers, java
from captionstream.local.process import Part
from captionstream.local.state import read_state
from captionstream.runtime.asking import ask
from captionstream.runtime.kafka_log import KafkaLog
from tests.conftest import free_port, start
from tests.stack.coded_pictures import code, coded_event
from tests.stack.conftest import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = ("ingest", "encoder", "generator", "safety", "monitor")
FOR_THE_JVM = "KAFKA_HEAP_OPTS"


@dataclass(frozen=True)
class Host:
    """One machine in the place of many containers: which names of the file are which addresses here."""

    python: Path
    home: Path
    addresses: dict[str, str]

    def here(self, text: str) -> str:
        for name, address in self.addresses.items():
            text = text.replace(name, address)
        return text

    def command(self, words: list[str]) -> list[str]:
        return [str(self.python) if word == "python" else self.here(word) for word in words]

    def environment(self, service: str) -> dict[str, str]:
        """What the file tells, and nothing of this process but what starts a program."""
        told = {name: self.here(value) for name, value in SERVICES[service]["environment"].items() if value}
        system = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        return {**system, **told}

    def with_probes_at(self, port: int) -> Host:
        return replace(self, addresses={**self.addresses, "127.0.0.1:8080": f"127.0.0.1:{port}"})


def kafka_properties(told: dict[str, str]) -> str:
    """As the image reads them: KAFKA_LOG_DIRS is log.dirs."""
    names = {
        name: name.removeprefix("KAFKA_").lower().replace("_", ".") for name in told if name != FOR_THE_JVM
    }
    return "".join(f"{names[name]}={told[name]}\n" for name in names)


def kafka_part(host: Host, home: Path, port: int) -> Part:
    told = {name: host.here(value) for name, value in SERVICES["kafka"]["environment"].items()}
    settings = home / "server.properties"
    settings.write_text(kafka_properties(told))
    jvm = [str(java()), *told[FOR_THE_JVM].split(), "-cp", f"{Installed.here().kafka_jars}/*"]
    once = ["kafka.tools.StorageTool", "format", "-t", secrets.token_hex(11), "-c", str(settings)]
    subprocess.run([*jvm, *once], check=True, capture_output=True)
    argv = (*jvm, "kafka.Kafka", str(settings))
    return Part("Kafka", "kafka", argv, port, lambda: answers(port), home / "kafka.log")


@pytest.fixture(scope="module")
def host(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The services' packages as the image has them, and a broker as the file describes it."""
    installed = Installed.here()
    venv = installed.home / "services-venv"
    uv.make_venv(installed, venv, installed.requirements / "services.txt")
    state = read_state(stack.directory)
    assert state is not None
    home = tmp_path_factory.mktemp("compose")
    (home / "payloads").mkdir()
    inside, outside, controller = free_port(), free_port(), free_port()
    host = Host(
        venv / "bin" / "python",
        home,
        {
            "0.0.0.0": "127.0.0.1",
            "kafka:9092": f"127.0.0.1:{inside}",
            "127.0.0.1:9092": f"127.0.0.1:{inside}",
            "127.0.0.1:29092": f"127.0.0.1:{outside}",
            "kafka:9093": f"127.0.0.1:{controller}",
            "127.0.0.1:9093": f"127.0.0.1:{controller}",
            "triton:8001": f"127.0.0.1:{state.part('triton').port}",
            "language-model:8080": f"127.0.0.1:{state.part('language-model').port}",
            "/payloads": str(home / "payloads"),
            "/var/lib/kafka/data": str(home / "kafka-data"),
        },
    )
    broker = start(kafka_part(host, home, inside))
    yield host
    broker.kill()
    broker.wait(20)


def job(host: Host, service: str) -> subprocess.CompletedProcess[str]:
    command = host.command(SERVICES[service]["command"])
    return subprocess.run(
        command, env=host.environment(service), cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@contextmanager
def running(host: Host, service: str) -> Iterator[Host]:
    """One service; it must end in peace within its grace period."""
    port = free_port()
    environment = {**host.environment(service), "CAPTIONSTREAM_PROBE_PORT": str(port)}
    with (host.home / f"{service}.log").open("wb") as log:
        command = host.command(SERVICES[service]["command"])
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield host.with_probes_at(port)
        process.terminate()
        assert 0 == process.wait(int(SERVICES[service]["stop_grace_period"].rstrip("s"))), service
    finally:
        process.kill()
        process.wait()


def is_healthy(host: Host, service: str) -> bool:
    """By the file's own health check."""
    _, *check = SERVICES[service]["healthcheck"]["test"]
    return 0 == subprocess.run(host.command(check), capture_output=True, timeout=30).returncode


def until_healthy(host: Host, service: str, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not is_healthy(host, service):
        assert time.monotonic() < deadline, (host.home / f"{service}.log").read_text()[-3000:]
        time.sleep(0.5)


@pytest.fixture(scope="module")
def services(host: Host) -> Iterator[dict[str, Host]]:
    """All of ours, on topics that the file's own job made."""
    made = job(host, "topics")
    assert 0 == made.returncode, made.stderr
    assert "image-events" in made.stdout
    with ExitStack() as stack:
        up = {name: stack.enter_context(running(host, name)) for name in OURS}
        for name, probes in up.items():
            until_healthy(probes, name)
        yield up


def test_the_services_get_ready_with_what_the_file_tells_them(services: dict[str, Host]) -> None:
    """Their lock file is enough to import, their variables to find the others; a probe of nobody is not healthy."""
    assert [] == [name for name, probes in services.items() if not is_healthy(probes, name)]
    nobody = services["ingest"].with_probes_at(free_port())
    assert not is_healthy(nobody, "ingest")


async def test_a_picture_from_outside_gets_its_caption(services: dict[str, Host], photographs: Path) -> None:
    """Published at the port that the file opens to this host, it goes the whole way."""
    outside = services["ingest"].here("127.0.0.1:29092")
    log = KafkaLog(outside)
    [answer] = [answer async for answer in ask(log, [coded_event(photographs, 77, "compose")], 60)]
    await log.close()
    assert isinstance(answer, m.CaptionPublished) and code(77) in answer.text


async def test_a_topic_is_there_because_the_table_names_it(services: dict[str, Host]) -> None:
    """The job made them all, and asking for another one, as a typing error would, makes none."""
    bootstrap = services["ingest"].here("kafka:9092")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await producer.start()
    await admin.start()
    with pytest.raises((KafkaError, TimeoutError)):
        await asyncio.wait_for(producer.send_and_wait("image-event", b"{}"), 3)
    found = set(await admin.list_topics())
    await admin.close()
    await producer.stop()
    assert set(BY_NAME) <= found
    assert "image-event" not in found
