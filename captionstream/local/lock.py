"""Writes the lock files in `requirements/` anew from what is asked for: `make lock`.

Each names every package and every jar with its sha256, and no address of a registry: where they are
fetched from is a matter of the machine. Run it after a change of pyproject.toml or of a `.in` file.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from captionstream.local import uv
from captionstream.local.installed import Installed

_COMPILE = (
    "pip",
    "compile",
    "--quiet",
    "--generate-hashes",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
)
_PYTHON_LOCKS = {
    "uv.txt": ("requirements/uv.in",),
    "dev.txt": (
        "--overrides=requirements/overrides.txt",
        "--extra=dev",
        "pyproject.toml",
        "requirements/build.in",
        "requirements/shared.in",
    ),
    # the same versions as in dev.txt, only fewer packages
    "runtime.txt": (
        "--overrides=requirements/overrides.txt",
        "--constraints=requirements/dev.txt",
        "--extra=local",
        "pyproject.toml",
        "requirements/build.in",
        "requirements/shared.in",
    ),
    # the image of the services: runtime.txt without what only a local stack needs
    "services.txt": (
        "--overrides=requirements/overrides.txt",
        "--constraints=requirements/dev.txt",
        *(f"--extra={name}" for name in ("ingest", "encoder", "generator", "safety", "monitor")),
        "pyproject.toml",
        "requirements/shared.in",
    ),
    # for the Python inside NVIDIA's image
    "triton-image.txt": (
        "--python-version=3.12",
        "--overrides=requirements/overrides.txt",
        "--constraints=requirements/dev.txt",
        "requirements/triton-image.in",
        "requirements/shared.in",
    ),
    "triton.txt": (
        "--overrides=requirements/triton-overrides.txt",
        "requirements/triton.in",
        "requirements/shared.in",
    ),
    "photographs.txt": ("--no-deps", "requirements/photographs.in"),
    "models.txt": ("requirements/models.in",),
    "llm.txt": ("--overrides=requirements/llm-overrides.txt", "requirements/llm.in"),
}


def main() -> None:
    """Lock everything. Versions stay as they are where they still fit; `--upgrade` takes the newest."""
    installed = Installed.here()
    more = ("--upgrade",) if "--upgrade" in sys.argv[1:] else ()
    for name, arguments in _PYTHON_LOCKS.items():
        python = () if _names_its_python(arguments) else ("--python-version=3.11",)
        output = f"--output-file=requirements/{name}"
        command = [str(uv.program(installed)), *_COMPILE, *python, *more, *arguments, output]
        subprocess.run(command, cwd=installed.source, env=uv.environment(), check=True)
        print(f"✓ requirements/{name}", flush=True)
    _lock_jars(installed)


def _names_its_python(arguments: tuple[str, ...]) -> bool:
    return any(argument.startswith("--python-version=") for argument in arguments)


def _lock_jars(installed: Installed) -> None:
    jgo = installed.venv / "bin" / "jgo"
    command = [str(jgo), "-q", "-f", "jgo.toml", "lock"]
    subprocess.run(command, cwd=installed.requirements, check=True)
    lock = installed.requirements / "jgo.lock.toml"
    lock.write_text(without_time(lock.read_text()))
    _refuse_addresses(installed.requirements)
    print("✓ requirements/jgo.lock.toml", flush=True)


def without_time(lock: str) -> str:
    """A lock file says what, not when: the same jars give the same file."""
    return re.sub(r'^generated = ".*"\n', "", lock, flags=re.MULTILINE)


def _refuse_addresses(folder: Path) -> None:
    named = [path.name for path in folder.iterdir() if path.is_file() and "://" in path.read_text()]
    if named:
        raise SystemExit(f"{', '.join(named)} names the address of a registry; remove it before you commit.")


if __name__ == "__main__":
    main()
