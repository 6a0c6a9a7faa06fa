"""Which parts make a local stack, and what each service is told about the others."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from captionstream.local.kafka import kafka_part
from captionstream.local.language_model import language_model_part
from captionstream.local.ports import choose_port
from captionstream.local.probe import get_ok
from captionstream.local.process import Part
from captionstream.local.reference_engine import is_needed, reference_engine_part
from captionstream.local.triton import TritonPorts, triton_part

Engines = Literal["real", "scripted"]
"""Real: Triton and the language model. Scripted: the doubles inside encoder and generator, no servers, no monitor."""

USUAL_PORTS: Mapping[str, int] = {
    "kafka": 9092,
    "kafka-controller": 9093,
    "triton-http": 8000,
    "triton-grpc": 8001,
    "triton-metrics": 8002,
    "language-model": 8080,
    "reference-engine": 8090,
    "probes": 8180,
}
"""Where a part listens when nothing else does; a taken port is replaced by the next free one."""

_SCRIPTED = {
    "CAPTIONSTREAM_ENCODER_ENGINE": "scripted",
    "CAPTIONSTREAM_GENERATOR_WRITER": "scripted",
}
_NOT_SCRIPTED = {"triton", "language-model", "reference-engine", "monitor"}
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class ServiceKind:
    """One of our services: which engine it waits for, and what it needs at rest."""

    role: str
    engine: str | None
    memory_mb: int


SERVICES = (
    ServiceKind("ingest", None, 90),
    ServiceKind("encoder", "triton", 125),
    ServiceKind("generator", "language-model", 85),
    ServiceKind("safety", None, 160),
    ServiceKind("monitor", None, 85),
)
ALL_ROLES = ("kafka", "triton", "language-model", "reference-engine", *(kind.role for kind in SERVICES))


def local_stack(
    directory: Path,
    *,
    replicas: Mapping[str, int] | None = None,
    engines: Engines = "real",
    roles: Collection[str] | None = None,
    after_kafka: Callable[[str], Awaitable[None]] | None = None,
    env: Mapping[str, str] | None = None,
    ports: Mapping[str, int] = USUAL_PORTS,
    triton_instances: int = 1,
    models: Path | None = None,
) -> list[Part]:
    """The parts of one stack, all state of it in `directory`.

    `replicas` of a service, 1 where it says nothing. `roles` limits the stack; a service then finds what
    is missing through `env`, which is added to that of every service and wins. `after_kafka` gets the
    address of the new broker before a service starts (topics). `ports` are the ones to begin with. `models` is
    the registry of split models: Triton serves those that are ready, and the services are told of it; where one
    needs the reference engine, that is a part too.
    Raises `ValueError` for an unknown role, `MissingPart` for a part that is not installed.
    """
    wanted = _wanted(engines, roles)
    if unknown := {*wanted, *(replicas or {})} - set(ALL_ROLES):
        raise ValueError(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(ALL_ROLES)}")
    choice = _PortChoice(ports)
    servers = _servers(directory.absolute(), wanted, choice, after_kafka, triton_instances, models)
    told = {**_told(directory.absolute(), servers, engines, models), **(env or {})}
    kinds = [kind for kind in SERVICES if kind.role in wanted]
    return [
        *servers,
        *(
            _service(directory.absolute(), kind, slot, choice.next("probes"), told)
            for kind in kinds
            for slot in range((replicas or {}).get(kind.role, 1))
        ),
    ]


def _wanted(engines: Engines, roles: Collection[str] | None) -> set[str]:
    if roles is not None:
        return set(roles)
    return set(ALL_ROLES) - (set() if engines == "real" else _NOT_SCRIPTED)


@dataclass
class _PortChoice:
    """Chooses ports for one stack: none twice, and none that is in use."""

    first: Mapping[str, int]
    _taken: set[int] = field(default_factory=set)

    def next(self, name: str) -> int:
        port = choose_port(self.first[name], self._taken)
        self._taken.add(port)
        return port


def _servers(
    directory: Path,
    wanted: set[str],
    choice: _PortChoice,
    after_kafka: Callable[[str], Awaitable[None]] | None,
    triton_instances: int,
    models: Path | None,
) -> list[Part]:
    servers = []
    if "kafka" in wanted:
        kafka = kafka_part(directory, choice.next("kafka"), choice.next("kafka-controller"))
        servers.append(replace(kafka, once_ready=_with_address(after_kafka, kafka.port)))
    if "triton" in wanted:
        ports = TritonPorts(*(choice.next(f"triton-{use}") for use in ("http", "grpc", "metrics")))
        servers.append(triton_part(directory, ports, triton_instances, split_models=models))
    if "language-model" in wanted:
        servers.append(language_model_part(directory, choice.next("language-model")))
    if "reference-engine" in wanted and models is not None and is_needed(models):
        servers.append(reference_engine_part(directory, choice.next("reference-engine"), models))
    return servers


def _with_address(
    after_kafka: Callable[[str], Awaitable[None]] | None, port: int
) -> Callable[[], Awaitable[None]] | None:
    return None if after_kafka is None else lambda: after_kafka(f"127.0.0.1:{port}")


def _told(directory: Path, servers: list[Part], engines: Engines, models: Path | None) -> dict[str, str]:
    """What every service reads from its environment."""
    return {
        **_ONE_THREAD,
        **dict(_address(server) for server in servers),
        **(_SCRIPTED if engines == "scripted" else {}),
        **({} if models is None else {"CAPTIONSTREAM_MODELS": str(models.absolute())}),
        "CAPTIONSTREAM_PAYLOADS": str(directory / "payloads"),
        "PYTHONUNBUFFERED": "1",
    }


def _address(server: Part) -> tuple[str, str]:
    """The variable that names a server to the services, and its value."""
    value = f"127.0.0.1:{server.port}"
    if server.role in ("language-model", "reference-engine"):
        value = f"http://{value}"
    if server.role == "language-model":
        value = f"{value}/v1"
    return f"CAPTIONSTREAM_{server.role.upper().replace('-', '_')}", value


def _service(directory: Path, kind: ServiceKind, slot: int, probe_port: int, told: Mapping[str, str]) -> Part:
    base = f"http://127.0.0.1:{probe_port}"
    needs = ("kafka", kind.engine) if kind.engine else ("kafka",)
    return Part(
        name=f"{kind.role} {slot}",
        role=kind.role,
        slot=slot,
        argv=(sys.executable, "-m", f"services.{kind.role}"),
        env={**told, "CAPTIONSTREAM_SLOT": str(slot), "CAPTIONSTREAM_PROBE_PORT": str(probe_port)},
        port=probe_port,
        ready=lambda: get_ok(f"{base}/readyz"),
        alive=lambda: get_ok(f"{base}/livez"),
        needs=needs,
        log_path=directory / "logs" / f"{kind.role}-{slot}.log",
        start_timeout_s=90.0,
        stop_timeout_s=20.0,
        patience_s=20.0,
        memory_mb=kind.memory_mb,
        fix="`captionstream doctor` checks what it depends on.",
    )
