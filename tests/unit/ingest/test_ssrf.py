"""A stranger's URL leads to public addresses only, whatever it looks like and whatever the name server says.

A canary listens where nobody may go: on this machine's own addresses. It must not even be knocked at. One
address, 127.0.0.2, stands for the public web. The controls at the end show that a client without guard hits
the canary.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import httpx
import pytest

from captionstream.contracts.messages import RefusalReason
from captionstream.runtime.errors import Unprocessable
from services.ingest.fetch_url import Resolver, Unpacking, WebSource
from services.ingest.settings import IngestSettings
from tests.unit.ingest.web_server import WebServer, port_free_on, redirect, reply, web_server

PUBLIC = "127.0.0.2"
FORBIDDEN_HOSTS = ("127.0.0.1", "127.0.0.3", "::1")
IMAGE = b"the bytes of an image"
LIMIT = 100_000  # bytes


@dataclass(frozen=True)
class Web:
    """The public server and the canary share a port, so that only the address tells them apart."""

    public: WebServer
    canary: WebServer

    def settings(self, **changes: object) -> IngestSettings:
        allowed = {"allow_addresses": (f"{PUBLIC}/32",), "ports": (80, 443, self.public.port)}
        return IngestSettings.model_validate(
            {**allowed, "max_bytes": LIMIT, "fetch_seconds": 5.0, "fetch_attempts": 1, **changes}
        )

    def fill(self, form: str) -> str:
        return form.replace("PORT", str(self.public.port))


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    port = port_free_on((PUBLIC, *FORBIDDEN_HOSTS))
    async with web_server((PUBLIC,), port) as public, web_server(FORBIDDEN_HOSTS, port) as canary:
        public.answers["/image"] = reply(IMAGE)
        yield Web(public, canary)


def names(table: dict[str, list[str]]) -> Resolver:
    """A name server for the test: names by this table, addresses as the system reads them, nothing else."""

    def resolve(host: str, port: int, *_: object) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        if addresses := table.get(host.rstrip(".")):
            return [answer(address, port) for address in addresses]
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))

    return resolve


def answer(address: str, port: int) -> tuple[int, int, int, str, tuple[object, ...]]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


NAMES = names(
    {
        "public.test": [PUBLIC],
        "localhost": ["127.0.0.1", "::1"],
        "localhost.localdomain": ["127.0.0.1"],
        "inside.test": ["127.0.0.3"],
        "inside6.test": ["::1"],
        "mapped.test": ["::ffff:127.0.0.3"],
        "both.test": [PUBLIC, "127.0.0.3"],
        "xn--e1afmkfd.test": ["127.0.0.3"],
        "metadata.test": ["169.254.169.254"],
        "home.test": ["192.168.1.1"],
        "nat64.test": ["64:ff9b::7f00:3"],
    }
)


async def fetched(source: WebSource, url: str) -> bytes:
    async with aclosing(source):
        return await source.get(url)


async def refusal(source: WebSource, url: str) -> Unprocessable:
    with pytest.raises(Unprocessable) as refused:
        await fetched(source, url)
    return refused.value


LITERALS = [  # every one of these reaches the canary with a client that does not look
    "http://127.0.0.1:PORT/",
    "http://127.0.0.3:PORT/",
    "http://[::1]:PORT/",
    "http://[::]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.3]:PORT/",
    "http://[::ffff:7f00:3]:PORT/",
    "http://0.0.0.0:PORT/",
    "http://0:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7f.0.0.1:PORT/",
    "http://017700000001:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://user:secret@127.0.0.3:PORT/",
    "http://127.0.0.2@127.0.0.3:PORT/",
    "http://127.0.0.2%2f@127.0.0.3:PORT/",
]
OTHERS = [
    "http://0177.0.0.01:PORT/",
    "http://localhost.:PORT/",
    "http://①②⑦.⓪.⓪.③:PORT/",
    "http://１２７.0.0.3:PORT/",
    "http://127。0。0。3:PORT/",
    "http://inside.test:PORT/",
    "http://inside.test.:PORT/",
    "http://inside6.test:PORT/",
    "http://mapped.test:PORT/",
    "http://both.test:PORT/",
    "http://пример.test:PORT/",
    "http://localhost.localdomain:PORT/",
    "http://[64:ff9b::7f00:3]:PORT/",
    "http://nat64.test:PORT/",
    "http://[2002:7f00:3::]:PORT/",
    "http://[fe80::1%25lo]:PORT/",
    "http://[::ffff:0:127.0.0.3]:PORT/",
    "http://169.254.169.254/latest/meta-data/",
    "http://metadata.test/",
    "http://home.test/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://255.255.255.255/",
    "http://127.0.0.2:PORT\\@127.0.0.3:PORT/",
    "http://127.0.0.2:PORT#@127.0.0.3:PORT/x y",
    "http://127.0.0.3:PORT/\r\nHost: 127.0.0.2",
    "http://127.0.0.2:PORT\r\n@127.0.0.3:PORT/",
    "http://127.0.0.\t3:PORT/",
    "\x00http://127.0.0.3:PORT/",
    " http://127.0.0.3:PORT/",
    "http:/127.0.0.3:PORT/",
    "//127.0.0.3:PORT/",
    "127.0.0.3:PORT/",
    "http://",
    "http://127.0.0.2:0/",
    "http://127.0.0.2:99999/",
    "http://127.0.0.2:22/",
    "http://127.0.0.2:6379/",
    "http://127.0.0.2/:PORT",
    "file:///etc/passwd",
    "file://127.0.0.3/etc/passwd",
    "gopher://127.0.0.3:PORT/_GET",
    "ftp://127.0.0.3:PORT/",
    "dict://127.0.0.3:PORT/",
    "ldap://127.0.0.3:PORT/",
    "jar:http://127.0.0.3:PORT/!/",
    "data:image/png;base64,AAAA",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
]
NOT_FORBIDDEN_BUT_VAIN = {"http://127.0.0.2/:PORT"}  # an allowed address, on which nobody listens


@pytest.mark.parametrize("form", LITERALS + OTHERS)
async def test_hostile_forms_of_a_url_are_refused(web: Web, form: str) -> None:
    """Every known way to write a forbidden place is refused with a type, and nobody knocks at it."""
    refused = await refusal(WebSource(web.settings(), NAMES), web.fill(form))
    expected = (
        RefusalReason.UNFETCHABLE if form in NOT_FORBIDDEN_BUT_VAIN else RefusalReason.FORBIDDEN_ADDRESS
    )
    assert refused.reason is expected
    assert web.canary.connections == 0
    assert not any(inside in refused.detail for inside in ("169.254", "192.168")), "no view of the inside"


async def test_what_is_allowed_is_fetched(web: Web) -> None:
    """The guard lets the public web through: by address, by name, by a name in capitals."""
    for host in (PUBLIC, "public.test", "PUBLIC.test."):
        assert await fetched(WebSource(web.settings(), NAMES), web.public.url("/image", host)) == IMAGE


async def test_without_allowed_addresses_loopback_is_closed(web: Web) -> None:
    """The default setting reaches no address of this machine."""
    refused = await refusal(WebSource(web.settings(allow_addresses=()), NAMES), web.public.url("/image"))
    assert refused.reason is RefusalReason.FORBIDDEN_ADDRESS
    assert web.public.connections == 0


ONWARD = [
    *LITERALS, "http://inside.test:PORT/", "http://both.test:PORT/", "//127.0.0.3:PORT/", "file:///etc/passwd",
    "ftp://127.0.0.3:PORT/", "gopher://127.0.0.3:PORT/",
]  # fmt: skip


@pytest.mark.parametrize("form", ONWARD)
async def test_redirects_are_checked_like_first_steps(web: Web, form: str) -> None:
    """A good address that sends us on to a forbidden one."""
    web.public.answers["/jump"] = redirect(web.fill(form))
    refused = await refusal(WebSource(web.settings(), NAMES), web.public.url("/jump"))
    assert refused.reason in {RefusalReason.FORBIDDEN_ADDRESS, RefusalReason.UNFETCHABLE}
    assert web.canary.connections == 0


async def test_three_redirects_are_followed_and_four_are_not(web: Web) -> None:
    """Chains are short, and a chain may end in a forbidden place only to be refused."""
    for step in range(1, 5):
        web.public.answers[f"/{step}"] = redirect(f"/{step - 1}")
    web.public.answers["/0"] = reply(IMAGE)
    assert await fetched(WebSource(web.settings(), NAMES), web.public.url("/3")) == IMAGE
    refused = await refusal(WebSource(web.settings(), NAMES), web.public.url("/4"))
    assert (refused.reason, refused.detail) == (RefusalReason.UNFETCHABLE, "more than 3 redirects")
    web.public.answers["/0"] = redirect(web.canary.url("/", "127.0.0.3"))
    assert (
        await refusal(WebSource(web.settings(), NAMES), web.public.url("/2"))
    ).reason is RefusalReason.FORBIDDEN_ADDRESS
    assert web.canary.connections == 0


async def test_a_redirect_loop_ends(web: Web) -> None:
    """A page that leads to itself is left after a few rounds."""
    web.public.answers["/loop"] = redirect("/loop")
    assert (
        await refusal(WebSource(web.settings(), NAMES), web.public.url("/loop"))
    ).detail == "more than 3 redirects"
    assert len(web.public.requests) == 4


def rebinding(lookups: list[str]) -> Resolver:
    """The first answer is the public address, every later one is the canary's."""

    def resolve(host: str, port: int, *_: object) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        lookups.append(host)
        return [answer(PUBLIC if len(lookups) == 1 else "127.0.0.3", port)]

    return resolve


async def test_a_name_that_changes_its_mind_gains_nothing(web: Web) -> None:
    """The address that was checked is the address that is connected to; later ones are checked again."""
    lookups: list[str] = []
    async with aclosing(WebSource(web.settings(), rebinding(lookups))) as source:
        assert await source.get(web.public.url("/image", "rebind.test")) == IMAGE
        assert len(lookups) == 1
        with pytest.raises(Unprocessable) as refused:
            await source.get(web.public.url("/image", "rebind.test"))
    assert refused.value.reason is RefusalReason.FORBIDDEN_ADDRESS
    assert web.canary.connections == 0


async def test_proxies_credentials_and_cookies_of_this_machine_are_not_used(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """The environment's proxies and netrc are ignored; a cookie is not brought back."""
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write(f"machine {PUBLIC} login alice password secret\n")
    monkeypatch.setenv("NETRC", netrc)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, web.canary.url("", "127.0.0.3"))
    web.public.answers["/cookie"] = reply(IMAGE, "200 OK", "Set-Cookie: seen=yes; Path=/")
    async with aclosing(WebSource(web.settings(), NAMES)) as source:
        await source.get(web.public.url("/cookie"))
        await source.get(web.public.url("/image"))
    heads = "".join(web.public.requests).lower()
    assert len(web.public.requests) == 2
    assert "authorization" not in heads and "cookie:" not in heads
    assert web.canary.connections == 0


async def test_a_compressed_bomb_is_not_unpacked(web: Web) -> None:
    """The limit counts what comes out: 100 MB of nothing that arrive as 100 kB."""
    bomb = gzip.compress(bytes(100_000_000), 9)
    assert len(bomb) < LIMIT
    web.public.answers["/bomb"] = reply(bomb, "200 OK", "Content-Encoding: gzip")
    refused = await refusal(WebSource(web.settings(), NAMES), web.public.url("/bomb"))
    assert refused.reason is RefusalReason.TOO_LARGE
    assert len(Unpacking("gzip")(bomb, 1000)) == 1000, "no more is unpacked than there is room for"


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "compress", "gzip;q=1"])
async def test_layers_of_compression_are_refused(web: Web, encoding: str) -> None:
    """Only the plain encodings, once: nested ones multiply."""
    body = gzip.compress(gzip.compress(bytes(1_000_000)))
    web.public.answers["/layers"] = reply(body, "200 OK", f"Content-Encoding: {encoding}")
    refused = await refusal(WebSource(web.settings(), NAMES), web.public.url("/layers"))
    assert refused.reason is RefusalReason.UNFETCHABLE


async def test_honest_compression_is_undone(web: Web) -> None:
    """A server that compresses although it was asked not to is understood."""
    for encoding, body in (
        ("gzip", gzip.compress(IMAGE)),
        ("deflate", zlib.compress(IMAGE)),
        ("identity", IMAGE),
    ):
        web.public.answers["/packed"] = reply(body, "200 OK", f"Content-Encoding: {encoding}")
        assert await fetched(WebSource(web.settings(), NAMES), web.public.url("/packed")) == IMAGE


async def test_an_endless_body_is_cut_off(web: Web) -> None:
    """Without a length, reading stops at the limit, and the connection is closed."""
    closed = asyncio.Event()

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(bytes(10_000))
                await writer.drain()
        except ConnectionError:
            closed.set()

    web.public.answers["/endless"] = endless
    refused = await refusal(WebSource(web.settings(), NAMES), web.public.url("/endless"))
    assert refused.reason is RefusalReason.TOO_LARGE
    await asyncio.wait_for(closed.wait(), 10)


async def test_a_length_over_the_limit_is_not_read(web: Web) -> None:
    """The header alone is enough."""
    web.public.answers["/large"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"
    assert (
        await refusal(WebSource(web.settings(), NAMES), web.public.url("/large"))
    ).reason is RefusalReason.TOO_LARGE


def drip(opening: bytes, drop: bytes) -> Callable[[asyncio.StreamWriter], object]:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(opening)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    "opening",
    [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"],
    ids=["head", "body"],
)
async def test_a_dripping_server_does_not_hold_us(web: Web, opening: bytes) -> None:
    """One deadline for the whole: a byte now and then does not renew it."""
    web.public.answers["/drip"] = drip(opening, b"x")  # type: ignore[assignment]
    refused = await refusal(WebSource(web.settings(fetch_seconds=0.5), NAMES), web.public.url("/drip"))
    assert (refused.reason, refused.detail) == (RefusalReason.UNFETCHABLE, "took more than 0.5 s")


async def test_a_dripping_chain_of_redirects_has_one_deadline(web: Web) -> None:
    """Redirects do not renew it either."""

    async def later(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(redirect("/later"))

    web.public.answers["/later"] = later
    refused = await refusal(WebSource(web.settings(fetch_seconds=0.5), NAMES), web.public.url("/later"))
    assert refused.detail == "took more than 0.5 s"


async def test_a_name_server_that_hangs_does_not_hold_us(web: Web) -> None:
    """The lookup runs in a thread that nobody can stop; the refusal does not wait for it."""
    release = threading.Event()

    def hanging(host: str, port: int, *_: object) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        release.wait(30)
        return [answer("127.0.0.3", port)]

    async with aclosing(WebSource(web.settings(fetch_seconds=0.3), hanging)) as source:
        with pytest.raises(Unprocessable, match=r"took more than 0\.3 s"):
            await source.get(web.public.url("/image", "hangs.test"))
        assert not release.is_set()
        release.set()
    assert web.canary.connections == 0


# Controls: the same canary, without the guard. If these did not hit it, the tests above would prove nothing.


@pytest.mark.parametrize("form", LITERALS)
async def test_control_an_unguarded_client_hits_the_canary(web: Web, form: str) -> None:
    """Each literal form reaches the canary when nobody looks, at once and by redirect."""
    web.public.answers["/jump"] = redirect(web.fill(form))
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as unguarded:
        await unguarded.get(web.fill(form))
        await unguarded.get(web.public.url("/jump"))
    assert web.canary.connections == 2


@pytest.mark.parametrize("name", ["inside.test", "inside6.test", "localhost"])
async def test_control_the_names_lead_to_the_canary(web: Web, name: str) -> None:
    """With the forbidden addresses allowed, the same names reach it."""
    everywhere = web.settings(allow_addresses=("127.0.0.0/8", "::1/128"))
    assert (await refusal(WebSource(everywhere, NAMES), web.canary.url("/", name))).detail == "404 Not Found"
    assert web.canary.connections == 1


async def test_control_checking_first_and_connecting_later_hits_the_canary(web: Web) -> None:
    """The usual mistake: look a name up, approve it, and let the client look it up again."""
    resolve = rebinding([])
    first = resolve("rebind.test", web.public.port)
    assert [found[4][0] for found in first] == [PUBLIC], "approved"
    second = next(iter(resolve("rebind.test", web.public.port)))[4][0]
    async with httpx.AsyncClient(trust_env=False) as unguarded:
        await unguarded.get(web.public.url("/image", str(second)))
    assert web.canary.connections == 1


async def test_control_the_proxy_of_the_environment_is_the_canary(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that trusts its environment asks the canary for everything."""
    monkeypatch.setenv("HTTP_PROXY", web.canary.url("", "127.0.0.3"))
    async with httpx.AsyncClient() as trusting:
        await trusting.get(web.public.url("/image"))
    assert web.canary.connections == 1
