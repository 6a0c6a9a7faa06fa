"""What a part's answer to a small question counts for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from captionstream.local.probe import get_ok, post_json
from tests.conftest import free_port

JSON, TEXT = "application/json", "text/plain"


@contextmanager
def answering(status: int, body: bytes = b"", kind: str = TEXT, after_s: float = 0.0) -> Iterator[str]:
    """A server with one answer to everything; where it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(after_s)
            self.send_response(status if "/" == self.path else 200)
            self.send_header("Content-Type", kind)
            if 302 == status and "/" == self.path:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Nothing on the test's screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("status", "works"), [(200, True), (204, False), (302, False), (404, False), (503, False)]
)
async def test_only_200_is_a_yes(status: int, works: bool) -> None:
    with answering(status) as url:
        assert works is await get_ok(url)


async def test_nobody_there_and_too_late_are_a_no() -> None:
    """Neither is an error: the part may be about to start, or hang."""
    assert not await get_ok(f"http://127.0.0.1:{free_port()}/")
    with answering(200, after_s=1.0) as url:
        assert not await get_ok(url, timeout_s=0.1)
        assert await post_json(url, {}, timeout_s=0.1) is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "answer"),
    [
        (200, b'{"text": "yes"}', JSON, {"text": "yes"}),
        (500, b'{"text": "yes"}', JSON, None),
        (200, b"[1]", JSON, None),
        (200, b'{"text": ', JSON, None),
        (200, b"yes", TEXT, None),
    ],
)
async def test_only_an_object_with_status_200_is_an_answer(
    status: int, body: bytes, kind: str, answer: object
) -> None:
    with answering(status, body, kind) as url:
        assert answer == await post_json(url, {"asked": True})


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy has no part of a stack on this machine."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with answering(200) as url:
        assert await get_ok(url)
