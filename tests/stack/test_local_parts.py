"""The real parts of a local stack start, answer, and are replaced when they break."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from captionstream.local.kafka import kafka_part
from captionstream.local.language_model import MODEL_NAME, language_model_part
from captionstream.local.process import Part
from captionstream.local.stack import local_stack
from captionstream.local.state import Condition
from captionstream.local.supervisor import Supervisor
from captionstream.local.triton import TritonPorts, shared_memory_prefix, triton_part, zero_request
from tests.conftest import free_port

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


@asynccontextmanager
async def running(folder: Path, *parts: Part) -> AsyncIterator[Supervisor]:
    async with Supervisor(folder, parts) as supervisor:
        yield supervisor


async def eventually(condition: Callable[[], bool], within_s: float = 120.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.05)


def listening_addresses(pid: int | None) -> set[str]:
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    sockets = [each for process in family for each in process.net_connections("inet")]
    return {each.laddr.ip.removeprefix("::ffff:") for each in sockets if each.status == psutil.CONN_LISTEN}


class TestKafka:
    async def test_records_outlive_a_killed_broker(self, tmp_path: Path) -> None:
        """What was acknowledged before kill -9 is read after the supervisor's restart."""
        kafka = kafka_part(tmp_path, free_port(), free_port())
        async with running(tmp_path, kafka) as supervisor:
            await make_topic(kafka.port, "pictures")
            await send_in_a_transaction(kafka.port, "pictures", [b"one", b"two"])
            os.kill(supervisor.state.part("kafka").pid or 0, signal.SIGKILL)
            await eventually(lambda: supervisor.state.part("kafka").restarts == 1)
            await eventually(lambda: supervisor.state.part("kafka").state is Condition.READY)
            assert await read(kafka.port, "pictures", 2) == [b"one", b"two"]

    async def test_the_data_folder_serves_on_other_ports_too(self, tmp_path: Path) -> None:
        """The usual port may be taken the next time; nobody formats a folder twice."""
        first = kafka_part(tmp_path, free_port(), free_port())
        async with running(tmp_path, first):
            await make_topic(first.port, "pictures")
            await send_in_a_transaction(first.port, "pictures", [b"kept"])
        second = kafka_part(tmp_path, free_port(), free_port())
        async with running(tmp_path, second):
            assert await read(second.port, "pictures", 1) == [b"kept"]

    async def test_only_loopback_is_served_and_no_topic_appears_by_itself(self, tmp_path: Path) -> None:
        """A typing error in a topic's name must not make a topic."""
        kafka = kafka_part(tmp_path, free_port(), free_port())
        async with running(tmp_path, kafka) as supervisor:
            assert listening_addresses(supervisor.state.part("kafka").pid) == {"127.0.0.1"}
            address = f"127.0.0.1:{kafka.port}"
            async with AIOKafkaProducer(bootstrap_servers=address, request_timeout_ms=2_000) as producer:
                with pytest.raises(KafkaError):
                    await producer.send_and_wait("pictrues", b"one")
            assert await topics(kafka.port) == []


NOTHING_KEPT = httpx.Limits(max_keepalive_connections=0)
"""The server closes a connection that was idle for 5 s, which on a busy machine is just when it is taken again."""


class TestLanguageModel:
    async def test_a_grammar_binds_what_is_written(self, tmp_path: Path) -> None:
        """Streamed in pieces, several requests side by side, under the model's own name."""
        model = language_model_part(tmp_path, free_port(), parallel=2)
        async with (
            running(tmp_path, model) as supervisor,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{model.port}/v1", timeout=60, limits=NOTHING_KEPT
            ) as client,
        ):
            written = await asyncio.gather(*(write(client, word) for word in ("cat", "dog", "tram")))
            assert written == ["A cat on a mat.", "A dog on a mat.", "A tram on a mat."]
            models = (await client.get("/models")).json()["data"]
            assert [known["id"] for known in models] == [MODEL_NAME]
            assert listening_addresses(supervisor.state.part("language-model").pid) == {"127.0.0.1"}


class TestTriton:
    def test_services_and_triton_are_told_of_one_registry(self, tmp_path: Path) -> None:
        """Without one, nothing is said of it."""
        told = local_stack(tmp_path, models=tmp_path / "models")
        assert "--split-models" in part_of(told, "triton").argv
        assert str(tmp_path / "models") in part_of(told, "triton").argv
        for role in ("encoder", "generator"):
            assert str(tmp_path / "models") == part_of(told, role).env["CAPTIONSTREAM_MODELS"]
        assert "CAPTIONSTREAM_MODELS" not in part_of(local_stack(tmp_path), "encoder").env

    async def test_every_model_answers_with_the_shapes_it_states(self, tmp_path: Path) -> None:
        """Asked over HTTP with zeros; served on loopback alone."""
        triton = triton_part(tmp_path, ports := TritonPorts(free_port(), free_port(), free_port()))
        async with (
            running(tmp_path, triton) as supervisor,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}/v2", timeout=60) as client,
        ):
            index = (await client.post("/repository/index")).json()
            assert {"vision_encoder", "object_detector"} <= {model["name"] for model in index}
            for model in index:
                await assert_answers_as_stated(client, model["name"])
            assert listening_addresses(supervisor.state.part("triton").pid) == {"127.0.0.1"}

    async def test_a_server_with_a_dead_model_process_is_replaced(self, tmp_path: Path) -> None:
        """Triton would call itself ready for ever. Afterwards nothing of it stays in /dev/shm."""
        triton = triton_part(tmp_path, ports := TritonPorts(free_port(), free_port(), free_port()))
        async with running(tmp_path, replace(triton, ask_every_s=0.2)) as supervisor:
            server = psutil.Process(supervisor.state.part("triton").pid)
            server.children()[0].kill()
            await eventually(lambda: supervisor.state.part("triton").restarts == 1)
            await eventually(lambda: supervisor.state.part("triton").state is Condition.READY)
            assert not server.is_running()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}/v2", timeout=60) as client:
                await assert_answers_as_stated(client, "vision_encoder")
        assert list(Path("/dev/shm").glob(shared_memory_prefix(tmp_path / "triton-0") + "*")) == []


def part_of(parts: list[Part], role: str) -> Part:
    return next(part for part in parts if part.role == role)


@asynccontextmanager
async def administrator(port: int) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
    await admin.start()
    yield admin
    await admin.close()


async def make_topic(port: int, name: str) -> None:
    async with administrator(port) as admin:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])


async def topics(port: int) -> list[str]:
    async with administrator(port) as admin:
        return list(await admin.list_topics())


async def send_in_a_transaction(port: int, topic: str, values: list[bytes]) -> None:
    async with (
        AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{port}", transactional_id="test") as producer,
        producer.transaction(),
    ):
        for value in values:
            await producer.send(topic, value)


async def read(port: int, topic: str, count: int) -> list[bytes | None]:
    """Committed records only; gives up when they do not come."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=f"127.0.0.1:{port}",
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def write(client: httpx.AsyncClient, subject: str) -> str:
    """What the model streams when the grammar leaves it one sentence."""
    body = {
        "messages": [{"role": "user", "content": "Write about birds."}],
        "grammar": f'root ::= "A {subject} on a mat."',
        "max_tokens": 32,
        "stream": True,
    }
    pieces = []
    async with client.stream("POST", "/chat/completions", json=body) as response:
        async for row in response.aiter_lines():
            if row.startswith("data: {"):
                pieces += [each["delta"].get("content") or "" for each in json.loads(row[6:])["choices"]]
    assert len(pieces) > 2
    return "".join(pieces)


async def assert_answers_as_stated(client: httpx.AsyncClient, model: str) -> None:
    stated = (await client.get(f"/models/{model}")).json()
    header, zeros = zero_request(stated)
    response = await client.post(
        f"/models/{model}/infer",
        content=header + zeros,
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    length = int(response.headers.get("Inference-Header-Content-Length", len(response.content)))
    answer = json.loads(response.content[:length])
    got = {each["name"]: (each["datatype"], each["shape"]) for each in answer["outputs"]}
    assert got.keys() == {each["name"] for each in stated["outputs"]}
    for each in stated["outputs"]:
        datatype, shape = got[each["name"]]
        assert datatype == each["datatype"]
        assert all(want in (-1, have) for want, have in zip(each["shape"], shape, strict=True))
