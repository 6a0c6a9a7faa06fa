"""A model hub on this machine: the routes that its client asks for files, and nothing else."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LARGE = ".safetensors"
"""Kept under their sha256; other files under git's sha1."""


@dataclass
class Hub:
    """One repository. `branches` name commits; `asked` are the files that were fetched."""

    repository: str
    commits: dict[str, Path]
    branches: dict[str, str]
    base_url: str = ""
    gated: bool = False
    damaged: str = ""
    """The file whose bytes arrive changed."""
    asked: list[str] = field(default_factory=list)

    def commit(self, revision: str) -> str | None:
        commit = self.branches.get(revision, revision)
        return commit if commit in self.commits else None

    def files(self, commit: str) -> list[Path]:
        return sorted(path for path in self.commits[commit].rglob("*") if path.is_file())

    def bytes_of(self, commit: str, name: str) -> bytes:
        data = (self.commits[commit] / name).read_bytes()
        return data[:-1] + bytes([data[-1] ^ 1]) if name == self.damaged else data


@contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    """On a free port of the loopback."""

    class Handler(_Answers):
        told = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.base_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(BaseHTTPRequestHandler):
    told: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_given: Any) -> None:
        return

    def _answer(self, body: bool) -> None:
        path, hub = self.path.partition("?")[0], self.told
        api, files = f"/api/models/{hub.repository}", f"/{hub.repository}/resolve/"
        if not path.startswith((api, files)):
            return self._refuse(404, "RepoNotFound")
        if hub.gated:
            return self._refuse(403, "GatedRepo")
        if path.startswith(files):
            commit, _, name = path.removeprefix(files).partition("/")
            return self._file(commit, name, body)
        what, _, revision = path.removeprefix(api).strip("/").partition("/")
        resolved = hub.commit(revision or "main")
        if resolved is None:
            return self._refuse(404, "RevisionNotFound")
        if what == "tree":
            return self._json([_entry(hub, resolved, file) for file in hub.files(resolved)])
        return self._json({"id": hub.repository, "sha": resolved, "siblings": []})

    def _file(self, commit: str, name: str, body: bool) -> None:
        data = (self.told.commits[commit] / name).read_bytes()
        headers = {"ETag": f'"{etag(name, data)}"', "X-Repo-Commit": commit}
        if body:
            self.told.asked.append(name)
        self._send(200, self.told.bytes_of(commit, name), headers, body)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code})

    def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool = True) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(data)


def _entry(hub: Hub, commit: str, file: Path) -> dict[str, object]:
    name, data = file.relative_to(hub.commits[commit]).as_posix(), file.read_bytes()
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": _git_sha1(data)}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


def etag(name: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if name.endswith(LARGE) else _git_sha1(data)


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
