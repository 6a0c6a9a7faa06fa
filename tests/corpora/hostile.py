"""Images that broke decoders, from those who collected them. Fetched when first asked for, never committed.

Source archives of the registry hold the test images of Pillow and pillow_heif; Debian's source packages hold
those of the C libraries. All come by the registries' own clients into `.captionstream/corpora`.

    python -m tests.corpora.hostile            fetch the Python packages' (some minutes, once)
    python -m tests.corpora.hostile --debian   and Debian's, where apt-get is there
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

HOME = Path(__file__).parents[2] / ".captionstream" / "corpora"
PYTHON_PACKAGES = {"pillow==13.0.0": ("Tests/images/",), "pillow_heif==1.8.1": ("tests/images/",)}
DEBIAN_PACKAGES = {
    "exiv2": ("test/data/",),
    "gdk-pixbuf": ("tests/test-images/",),
    "libpng1.6": ("contrib/testpngs/", "contrib/pngsuite/"),
    "libheif": ("fuzzing/corpus/", "examples/"),
}
FOLDERS = {**PYTHON_PACKAGES, **DEBIAN_PACKAGES}
LARGEST = 20_000_000  # bytes of one image
NO_IMAGE = {
    ".py", ".txt", ".md", ".rst", ".html", ".c", ".h", ".cc", ".cpp", ".sh", ".build", ".out", ".css", ".js",
    ".am", ".conf",
}  # fmt: skip
NO_IMAGE_NAMES = {"README", "COPYING"}
HOSTILE = re.compile(
    r"crash|oom|timeout|bomb|broken|bad|trunc|fuzz|invalid|corrupt|overflow|fail|zero|missing|wrong|malform|eof"
    r"|negative|unexpected|oversize|illegal|poc|cve|issue|bug|loop|dos",
    re.IGNORECASE,
)


def hostile_images(limit: int, seed: int = 0) -> list[Path]:
    """`limit` of the images, those that are hostile by name first, in an order drawn from `seed`."""
    fetch_python_packages()
    files = fetched_images()
    random.Random(seed).shuffle(files)
    return sorted(files, key=lambda path: HOSTILE.search(path.name) is None)[:limit]


def fetched_images() -> list[Path]:
    """All that are there, in the order of their names."""
    return sorted(
        path for package in FOLDERS for path in (HOME / "images" / package).rglob("*") if counts(path)
    )


def counts(path: Path) -> bool:
    """Whether a file below `images` is one of the images."""
    package, *inside = path.relative_to(HOME / "images").parts
    return path.is_file() and is_image("/".join(inside), package)


def fetch_python_packages() -> None:
    for package in PYTHON_PACKAGES:
        fetch_once(package, sdist)


def fetch_debian_packages() -> None:
    for package in DEBIAN_PACKAGES:
        fetch_once(package, debian_source)


def fetch_once(package: str, archive: Callable[[str], Path]) -> None:
    """A fetch that was broken off is begun again."""
    done = HOME / "fetched" / package
    if not done.exists():
        unpack(archive(package), package)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()


def sdist(package: str) -> Path:
    """The source archive. pip also reads its metadata, which takes most of the time; nothing is compiled."""
    folder = HOME / "archives" / package
    shutil.rmtree(folder, ignore_errors=True)
    run(pip(), "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), package)
    return archive_in(folder, "*.tar.gz")


def pip() -> list[str]:
    """A pip of its own: environments made by uv have none."""
    folder = HOME / "pip"
    if not (folder / "bin" / "pip").exists():
        venv.create(folder, with_pip=True, clear=True)
    return [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def debian_source(package: str) -> Path:
    """The original archive of Debian's source package, by an apt whose lists are not the system's."""
    folder = HOME / "archives" / package
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run([*private_apt(), "source", "--download-only", "--tar-only", "-qq", package], cwd=folder)
    return archive_in(folder, "*.orig.tar.*")


def private_apt() -> list[str]:
    state = HOME / "apt"
    options = [
        f"Dir::Etc::SourceList={state / 'sources.list'}", "Dir::Etc::SourceParts=/dev/null",
        f"Dir::State::Lists={state / 'lists'}", f"Dir::Cache={state / 'cache'}", "APT::Sandbox::User=root",
    ]  # fmt: skip
    command = ["apt-get", *(part for option in options for part in ("-o", option))]
    if not state.exists():
        (state / "lists" / "partial").mkdir(parents=True)
        (state / "cache").mkdir()
        (state / "sources.list").write_text("\n".join(source_lines()) + "\n")
        run([*command, "update", "-qq"])
    return command


def source_lines() -> Iterator[str]:
    """The system's archives as archives of sources, in the one-line form, from either form of list."""
    for file in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        text = file.read_text() if file.is_file() else ""
        yield from (
            line.replace("deb ", "deb-src ", 1) for line in text.splitlines() if line.startswith("deb ")
        )
        yield from (line for stanza in text.split("\n\n") for line in source_lines_of(stanza))


def source_lines_of(stanza: str) -> Iterator[str]:
    fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
    if not {"URIs", "Suites", "Components"} <= fields.keys():
        return
    signed = f" [signed-by={fields['Signed-By']}]" if "Signed-By" in fields else ""
    for address in fields["URIs"].split():
        for suite in fields["Suites"].split():
            yield f"deb-src{signed} {address} {suite} {fields['Components']}"


def archive_in(folder: Path, pattern: str) -> Path:
    return next(path for path in folder.glob(pattern) if path.suffix != ".asc")


def unpack(archive: Path, package: str) -> None:
    """The images of the archive; names and links may not leave the place where they go."""
    place = HOME / "images" / package
    shutil.rmtree(place, ignore_errors=True)
    with tarfile.open(archive) as opened:
        wanted = [member for member in opened if is_plain(member) and is_image(member.name, package)]
        opened.extractall(place, wanted, filter="data")
    shutil.rmtree(archive.parent)


def is_plain(member: tarfile.TarInfo) -> bool:
    return member.isfile() and 0 <= member.size <= LARGEST


def is_image(name: str, package: str) -> bool:
    """By its place in the archive, whose first folder names the version, and by its suffix."""
    file = Path(name)
    wanted = name.partition("/")[2].startswith(FOLDERS[package])
    return wanted and file.suffix.lower() not in NO_IMAGE and file.name not in NO_IMAGE_NAMES


def run(command: list[str], *more: str, cwd: Path | None = None) -> None:
    subprocess.run([*command, *more], cwd=cwd, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})


if __name__ == "__main__":
    fetch_python_packages()
    if "--debian" in sys.argv:
        fetch_debian_packages()
    print(len(hostile_images(1_000_000)), "images")
