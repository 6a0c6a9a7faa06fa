"""A language model behind an OpenAI-compatible API: the one file that talks to it.

    away, busy, failing (5xx, 408, 429), misconfigured (401, 403, 404), cut off   Unavailable
    refuses this request, answers nonsense, writes too much                       Unusable

Nothing of a prompt or an answer is logged.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import httpx
from opentelemetry import trace
from pydantic import BaseModel, ValidationError

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Decoding
from captionstream.contracts.values import ModelReference
from captionstream.runtime.errors import Unavailable
from captionstream.telemetry import metrics, names, tracing
from services.generator.grammar import Literal, gbnf
from services.generator.prompt import Prompt
from services.generator.settings import GeneratorSettings
from services.generator.writer import Piece, Task, Unusable

ENGINE = "language model"
ANSWER_BYTES = 256 * 1024  # of one event stream: a sentence needs about 30 KiB
LISTING_BYTES = 1024 * 1024
DRAIN_S = 0.5
KEPT_S = 2.0  # shorter than the 5 s after which llama.cpp closes an idle connection
TIMEOUT = httpx.Timeout(10.0, connect=2.0)
NOT_THIS_REQUEST = {401, 403, 404, 408, 425, 429}  # and all from 500: another request would fare no better
PROBE = Task(Prompt("You answer in one word.", "Are you there?"), Literal("yes"))


class Delta(BaseModel):
    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    delta: Delta = Delta()
    finish_reason: str | None = None


class Chunk(BaseModel):
    """One event of the stream, as far as we read it."""

    choices: list[Choice] = []
    error: Any = None


@dataclass
class LanguageModel:
    """A writer over HTTP. `client` has the API's base address and keeps its connections."""

    client: httpx.AsyncClient
    decoding: Decoding
    wanted: str | None = None
    _model: ModelReference | None = field(default=None, repr=False)

    @classmethod
    @asynccontextmanager
    async def open(cls, told: GeneratorSettings) -> AsyncIterator[LanguageModel]:
        limits = httpx.Limits(
            max_connections=told.connections,
            max_keepalive_connections=told.connections,
            keepalive_expiry=KEPT_S,
        )
        async with httpx.AsyncClient(
            base_url=told.language_model.rstrip("/") + "/",
            headers=headers(told),
            timeout=TIMEOUT,
            limits=limits,
            trust_env=False,
        ) as client:
            decoding = Decoding(
                seed=told.seed,
                temperature=told.temperature,
                max_tokens=told.max_tokens,
                constrained=told.constrained,
            )
            yield cls(client, decoding, told.model)

    async def model(self, task: Task | None = None) -> ModelReference:
        """The model that is served, with a digest of what its server tells of it."""
        if self._model is None:
            self._model = chosen(await self._listing(), self.wanted)
        return self._model

    async def _listing(self) -> Any:
        body = b""
        try:
            async with self.client.stream("GET", "models") as response:
                check_status(response)
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > LISTING_BYTES:
                        raise Unavailable(ENGINE, "an endless list of models")
            return json.loads(body)
        except httpx.HTTPError as away:
            raise Unavailable(ENGINE, type(away).__name__) from away
        except (ValueError, Unusable) as nonsense:
            raise Unavailable(ENGINE, "its list of models cannot be read") from nonsense

    async def write(self, task: Task) -> AsyncGenerator[Piece, None]:
        model = await self.model()
        body = request(task, model.name, self.decoding)
        try:
            with (
                tracing.asking(f"chat {model.name}", self._told(model)) as span,
                metrics.ENGINE_SECONDS.labels(ENGINE, model.name).time(),
            ):
                response = await self._asked(body, tracing.headers_of(span))
                async with aclosing(response):
                    check_status(response)
                    async for piece in noted_first(pieces(response), span):
                        yield Piece(piece)
        except httpx.HTTPError as away:
            self._model = None  # whoever comes back may be another
            raise Unavailable(ENGINE, type(away).__name__) from away

    def _told(self, model: ModelReference) -> tracing.Attributes:
        """What a span says of a request: who is asked, and how; nothing of what."""
        return {
            names.GEN_AI_OPERATION: "chat",
            names.GEN_AI_PROVIDER: model.version or "openai",
            names.GEN_AI_MODEL: model.name,
            names.GEN_AI_MAX_TOKENS: self.decoding.max_tokens,
            names.GEN_AI_TEMPERATURE: self.decoding.temperature,
            names.GEN_AI_SEED: self.decoding.seed,
            names.GEN_AI_STREAM: True,
            names.SERVER_ADDRESS: self.client.base_url.host,
            names.SERVER_PORT: self.client.base_url.port
            or (443 if self.client.base_url.scheme == "https" else 80),
        }

    async def _asked(self, body: dict[str, Any], traced: dict[str, str]) -> httpx.Response:
        """The start of the answer. A kept connection that the server has closed is replaced, once."""
        request = partial(self.client.build_request, "POST", "chat/completions", json=body, headers=traced)
        try:
            return await self.client.send(request(), stream=True)
        except httpx.RemoteProtocolError:
            return await self.client.send(request(), stream=True)

    async def probe(self) -> None:
        """One word, under a grammar if grammars are used. Looks the model up anew: it may be another."""
        self._model = None
        try:
            text = "".join([piece.text async for piece in self.write(PROBE)])
        except Unusable as unusable:
            text = unusable.reason
        if self.decoding.constrained and text != "yes":
            raise Unavailable(ENGINE, f"does not keep to a grammar: {text[:80]!r}")


def headers(told: GeneratorSettings) -> dict[str, str]:
    """Without compression: a small answer must not grow in our memory."""
    fixed = {"accept-encoding": "identity", "user-agent": "captionstream"}
    if told.api_key is None:
        return fixed
    return {**fixed, "authorization": f"Bearer {told.api_key.get_secret_value()}"}


def request(task: Task, model: str, decoding: Decoding) -> dict[str, Any]:
    """The body of a chat completion; `grammar` is llama.cpp's own field."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": task.prompt.system},
            {"role": "user", "content": task.prompt.user},
        ],
        "stream": True,
        "seed": decoding.seed,
        "temperature": decoding.temperature,
        "max_tokens": decoding.max_tokens,
    }
    return {**body, "grammar": gbnf(task.allowed)} if decoding.constrained else body


def chosen(listing: Any, wanted: str | None) -> ModelReference:
    """The wanted or else the first model of a `/models` answer. Raises Unavailable if there is none."""
    try:
        entries = [entry for entry in listing["data"] if wanted is None or entry["id"] == wanted]
        entry = entries[0]
        told = {key: value for key, value in entry.items() if key != "created"}
        digest = sha256_hex(json.dumps(told, sort_keys=True).encode())
        return ModelReference(name=entry["id"], version=str(entry.get("owned_by", "")), digest=digest)
    except (LookupError, TypeError, AttributeError, ValidationError):
        raise Unavailable(ENGINE, f"{wanted or 'no model'} is not served") from None


def check_status(response: httpx.Response) -> None:
    """Raises Unavailable or Unusable unless it is a success."""
    status = response.status_code
    if status in NOT_THIS_REQUEST or status >= 500 or 300 <= status < 400:
        raise Unavailable(ENGINE, f"HTTP {status}", retry_after(response.headers.get("retry-after"), now()))
    if status >= 400:
        raise Unusable(f"the request was refused: HTTP {status}")


def retry_after(value: str | None, moment: datetime) -> float | None:
    """Seconds to wait, from a number of seconds or a date; None where the header says nothing sensible."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - moment).total_seconds())


def now() -> datetime:
    return datetime.now(UTC)


async def pieces(response: httpx.Response) -> AsyncIterator[str]:
    """The text of a streamed chat completion. Raises Unusable, or Unavailable if the stream breaks off."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        raise Unusable("the answer is no event stream")
    stream = events(response)
    async for data in stream:
        choice = only_choice(data)
        if choice.delta.content:
            yield choice.delta.content
        if choice.finish_reason is not None or choice.delta.refusal:
            check_end(choice)
            await drained(stream)
            return
    raise Unavailable(ENGINE, "the stream broke off")


async def noted_first(texts: AsyncIterator[str], span: trace.Span) -> AsyncIterator[str]:
    """The pieces; the span is told after how many seconds the first one came."""
    begun, waiting = time.monotonic(), True
    async for text in texts:
        if waiting:
            span.set_attribute(names.GEN_AI_FIRST_CHUNK, time.monotonic() - begun)
            waiting = False
        yield text


async def drained(stream: AsyncIterator[bytes]) -> None:
    """Reads what follows the last word: only a connection that was read to its end can be used again."""
    try:
        async with asyncio.timeout(DRAIN_S):
            async for _ in stream:
                pass
    except (TimeoutError, Unusable, httpx.HTTPError):
        return


async def events(response: httpx.Response) -> AsyncIterator[bytes]:
    """The data of each server-sent event. Raises Unusable after ANSWER_BYTES."""
    rest, read = b"", 0
    async for part in response.aiter_bytes():
        read += len(part)
        if read > ANSWER_BYTES:
            raise Unusable("the answer does not end")
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").strip()


def only_choice(data: bytes) -> Choice:
    """The one choice of an event; an event without any, such as the usage, adds nothing."""
    if data == b"[DONE]":
        return Choice(finish_reason="stop")
    try:
        chunk = Chunk.model_validate_json(data)
    except ValidationError:
        raise Unusable("the stream holds something else than completions") from None
    if chunk.error is not None:
        raise Unavailable(ENGINE, "failed in the middle of a sentence")
    return chunk.choices[0] if chunk.choices else Choice()


def check_end(choice: Choice) -> None:
    """Raises Unusable unless the model itself ended the text."""
    if choice.delta.refusal or choice.finish_reason == "content_filter":
        raise Unusable("the model refused")
    if choice.finish_reason == "length":
        raise Unusable("the sentence is too long")
