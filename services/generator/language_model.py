"""A language model behind an OpenAI-compatible API: the one file that talks to it.

    away, busy, failing, misconfigured, cut off                                      Unavailable
    refuses this request, answers nonsense, writes too much, cannot be put this task Unusable

Nothing of a prompt or an answer is logged.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
from opentelemetry import trace
from pydantic import SecretStr, ValidationError

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Decoding, Egress, Usage
from captionstream.contracts.values import ModelReference
from captionstream.runtime.errors import Unavailable
from captionstream.telemetry import metrics, names, tracing
from services.generator.connections import kept
from services.generator.grammar import Literal
from services.generator.openai.json_answer import sentence
from services.generator.openai.outcomes import check_status
from services.generator.openai.request import Json, request
from services.generator.openai.stream import pieces
from services.generator.openai_settings import OpenAISettings, Output
from services.generator.prompt import Prompt
from services.generator.settings import GeneratorSettings
from services.generator.writer import Piece, Task, Unusable

ENGINE = "language model"
LISTING_BYTES, ERROR_BYTES = 1024 * 1024, 16 * 1024
CONNECT_S = 2.0
PORTS = {"https": 443, "http": 80}
PROBE = Task(Prompt("You answer in one word.", "Are you there?"), Literal("yes"))


@dataclass
class LanguageModel:
    """A writer over HTTP. `client` has the API's base address and keeps its connections."""

    client: httpx.AsyncClient
    told: OpenAISettings
    _model: ModelReference | None = field(default=None, repr=False)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, told: GeneratorSettings | OpenAISettings, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[LanguageModel]:
        """`environment` holds the key that an engine's settings name. Raises Misconfigured without it."""
        if isinstance(told, GeneratorSettings):
            engine, key = engine_of(told), told.api_key
        else:
            engine, key = told, told.key(environment or {})
        async with httpx.AsyncClient(
            base_url=engine.url.rstrip("/") + "/",
            headers=headers(key),
            timeout=httpx.Timeout(engine.timeout_s, connect=min(CONNECT_S, engine.timeout_s)),
            limits=kept(engine.connections),
            trust_env=False,
        ) as client:
            yield cls(client, engine)

    @property
    def decoding(self) -> Decoding:
        return Decoding(
            seed=self.told.seed,
            temperature=self.told.temperature,
            max_tokens=self.told.max_tokens,
            constrained=self.told.output is Output.GRAMMAR,
        )

    async def model(self, task: Task | None = None) -> ModelReference:
        """The model that is served, with a digest of what its server tells of it."""
        if self._model is None:
            listing = await self._listing() if self.told.lists_models else listing_of(self.told)
            self._model = chosen(self.told.name, listing, self.told.model)
        return self._model

    async def _listing(self) -> Any:
        try:
            async with self.client.stream("GET", "models") as response:
                check_status(self.told.name, response.status_code, response.headers)
                body = await start_of(response, LISTING_BYTES)
            return json.loads(body)
        except httpx.HTTPError as away:
            raise Unavailable(self.told.name, type(away).__name__) from away
        except (ValueError, Unusable) as nonsense:
            raise Unavailable(self.told.name, "its list of models cannot be read") from nonsense

    async def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        model = await self.model()
        body = request(task, model.name, self.told)
        try:
            with (
                tracing.asking(f"chat {model.name}", self._attributes(model)) as span,
                metrics.ENGINE_SECONDS.labels(self.told.name, model.name).time(),
            ):
                response = await self._asked(body, tracing.headers_of(span))
                async with aclosing(response), aclosing(self._answer(task, response)) as answer:
                    async for written in noted_first(answer, span):
                        yield written
        except httpx.HTTPError as away:
            self._model = None  # whoever comes back may be another
            raise Unavailable(self.told.name, type(away).__name__) from away

    async def _answer(self, task: Task, response: httpx.Response) -> AsyncGenerator[Piece | Usage, None]:
        """What the response says of the sentence, as it comes."""
        if not response.is_success:
            refusal = await start_of(response, ERROR_BYTES)
            check_status(self.told.name, response.status_code, response.headers, refusal)
        answer = pieces(self.told.name, response, self.told.price)
        if self.told.output is Output.SCHEMA:
            answer = sentence(task, answer)
        async with aclosing(answer):
            async for written in answer:
                yield written

    def _attributes(self, model: ModelReference) -> tracing.Attributes:
        """What a span says of a request: who is asked, and how; nothing of what."""
        address = self.client.base_url
        return {
            names.GEN_AI_OPERATION: "chat",
            names.GEN_AI_PROVIDER: model.version or "openai",
            names.GEN_AI_MODEL: model.name,
            names.GEN_AI_MAX_TOKENS: self.told.max_tokens,
            names.GEN_AI_TEMPERATURE: self.told.temperature,
            names.GEN_AI_SEED: self.told.seed,
            names.GEN_AI_STREAM: True,
            names.SERVER_ADDRESS: address.host,
            names.SERVER_PORT: address.port or PORTS[address.scheme],
        }

    async def _asked(self, body: Json, traced: dict[str, str]) -> httpx.Response:
        """The start of the answer. A kept connection that the server has closed is replaced, once."""
        request = partial(self.client.build_request, "POST", "chat/completions", json=body, headers=traced)
        try:
            return await self.client.send(request(), stream=True)
        except httpx.RemoteProtocolError:
            return await self.client.send(request(), stream=True)

    async def probe(self) -> None:
        """One word, in text, held to as the sentences are. Looks the model up anew: it may be another."""
        self._model = None
        blind = replaced(self, sends=Egress.TEXT)
        try:
            text = "".join([piece.text async for piece in blind.write(PROBE) if isinstance(piece, Piece)])
        except Unusable as unusable:
            text = unusable.reason
        self._model = blind._model
        if self.told.output is Output.GRAMMAR and text != "yes":
            raise Unavailable(self.told.name, f"does not keep to a grammar: {text[:80]!r}")


def replaced(model: LanguageModel, **changes: Any) -> LanguageModel:
    """The same connections under other settings."""
    return LanguageModel(model.client, model.told.model_copy(update=changes))


def engine_of(told: GeneratorSettings) -> OpenAISettings:
    """The one language model of the generator's own settings."""
    return OpenAISettings(
        name=ENGINE,
        url=told.language_model,
        model=told.model,
        local=True,
        output=Output.GRAMMAR if told.constrained else Output.FREE,
        max_tokens=told.max_tokens,
        temperature=told.temperature,
        seed=told.seed,
        connections=told.connections,
    )


def headers(key: SecretStr | None) -> dict[str, str]:
    """Without compression: a small answer must not grow in our memory."""
    fixed = {"accept-encoding": "identity", "user-agent": "captionstream"}
    return fixed if key is None else {**fixed, "authorization": f"Bearer {key.get_secret_value()}"}


def listing_of(told: OpenAISettings) -> Any:
    """What is known of the model of a server that tells nothing: its name."""
    return {"data": [{"id": told.model}]}


def chosen(engine: str, listing: Any, wanted: str | None) -> ModelReference:
    """The wanted or else the first model of a `/models` answer. Raises Unavailable if there is none."""
    try:
        entries = [entry for entry in listing["data"] if wanted is None or entry["id"] == wanted]
        entry = entries[0]
        told = {key: value for key, value in entry.items() if key != "created"}
        digest = sha256_hex(json.dumps(told, sort_keys=True).encode())
        return ModelReference(name=entry["id"], version=str(entry.get("owned_by", "")), digest=digest)
    except (LookupError, TypeError, AttributeError, ValidationError):
        raise Unavailable(engine, f"{wanted or 'no model'} is not served") from None


async def start_of(response: httpx.Response, most: int) -> bytes:
    """The body, or of a longer one its first `most` bytes, which no longer are JSON."""
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > most:
            return body[:most]
    return body


async def noted_first(answer: AsyncIterator[Piece | Usage], span: trace.Span) -> AsyncIterator[Piece | Usage]:
    """The answer; the span is told after how many seconds the first of it came."""
    begun, waiting = time.monotonic(), True
    async for written in answer:
        if waiting:
            span.set_attribute(names.GEN_AI_FIRST_CHUNK, time.monotonic() - begun)
            waiting = False
        yield written
