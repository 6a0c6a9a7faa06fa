"""What tests need from npm: fetched once into `.captionstream/npm`, exactly as `requirements/npm` locks it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from captionstream.local.installed import Installed

INSTALLED = Installed.here()
HOME = INSTALLED.home / "npm"
REQUIREMENTS = INSTALLED.requirements / "npm"
MODULES = HOME / "node_modules"
NODE, NPM = (str(Path(sys.executable).parent / name) for name in ("node", "npm"))
UNPACK = """
const { createReadStream, createWriteStream } = require("fs");
const [, from, to] = process.argv;
require("stream").pipeline(createReadStream(from), require("zlib").createBrotliDecompress(), createWriteStream(to),
  (error) => { if (error) throw error; });
"""
FONTS = '<?xml version="1.0"?><fontconfig><dir>{0}/fonts</dir><cachedir>{0}/cache</cachedir></fontconfig>'


def npm_packages() -> Path:
    """The folder that holds `node_modules`. The second time this costs nothing."""
    lock = REQUIREMENTS / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = HOME / "stamp"
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("a") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != digest:
            stamp.unlink(missing_ok=True)
            install()
            unpack_browser(HOME / "browser")
            stamp.write_text(digest)
    return HOME


def install() -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(REQUIREMENTS / name, HOME / name)
    run(NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")


def unpack_browser(folder: Path) -> None:
    """Chromium, the libraries that a bare machine lacks, and a font: it needs the C library and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    packed = MODULES / "@sparticuz" / "chromium" / "bin"
    run(NODE, "-e", UNPACK, str(packed / "chromium.br"), str(folder / "chromium"))
    (folder / "chromium").chmod(0o755)
    for name in ("al2023.tar", "fonts.tar"):
        run(NODE, "-e", UNPACK, str(packed / f"{name}.br"), str(folder / name))
        with tarfile.open(folder / name) as archive:
            archive.extractall(folder, filter="data")
    (folder / "fonts.conf").write_text(FONTS.format(folder))


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command[:2])} failed:\n{done.stderr[-2000:]}\n"
            "→ An npm registry must be in reach (npm config get registry); then run the tests again."
        )
