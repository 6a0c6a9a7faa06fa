"""G18: what tracing costs, as a share of a caption: two stacks take turns, one of them with a receiver of spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from captionstream.bench.goals import Found
from captionstream.bench.measuring import Spread
from captionstream.bench.plumbing import burst
from captionstream.bench.stacks import Stack, running
from captionstream.bench.workplace import workplace

USUAL_CAPTION_MS = 500.0
"""Processor time of a caption where it was not measured in the same run."""


async def measure(
    without: Stack, env: Mapping[str, str], events: int, rounds: int, caption_ms: float | None
) -> dict[str, Found]:
    """A second stack beside one without tracing; `env` is what that one was given."""
    with receiver() as endpoint, workplace() as work:
        told = {**env, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER": "always_on"}
        async with running(work, env=told) as observed:
            await cost(without, events, "traced-warm")
            await cost(observed, events, "traced-warm")
            pairs = [
                (await cost(without, events, f"traced-{n}"), await cost(observed, events, f"traced-{n}"))
                for n in range(rounds)
            ]
    return {"G18": share(pairs, caption_ms)}


async def cost(stack: Stack, events: int, tag: str) -> float:
    """Processor milliseconds of the four services for an event."""
    before = stack.cpu()
    await burst(stack, events, tag)
    return 1000 * (stack.cpu() - before) / events


def share(pairs: list[tuple[float, float]], caption_ms: float | None) -> Found:
    """Of a caption's processor time, in percent."""
    whole = caption_ms or USUAL_CAPTION_MS
    spread = Spread.of([100 * (observed - without) / whole for without, observed in pairs])
    details = {
        "off_ms": round(Spread.of([without for without, _ in pairs]).median, 2),
        "on_ms": round(Spread.of([observed for _, observed in pairs]).median, 2),
        "caption_ms": whole, "caption_ms_measured": caption_ms is not None, "no_bar": True,
    }  # fmt: skip
    return Found("G18", round(spread.median, 2), spread.range, len(pairs), details)


class Accepting(BaseHTTPRequestHandler):
    """Takes spans and forgets them."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def receiver() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Accepting)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
