"""NVIDIA's tritonserver on this machine without Docker or GPU: the server in the nvidia-pytriton wheel.

The wheel lives in an environment of its own (it needs numpy < 2) and brings one backend, Python. A model
runs in a child process of the server, the *stub*. A stub that dies is not replaced: the server stays
"ready" while requests to that model fail for ever. So being ready means real inferences here, and being
alive means that no stub is gone; the cure is a restart of the server.

Split vision-language models come and go while it runs: `serve_model` and `unload_model`. At its start every ready
model of the registry is served.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captionstream.local.installed import SETUP, Installed, MissingPart, site_packages
from captionstream.local.process import Broken, Part, Probe
from captionstream.telemetry.exporting import traces_url

if TYPE_CHECKING:
    import httpx

    from triton_models.registry import SplitModel

LIBPYTHON = "libpython3.11.so.1.0"
_ANSWER_WITHIN_S = 30.0
_SHARED_MEMORY = Path("/dev/shm")
_ADDRESS = "http-address"
"""The file that tells others where the server of this folder listens."""


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
    split_models: Path | None = None,
) -> Part:
    """A server on 127.0.0.1 whose `port` is the gRPC one.

    `models` is a model repository that is served as it is; without it `triton_models` is rendered for the
    Python backend with `instances` of each model. `ready` replaces the question asked of a new server.
    `split_models` is the registry whose ready models are served as well.
    """
    home = directory / f"triton-{slot}"
    arguments = [str(home), *ports.as_text(), "--instances", str(instances)]
    if models is not None:
        arguments += ["--models", str(models)]
    if split_models is not None:
        arguments += ["--split-models", str(split_models.absolute())]
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


PLAIN: Mapping[str, Any] = {"trust_env": False, "verify": False}
"""How httpx asks a server of our own: no proxy, and no certificates, whose loading costs more than the question."""
_INFER_EVERY = 5
"""Of so many questions whether the server is alive, one costs it an inference."""


@dataclass
class TritonQuestion:
    """Asks one server whether its models answer; remembers which, and how many stubs each had."""

    base_url: str
    prefix: str
    _stubs: dict[str, int] = field(default_factory=dict, init=False)
    _asked: int = field(default=0, init=False)

    async def ready(self) -> bool:
        """Whether the models of `_asked` answer a request of zeros. Raises `Broken` when one of ours was not loaded."""
        async with self._client() as client:
            if failed := await _not_loaded(client):
                raise Broken(failed)
            models = await _model_names(client)
            works = bool(models) and all([await _answers_zeros(client, model) for model in _asked(models)])
        if works:
            self._remember(models)
        return works

    async def alive(self) -> bool:
        """Whether the server still answers. Raises `Broken` when a stub is gone: it never comes back.

        The stubs of a model that was unloaded are gone on purpose. Now and then one model is asked for an inference:
        the next one, or the same as long as it fails.
        """
        if self._gone() and (gone := await self._gone_from_served()):
            raise Broken(f"model processes are gone: {', '.join(gone)}")
        if self._asked % _INFER_EVERY == 0 and not await self._one_model_answers():
            return False
        self._asked += 1
        return True

    def _gone(self) -> list[str]:
        """Models with fewer stubs than they had."""
        now = stubs(self.prefix)
        return [model for model, had in self._stubs.items() if now[model] < had]

    async def _gone_from_served(self) -> list[str]:
        """The server names a model as served though its stub is dead, and does not once it is told to unload it."""
        async with self._client() as client:
            served = await _model_names(client)
        self._stubs = {model: had for model, had in self._stubs.items() if model in served}
        return self._gone()

    async def _one_model_answers(self) -> bool:
        """Also notices models that were loaded meanwhile."""
        async with self._client() as client:
            models = await _model_names(client)
            asked, turn = _asked(models), self._asked // _INFER_EVERY
            works = bool(asked) and await _answers_zeros(client, asked[turn % len(asked)])
        self._remember([model for model in models if model not in self._stubs])
        return works

    def _remember(self, models: list[str]) -> None:
        now = stubs(self.prefix)
        self._stubs |= {model: now[model] for model in models}

    def _client(self) -> httpx.AsyncClient:
        return _asking(self.base_url)


def _asking(base_url: str, timeout_s: float = _ANSWER_WITHIN_S) -> httpx.AsyncClient:
    import httpx  # imported late: the server's own process starts without it

    return httpx.AsyncClient(base_url=base_url, **PLAIN, timeout=timeout_s)


async def _model_names(client: httpx.AsyncClient) -> list[str]:
    """Those that are ready. Raises httpx.HTTPError when the server does not say."""
    index = await client.post("/v2/repository/index", json={"ready": True})
    return [model["name"] for model in index.raise_for_status().json()]


def _ours(models: list[str]) -> list[str]:
    """Without split ones."""
    from triton_models.registry import NAMED

    return [model for model in models if not model.startswith(NAMED)]


def _asked(models: list[str]) -> list[str]:
    """Those that tell how the server is. A split one that fails must not stop the others: who sees with it asks it;
    where nothing else is served, it is asked here."""
    return _ours(models) or models


async def _not_loaded(client: httpx.AsyncClient) -> str:
    """What is wrong with those models of the repository that must be there; empty when nothing is."""
    index = (await client.post("/v2/repository/index", json={})).raise_for_status().json()
    failed = {
        model["name"]: model.get("reason", "") for model in index if model.get("state") == "UNAVAILABLE"
    }
    return "; ".join(f"{name} could not be loaded: {failed[name][:500]}" for name in _ours(list(failed)))


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
"""What stands for a dimension of a picture that is not fixed (-1), the batch excepted, which is 1."""


def zero_request(metadata: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The JSON header and the binary part of an inference request of zeros (KServe v2, binary extension).

    A text input (BYTES) gets one empty string. Where several inputs have free dimensions each is 1: which of them must
    be equal is not told. What says that a place is filled (BOOL) says so, for the mean of nothing is no number.
    Raises `KeyError` for a data type that is not listed.
    """
    inputs, parts = [], []
    free = 1 if sum(min(given["shape"]) < 1 for given in metadata["inputs"]) > 1 else _FREE_DIMENSION
    for given in metadata["inputs"]:
        shape = _shape(given["shape"], free)
        size = 4 if given["datatype"] == "BYTES" else _BYTES[given["datatype"]]
        filling = b"\1" if given["datatype"] == "BOOL" else b"\0"
        parts.append(filling * (size * math.prod(shape)))
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


def _shape(dimensions: list[int], free: int) -> list[int]:
    first, *rest = dimensions
    return [first if first > 0 else 1, *(size if size > 0 else free for size in rest)]


_STUB = re.compile(rb"python_backend_stub\0[^\0]*/([^/\0]+)/[0-9]+/model\.py\0")


def stubs(prefix: str) -> Counter[str]:
    """How many stub processes each model of the server has whose shared memory has this prefix."""
    wanted = prefix.encode()
    found = (_STUB.search(command) for command in _command_lines() if wanted in command)
    return Counter(stub.group(1).decode() for stub in found if stub)


def _command_lines() -> list[bytes]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_bytes())
        except OSError:
            continue  # it ended while we looked
    return found


# --- models that come and go ---------------------------------------------------------------------------

_LOAD_WITHIN_S = 300.0
"""A large graph is read and run once before its model is ready."""


class NotLoaded(Exception):
    """The server could not load or unload a model; the text is what it says about that."""


async def serve_model(directory: Path, model: SplitModel, slot: int = 0) -> bool:
    """Puts a ready model into the repository of the stack's server and loads it there; False when none was started.

    Raises NotLoaded, httpx.HTTPError when the server is away (it finds the model at its next start), and
    ModelFileChanged.
    """
    from triton_models.repository import render_split

    home = directory.absolute() / f"triton-{slot}"
    base_url = server_address(directory, slot)
    if base_url is None:
        return False
    render_split(model.folder, model.triton_name, home / "models", "python")
    await load_model(base_url, model.triton_name)
    return True


async def stop_serving(directory: Path, triton_name: str, slot: int = 0) -> bool:
    """Unloads a model and takes it out of the repository; False when no server was started. Raises as above."""
    base_url = server_address(directory, slot)
    if base_url is None:
        return False
    await unload_model(base_url, triton_name)
    shutil.rmtree(directory / f"triton-{slot}" / "models" / triton_name, ignore_errors=True)
    return True


async def load_model(base_url: str, name: str) -> None:
    """Returns when it answers. A model that is loaded stays so. Raises NotLoaded or httpx.HTTPError."""
    await _tell(base_url, name, "load")


async def unload_model(base_url: str, name: str) -> None:
    """Requests that are on their way are still answered. Raises NotLoaded or httpx.HTTPError."""
    await _tell(base_url, name, "unload")


async def _tell(base_url: str, name: str, what: str) -> None:
    async with _asking(base_url, _LOAD_WITHIN_S) as client:
        answer = await client.post(f"/v2/repository/models/{name}/{what}", json={})
    if answer.status_code != 200:
        raise NotLoaded(f"{what} of {name}: {answer.text[:500]}")


def server_address(directory: Path, slot: int = 0) -> str | None:
    """The HTTP address of the server that was started last in this folder; None when there was none."""
    try:
        return (directory / f"triton-{slot}" / _ADDRESS).read_text()
    except FileNotFoundError:
        return None


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
        "--model-control-mode=explicit",
        "--load-model=*",
        # a split model that it cannot load must not stop the others; whether ours are loaded is asked (`ready`)
        "--exit-on-error=false",
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


def _render(target: Path, instances: int, split_models: Path | None) -> Path:
    from triton_models import repository

    shutil.rmtree(target, ignore_errors=True)
    root = Path(repository.__file__).parent
    repository.render(root, target, backend="python", instances=instances)
    if split_models is not None:
        _render_ready(split_models, target)
    return target


def _render_ready(split_models: Path, target: Path) -> None:
    """One that is not what was proved is left out: the others are served all the same."""
    from triton_models.registry import Registry
    from triton_models.repository import ModelFileChanged, render_split

    registry = Registry(split_models)
    for broken in registry.broken():
        print(f"not served: {broken}", file=sys.stderr)
    for model in registry.models():
        try:
            render_split(model.folder, model.triton_name, target, "python")
        except ModelFileChanged as changed:
            print(f"not served: {changed}", file=sys.stderr)


def _prepare(told: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    venv = Installed.here().triton_venv
    server = server_folder(venv)
    home = told.directory.absolute()
    environment = server_environment(venv, os.environ)
    link_backends(server, home / "backends")
    remove_stale_regions(shared_memory_prefix(home))
    models = told.models or _render(home / "models", told.instances, told.split_models)
    (home / _ADDRESS).write_text(f"http://127.0.0.1:{told.http_port}")
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
    parser.add_argument("--split-models", type=Path)
    try:
        command, environment = _prepare(parser.parse_args())
    except MissingPart as missing:
        raise SystemExit(str(missing)) from missing
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    main()
