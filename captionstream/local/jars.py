"""The jar files that Kafka consists of: named and locked in `requirements/jgo.lock.toml`, fetched by jgo.

jgo's own `sync` resolves every POM again and classifies each jar with a JDK that it downloads. The lock
already names every jar and its sha256, so here each one is fetched by its coordinates and checked.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from captionstream.local.installed import Installed, MissingPart

_AT_ONCE = 6


@dataclass(frozen=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def locked(lock: Path) -> list[Jar]:
    """The jars in a jgo lock file. Raises `ValueError` where one has no sha256."""
    rows = tomllib.loads(lock.read_text())["dependencies"]
    without = [row["artifactId"] for row in rows if not row.get("sha256")]
    if without:
        raise ValueError(f"{lock} holds no sha256 for {', '.join(without)}")
    return [Jar(row["groupId"], row["artifactId"], row["version"], row["sha256"]) for row in rows]


def faults(jars: list[Jar], folder: Path) -> list[str]:
    """What is wrong with the jars in `folder`, a sentence each; empty when all are as locked."""
    found = {jar: folder / jar.file_name for jar in jars}
    missing = [f"{jar.file_name} is missing" for jar, path in found.items() if not path.is_file()]
    changed = [
        f"{jar.file_name} is not the locked file"
        for jar, path in found.items()
        if path.is_file() and _sha256(path) != jar.sha256
    ]
    return missing + changed


def fetch(jars: list[Jar], folder: Path) -> None:
    """Put every jar into `folder`, each as locked. Raises `MissingPart` when one cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache, ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda jar: _fetch_one(jar, folder, Path(cache)), jars))


def _fetch_one(jar: Jar, folder: Path, cache: Path) -> None:
    target = folder / jar.file_name
    if target.is_file() and _sha256(target) == jar.sha256:
        return
    downloaded = _download(jar, cache)
    if _sha256(downloaded) != jar.sha256:
        raise MissingPart(
            f"{jar.file_name} as downloaded is not the locked file.",
            "Check the Maven repository in use, then run `make setup` again.",
        )
    partial = target.with_suffix(".partial")
    shutil.copyfile(downloaded, partial)
    os.replace(partial, target)


def _download(jar: Jar, cache: Path) -> Path:
    from jgo.maven import MavenContext  # imported late: `doctor` checks the jars without it

    context = MavenContext(repo_cache=cache, timeout=60)
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    try:
        return Path(artifact.resolve())
    except Exception as error:
        raise MissingPart(
            f"{jar.file_name} could not be downloaded ({error}).",
            "Check that a Maven repository can be reached, then run `make setup` again.",
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Have every locked jar in the place where Kafka looks for them."""
    installed = Installed.here()
    try:
        fetch(locked(installed.requirements / "jgo.lock.toml"), installed.kafka_jars)
    except MissingPart as missing:
        raise SystemExit(str(missing)) from None


if __name__ == "__main__":
    main()
