"""The web, as an engine: bytes behind a URL that a stranger gave.

`ssrfguard` resolves a name once, checks every address, connects to an address that it checked, and checks
every redirect anew. (Of the guards compared, one connects to an address before it refuses it, and one ties
TLS to a rewritten URL.) Other people's hosts are waited for briefly: they must not hold up a partition.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Coroutine
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv6Network
from typing import Any, TypeVar

import httpx
import stamina
from ssrfguard import (
    DEFAULT_DENIED,
    AddressTable,
    Block,
    BlockedAddressError,
    BlockedURLError,
    Policy,
    Reach,
    Resolver,
    SSRFGuardError,
    TooManyRedirectsError,
)
from ssrfguard.httpx import AsyncClient

from captionstream.contracts.messages import RefusalReason
from captionstream.runtime.errors import Unprocessable
from services.ingest.fetch import too_large
from services.ingest.settings import IngestSettings

T = TypeVar("T")
LONGEST_PAUSE_S = 2.0
UNCOMPRESSED = {"", "identity"}
COMPRESSED = {"gzip", "x-gzip", "deflate"}
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
TRANSLATED = Block(  # IPv4 in another dress, which the library's table does not have
    IPv6Network("::ffff:0:0:0/96"), "IPv4-translated Address", "RFC2765", Reach.DENIED
)
HEADERS = {"User-Agent": "captionstream", "Accept": "image/*", "Accept-Encoding": "identity"}


class Away(Exception):
    """The host did not answer, or not now. `pause_s` is what it asked for, if it did."""

    def __init__(self, detail: str, pause_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pause_s = pause_s


class WebSource:
    """`get(url)`. `resolver` stands in for `socket.getaddrinfo`; its answers are checked like any other."""

    def __init__(self, settings: IngestSettings, resolver: Resolver | None = None) -> None:
        self._settings = settings
        self._policy = policy_of(settings)
        self._client = client_of(settings, self._policy, resolver)

    async def get(self, url: str) -> bytes:
        """The body, decompressed. Raises Unprocessable."""
        seconds = self._settings.fetch_seconds
        try:
            return await within_seconds(seconds, self._with_retries(url))
        except TimeoutError:
            raise unfetchable(f"took more than {seconds:g} s") from None
        except Away as away:
            raise unfetchable(away.detail) from None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _with_retries(self, url: str) -> bytes:
        tries = self._settings.fetch_attempts
        attempts = stamina.retry_context(
            on=worth_another_try, attempts=tries, timeout=None, wait_max=LONGEST_PAUSE_S
        )
        async for attempt in attempts:
            with attempt:
                return await self._once(url)
        raise AssertionError("unreachable: the last attempt raises")

    async def _once(self, url: str) -> bytes:
        """Library exceptions end here."""
        try:
            self._policy.check_url(url)  # as it was written, before another parser reads it
            async with self._client.stream("GET", url) as response:
                check_status(response)
                return await bounded_body(response, self._settings.max_bytes)
        except SSRFGuardError as blocked:
            raise refusal_of(blocked) from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise unfetchable("not a URL that can be followed") from None
        except httpx.TransportError as failed:
            raise failure_of(failed) from None


def policy_of(settings: IngestSettings) -> Policy:
    return Policy(
        denied_networks=AddressTable((*DEFAULT_DENIED.blocks, TRANSLATED)),
        allowed_networks=settings.allow_addresses,  # type: ignore[arg-type]  # text is parsed by the policy
        allowed_ports=frozenset(settings.ports),
        max_redirects=settings.max_redirects,
    )


def client_of(settings: IngestSettings, policy: Policy, resolver: Resolver | None) -> AsyncClient:
    """A client without memory: no cookies, no proxies, no credentials of this machine."""
    return AsyncClient(
        policy=policy,
        resolver=resolver,
        follow_redirects=True,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers=HEADERS,
        timeout=httpx.Timeout(settings.fetch_seconds),
        verify=ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True,
    )


async def within_seconds(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result, or TimeoutError on time: even while a name lookup hangs, as nobody can interrupt that."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()


def worth_another_try(problem: Exception) -> bool | float:
    """A host that asks for a longer pause than we have is not asked again."""
    if not isinstance(problem, Away):
        return False
    return True if problem.pause_s is None else problem.pause_s <= LONGEST_PAUSE_S and problem.pause_s


def check_status(response: httpx.Response) -> None:
    """Raises Away for what may pass, Unprocessable for what will not."""
    code = response.status_code
    if response.is_success:
        return
    if code == HTTPStatus.TOO_MANY_REQUESTS or response.is_server_error:
        raise Away(phrase(code), retry_after(response))
    raise unfetchable(phrase(code))


def phrase(code: int) -> str:
    """`404 Not Found`, in our words: the server's own could say anything."""
    known = code in HTTPStatus._value2member_map_
    return f"{code} {HTTPStatus(code).phrase}" if known else f"status {code}"


def retry_after(response: httpx.Response) -> float | None:
    """Seconds; the other form of the header, a date, is not worth a clock's agreement."""
    given = response.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() else None


async def bounded_body(response: httpx.Response, max_bytes: int) -> bytes:
    """The body, of which no more than the limit is ever held, compressed or not."""
    if int(response.headers.get("content-length", 0)) > max_bytes:
        raise too_large(max_bytes)
    unpack = Unpacking(response.headers.get("content-encoding", "").strip().lower())
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += unpack(chunk, max_bytes - len(body) + 1)
        if len(body) > max_bytes:
            raise too_large(max_bytes)
    return bytes(body)


class Unpacking:
    """Undoes a Content-Encoding that we asked not to get, never unpacking more than there is room for."""

    def __init__(self, encoding: str) -> None:
        if encoding not in UNCOMPRESSED | COMPRESSED:
            raise unfetchable("a content encoding that was not asked for")
        self._inflate = zlib.decompressobj(GZIP_OR_ZLIB) if encoding in COMPRESSED else None

    def __call__(self, chunk: bytes, room: int) -> bytes:
        """At most `room` bytes."""
        if self._inflate is None:
            return chunk[:room]
        try:
            return self._inflate.decompress(chunk, room)
        except zlib.error:
            raise unfetchable("broken content encoding") from None


def refusal_of(blocked: SSRFGuardError) -> Unprocessable:
    """Where a name leads inside our network is not told to the publisher."""
    if isinstance(blocked, TooManyRedirectsError):
        return unfetchable(f"more than {blocked.limit} redirects")
    if isinstance(blocked, BlockedURLError) and not isinstance(blocked.__cause__, BlockedAddressError):
        return Unprocessable(RefusalReason.FORBIDDEN_ADDRESS, f"the URL {blocked.reason}"[:300])
    return Unprocessable(RefusalReason.FORBIDDEN_ADDRESS, "the address is not a public one")


def failure_of(failed: httpx.TransportError) -> Exception:
    if is_untrusted(failed):
        return unfetchable("the certificate of the host is not trusted")
    match failed:
        case httpx.TimeoutException():
            return Away("the host did not answer in time")
        case httpx.ConnectError():
            return Away("the host could not be reached")
    return Away("the host broke off its answer")


def is_untrusted(failed: BaseException | None) -> bool:
    while failed is not None and not isinstance(failed, ssl.SSLCertVerificationError):
        failed = failed.__cause__ or failed.__context__
    return failed is not None


def unfetchable(detail: str) -> Unprocessable:
    return Unprocessable(RefusalReason.UNFETCHABLE, detail)
