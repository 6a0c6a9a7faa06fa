"""The reference engine of split models on this machine: transformers, in the environment that has torch.

A stack has it only when a registered model needs it: one whose class has no decoder for ONNX Runtime.
"""

from __future__ import annotations

from pathlib import Path

from captionstream.local.installed import Installed, MissingPart
from captionstream.local.probe import get_ok
from captionstream.local.process import Part

ROLE = "reference-engine"
ANSWER_WITHIN_S = 60.0
"""A probe waits for the request that is being written."""


def reference_engine_part(directory: Path, port: int, models: Path, threads: int = 1) -> Part:
    """A server on 127.0.0.1:`port` for the language halves of the registry `models`.

    Raises `MissingPart` when the environment with torch is not installed.
    """
    installed = Installed.here()
    python = installed.models_venv / "bin" / "python"
    if not python.exists():
        raise MissingPart("The reference engine needs torch and transformers.", "Run `make setup-models`.")
    module = "services.generator.prefix.reference_server"
    told = ("--port", str(port), "--models", str(models.absolute()), "--threads", str(threads))
    base = f"http://127.0.0.1:{port}"
    return Part(
        name="reference engine (transformers)",
        role=ROLE,
        argv=(str(python), "-m", module, *told),
        env={"PYTHONPATH": str(installed.source), "OMP_NUM_THREADS": str(threads)},
        port=port,
        ready=lambda: get_ok(f"{base}/readyz", ANSWER_WITHIN_S),
        alive=lambda: get_ok(f"{base}/livez"),
        log_path=directory / "logs" / "reference-engine.log",
        start_timeout_s=180.0,
        stop_timeout_s=5.0,
        memory_mb=800,
        fix="`make setup-models` installs what it needs.",
    )


def is_needed(models: Path) -> bool:
    """Whether a ready model of that registry is written by no other engine."""
    from triton_models.registry import Registry  # imported late: a stack without models does without it

    return any(not model.servable for model in Registry(models).models())
