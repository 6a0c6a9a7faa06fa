"""Debian packages come unpacked, and their absence comes with what to do."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from captionstream.local.debian import Package
from captionstream.local.installed import MissingPart


def apt_get(folder: Path, script: str) -> None:
    """An apt-get of the test's own, in a folder that stands first on PATH."""
    program = folder / "apt-get"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A package that holds one file."""
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr").mkdir()
    (tree / "usr" / "word").write_text("hello")
    control = "Package: greeting\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: a word\n"
    (tree / "DEBIAN" / "control").write_text(control)
    subprocess.run(["dpkg-deb", "--build", str(tree), str(tmp_path / "greeting_1_all.deb")], check=True)
    return tmp_path / "greeting_1_all.deb"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_a_package_is_unpacked_once(tmp_path: Path, programs: Path, archive: Path) -> None:
    """The second time nothing is fetched."""
    told: list[str] = []
    apt_get(programs, f"cp {archive} .")
    assert "hello" == (Package("greeting", tmp_path / "home", told.append).data / "usr" / "word").read_text()
    apt_get(programs, "exit 1")
    assert (Package("greeting", tmp_path / "home", told.append).data / "usr" / "word").is_file()
    assert ["fetching the Debian package greeting"] == told


def test_a_machine_without_lists_gets_lists_of_our_own(tmp_path: Path, programs: Path, archive: Path) -> None:
    """They lie in a folder that goes when the package is there; no root is needed."""
    apt_get(
        programs,
        f"""
case "$*" in
  *Dir::State::Lists=*update*) touch updated ;;
  *Dir::State::Lists=*download*) [ -e updated ] && cp {archive} . ;;
  *) echo "E: Unable to locate package" >&2; exit 100 ;;
esac""",
    )
    assert (Package("greeting", tmp_path / "home").data / "usr" / "word").is_file()
    assert ["greeting"] == [path.name for path in (tmp_path / "home").iterdir()]


def test_what_cannot_be_had_is_said_with_what_to_do(tmp_path: Path, programs: Path) -> None:
    """The last line of apt-get, and the way out; nothing half-done is left."""
    apt_get(programs, "echo 'E: no network' >&2; exit 100")
    with pytest.raises(MissingPart, match="E: no network") as missing:
        _ = Package("greeting", tmp_path / "home").data
    assert "dpkg-deb -x" in missing.value.fix
    assert [] == list((tmp_path / "home").iterdir())
