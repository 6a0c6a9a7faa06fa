"""NVIDIA's tritonserver on this machine without Docker or GPU: the server in the nvidia-pytriton wheel.

The wheel lives in an environment of its own (it needs numpy < 2) and brings one backend, Python. A model
runs in a child process of the server, the *stub*. A stub that dies is not replaced: the server stays
"ready" while requests to that model fail for ever. So being ready means real inferences here, and being
alive means that no stub is gone; the cure is a restart of the server.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captionstream.local.installed import SETUP, Installed, MissingPart, site_packages
from captionstream.local.probe import PLAIN
from captionstream.local.process import Broken, Part, Probe
from captionstream.telemetry.exporting import traces_url

if TYPE_CHECKING:
    import httpx

LIBPYTHON = "libpython3.11.so.1.0"
_ANSWER_WITHIN_S = 30.0
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class TritonPorts:
    http: int
    grpc: int
    metrics: int

    def as_text(self) -> list[str]:
        return [str(self.http), str(self.grpc), str(self.metrics)]


def triton_part(
    directory: Path,
    ports: TritonPorts,
    instances: int = 1,
    models: Path | None = None,
    ready: Probe | None = None,
    slot: int = 0,
) -> Part:
    """A server on 127.0.0.1 whose `port` is the gRPC one.

    `models` is a model repository that is served as it is; without it `triton_models` is rendered for the
    Python backend with `instances` of each model. `ready` replaces the question asked of a new server.
    """
    home = directory / f"triton-{slot}"
    arguments = [str(home), *ports.as_text(), "--instances", str(instances)]
    if models is not None:
        arguments += ["--models", str(models)]
    question = TritonQuestion(f"http://127.0.0.1:{ports.http}", shared_memory_prefix(home))
    return Part(
        name="Triton 2.51.0",
        role="triton",
        slot=slot,
        argv=(sys.executable, "-m", "captionstream.local.triton", *arguments),
        port=ports.grpc,
        ready=ready or question.ready,
        alive=question.alive,
        log_path=directory / "logs" / f"triton-{slot}.log",
        start_timeout_s=120.0,
        stop_timeout_s=10.0,
        patience_s=30.0,
        clean_up=lambda: remove_stale_regions(question.prefix),
        memory_mb=740,
        fix="`captionstream doctor` checks the server, its models and libpython3.11.",
    )


# --- asking the server ---------------------------------------------------------------------------------


_INFER_EVERY = 5
"""Of so many questions whether the server is alive, one costs it an inference."""


@dataclass
class TritonQuestion:
    """Asks one server whether its models answer; remembers which, and how many stubs they had."""

    base_url: str
    prefix: str
    _models: list[str] = field(default_factory=list, init=False)
    _stubs: int = field(default=0, init=False)
    _asked: int = field(default=0, init=False)

    async def ready(self) -> bool:
        """Whether every model in the repository answers a request of zeros."""
        async with self._client() as client:
            models = await _model_names(client)
            works = bool(models) and all([await _answers_zeros(client, model) for model in models])
        if works:
            self._models, self._stubs = models, stubs(self.prefix)
        return works

    async def alive(self) -> bool:
        """Whether the server still answers. Raises `Broken` when a stub is gone: it never comes back.

        Now and then one model is asked for an inference: the next one, or the same as long as it fails.
        """
        now = stubs(self.prefix)
        if now < self._stubs:
            raise Broken(f"{self._stubs - now} of {self._stubs} model processes are gone")
        if self._asked % _INFER_EVERY == 0 and not await self._one_model_answers():
            return False
        self._asked += 1
        return True

    async def _one_model_answers(self) -> bool:
        turn = self._asked // _INFER_EVERY
        async with self._client() as client:
            return await _answers_zeros(client, self._models[turn % len(self._models)])

    def _client(self) -> httpx.AsyncClient:
        import httpx  # imported late: the server's own process starts without it

        return httpx.AsyncClient(base_url=self.base_url, **PLAIN, timeout=_ANSWER_WITHIN_S)


async def _model_names(client: httpx.AsyncClient) -> list[str]:
    index = await client.post("/v2/repository/index", json={"ready": True})
    return [model["name"] for model in index.json()] if index.status_code == 200 else []


async def _answers_zeros(client: httpx.AsyncClient, model: str) -> bool:
    metadata = await client.get(f"/v2/models/{model}")
    if metadata.status_code != 200:
        return False
    header, zeros = zero_request(metadata.json())
    answer = await client.post(
        f"/v2/models/{model}/infer",
        content=header + zeros,
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    return answer.status_code == 200


_BYTES = {"BOOL": 1, "UINT8": 1, "FP16": 2, "FP32": 4, "INT32": 4, "INT64": 8}
_FREE_DIMENSION = 64
"""What stands for a dimension of the model that is not fixed (-1), the batch excepted, which is 1."""


def zero_request(metadata: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The JSON header and the binary part of an inference request of zeros (KServe v2, binary extension).

    A text input (BYTES) gets one empty string. Raises `KeyError` for a data type that is not listed.
    """
    inputs, parts = [], []
    for given in metadata["inputs"]:
        shape = _shape(given["shape"])
        size = 4 if given["datatype"] == "BYTES" else _BYTES[given["datatype"]]
        parts.append(bytes(size * math.prod(shape)))
        inputs.append(
            {
                "name": given["name"],
                "shape": shape,
                "datatype": given["datatype"],
                "parameters": {"binary_data_size": len(parts[-1])},
            }
        )
    header = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    return json.dumps(header).encode(), b"".join(parts)


def _shape(dimensions: list[int]) -> list[int]:
    first, *rest = dimensions
    return [first if first > 0 else 1, *(size if size > 0 else _FREE_DIMENSION for size in rest)]


def stubs(prefix: str) -> int:
    """How many stub processes belong to the server whose shared memory has this prefix."""
    wanted = prefix.encode()
    return sum(1 for command in _command_lines() if b"python_backend_stub" in command and wanted in command)


def _command_lines() -> list[bytes]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_bytes())
        except OSError:
            continue  # it ended while we looked
    return found


# --- starting the server -------------------------------------------------------------------------------


def shared_memory_prefix(home: Path) -> str:
    """What names this server's regions in /dev/shm, the same after every restart."""
    return f"captionstream_{hashlib.sha256(str(home.absolute()).encode()).hexdigest()[:12]}_"


def remove_stale_regions(prefix: str) -> int:
    """Remove the regions that a dead server with this prefix left behind; returns how many."""
    stale = list(_SHARED_MEMORY.glob(f"{prefix}*"))
    for region in stale:
        region.unlink(missing_ok=True)
    return len(stale)


def server_folder(venv: Path) -> Path:
    """The tritonserver folder inside the wheel. Raises `MissingPart` when it is not installed."""
    folder = site_packages(venv) / "pytriton" / "tritonserver"
    if not (folder / "bin" / "tritonserver").is_file():
        raise MissingPart("tritonserver is not installed.", SETUP)
    return folder


def link_backends(server: Path, target: Path) -> None:
    """Put the Python backend together: links, because its libraries are found relative to each file."""
    shutil.rmtree(target, ignore_errors=True)
    backend = target / "python"
    backend.mkdir(parents=True)
    stub = server / "python_backend_stubs" / "3.11" / "triton_python_backend_stub"
    for file in [*(server / "backends" / "python").iterdir(), stub]:
        (backend / file.name).symlink_to(file)


def libpython() -> Path:
    """The shared library of Python 3.11 that a stub embeds. Raises `MissingPart` when there is none."""
    for folder in _library_folders():
        if (folder / LIBPYTHON).is_file():
            return folder / LIBPYTHON
    raise MissingPart(
        f"{LIBPYTHON} is not on this machine; Triton's Python backend needs it.",
        "Debian and Ubuntu: `apt-get install libpython3.11`. pyenv: "
        "`PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.11`.",
    )


def _library_folders() -> list[Path]:
    """The running Python's own folder first: its library fits best."""
    told = [sysconfig.get_config_var("LIBDIR"), os.path.join(sys.base_prefix, "lib")]
    usual = [f"/usr/lib/{platform.machine()}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
    return [Path(folder) for folder in [*told, *usual] if folder]


def server_environment(venv: Path, base: Mapping[str, str]) -> dict[str, str]:
    """A stub ignores PYTHONPATH and finds its packages through the `python3` that comes first on PATH.

    One thread a library: a stub handles one request at a time, and the instances share the processors. Few
    arenas: pictures of all sizes leave holes in each, and by default there is one for nearly every thread.
    """
    libraries = [str(libpython().parent), base.get("LD_LIBRARY_PATH", "")]
    return {
        **base,
        "PATH": f"{venv / 'bin'}{os.pathsep}{base.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": os.pathsep.join(folder for folder in libraries if folder),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "PYTHONUNBUFFERED": "1",
    }


def server_command(server: Path, home: Path, models: Path, ports: TritonPorts) -> list[str]:
    return [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={models}",
        f"--backend-directory={home / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix(home)}",
        "--model-control-mode=none",
        "--http-address=127.0.0.1",
        f"--http-port={ports.http}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={ports.grpc}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={ports.metrics}",
        "--allow-gpu-metrics=false",
        "--disable-auto-complete-config",
        # with a dead stub it waits for the whole of this time
        "--exit-timeout-secs=3",
    ]


def trace_arguments(url: str | None) -> list[str]:
    """Its own spans go to `url` (OTLP/HTTP, JSON), for requests that bring a sampled trace and for no others."""
    if url is None:
        return []
    told = (
        "mode=opentelemetry", "rate=0", "count=-1", "level=TIMESTAMPS",
        f"opentelemetry,url={url}", "opentelemetry,resource=service.name=captionstream-triton",
    )  # fmt: skip
    return [f"--trace-config={setting}" for setting in told]


def _render(target: Path, instances: int) -> Path:
    from triton_models import repository

    shutil.rmtree(target, ignore_errors=True)
    root = Path(repository.__file__).parent
    repository.render(root, target, backend="python", instances=instances)
    return target


def _prepare(told: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    venv = Installed.here().triton_venv
    server = server_folder(venv)
    home = told.directory.absolute()
    environment = server_environment(venv, os.environ)
    link_backends(server, home / "backends")
    remove_stale_regions(shared_memory_prefix(home))
    models = told.models or _render(home / "models", told.instances)
    ports = TritonPorts(told.http_port, told.grpc_port, told.metrics_port)
    command = server_command(server, home, models, ports) + trace_arguments(traces_url(os.environ))
    return command, environment


def main() -> None:
    """Prepare the folder, then become the server: the process id stays the one that was started."""
    parser = argparse.ArgumentParser(prog="python -m captionstream.local.triton", description=main.__doc__)
    parser.add_argument("directory", type=Path)
    for port in ("http_port", "grpc_port", "metrics_port"):
        parser.add_argument(port, type=int)
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--models", type=Path)
    try:
        command, environment = _prepare(parser.parse_args())
    except MissingPart as missing:
        raise SystemExit(str(missing)) from missing
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    main()
