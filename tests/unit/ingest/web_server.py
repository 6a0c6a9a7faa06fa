"""A small web server on loopback that a test scripts, and that counts who knocks."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
ATTEMPTS = 20


@dataclass
class WebServer:
    """`answers` by path; `requests` are the heads that came; `connections` counts even a silent knock."""

    port: int
    answers: dict[str, bytes | Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    handlers: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, path: str = "/", host: str = "127.0.0.2", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.handlers.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.requests.append(head)
                await self.answer(head.split(" ")[1], writer)
        finally:
            writer.close()

    async def stop(self) -> None:
        for handler in self.handlers:
            handler.cancel()
        await asyncio.gather(*self.handlers, return_exceptions=True)

    async def answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        answer = self.answers.get(path.partition("?")[0], reply(b"", "404 Whatever The Server Says"))
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
        else:
            await answer(writer)


def reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def redirect(location: str) -> bytes:
    return reply(b"", "302 Found", f"Location: {location}")


@asynccontextmanager
async def web_server(
    hosts: Sequence[str] = ("127.0.0.2",), port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[WebServer]:
    """Serves on one free port of all `hosts`."""
    made = WebServer(port)
    listeners = [await asyncio.start_server(made.serve, hosts[0], port, ssl=tls)]
    made.port = listeners[0].sockets[0].getsockname()[1]
    listeners += [await asyncio.start_server(made.serve, host, made.port, ssl=tls) for host in hosts[1:]]
    try:
        yield made
    finally:
        for listener in listeners:
            listener.close()
        await made.stop()


def port_free_on(hosts: Sequence[str]) -> int:
    """A port that nobody has on any of these addresses."""
    for _ in range(ATTEMPTS):
        with socket.create_server((hosts[0], 0)) as first:
            port = int(first.getsockname()[1])
        with suppress(OSError):
            for host in hosts:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                socket.create_server((host, port), family=family).close()
            return port
    raise RuntimeError("no port is free on all of these addresses")
