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
from collections.abc import Callable
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
    classifier: str = ""

    @property
    def file_name(self) -> str:
        return "-".join(filter(None, (self.artifact, self.version, self.classifier))) + ".jar"


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
    return missing + changed + [f"{path.name} is not in the lock file" for path in _strangers(jars, folder)]


def _strangers(jars: list[Jar], folder: Path) -> list[Path]:
    """Java would load them too: the whole folder is its class path."""
    names = {jar.file_name for jar in jars}
    return sorted(path for path in folder.glob("*") if path.name not in names)


Download = Callable[["Jar", Path], Path]
"""Gets one jar with the help of a cache folder; returns where it lies. Raises `MissingPart`."""


def fetch(jars: list[Jar], folder: Path, download: Download | None = None) -> None:
    """Have in `folder` every jar as locked, and nothing else. Raises `MissingPart` when one cannot be had."""
    how = download or from_maven
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache, ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda jar: _fetch_one(jar, folder, Path(cache), how), jars))
    for stranger in _strangers(jars, folder):
        stranger.unlink()


def _fetch_one(jar: Jar, folder: Path, cache: Path, download: Download) -> None:
    target = folder / jar.file_name
    if target.is_file() and _sha256(target) == jar.sha256:
        return
    downloaded = download(jar, cache)
    if _sha256(downloaded) != jar.sha256:
        raise MissingPart(
            f"{jar.file_name} as downloaded is not the locked file.",
            "Check the Maven repository in use, then run `make setup` again.",
        )
    partial = target.with_suffix(".partial")
    shutil.copyfile(downloaded, partial)
    os.replace(partial, target)


def from_maven(jar: Jar, cache: Path) -> Path:
    """A `Download` from Maven Central, by jgo."""
    from jgo.maven import MavenContext  # imported late: `doctor` checks the jars without it

    context = MavenContext(repo_cache=cache, timeout=60)
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    artifact = component.artifact(classifier=jar.classifier)
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
