"""A streamed chat completion, read event by event: pieces of text, and the count at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from captionstream.contracts.messages import Usage
from captionstream.runtime.errors import Unavailable
from services.generator.openai.outcomes import check_end
from services.generator.openai_settings import Price
from services.generator.writer import Piece, Unusable

ANSWER_BYTES = 256 * 1024  # of one event stream: a sentence needs about 30 KiB, with probabilities 100
DRAIN_S = 0.5
DONE = b"[DONE]"


class Delta(BaseModel):
    content: str | None = None
    refusal: str | None = None


class Token(BaseModel):
    logprob: float


class Logprobs(BaseModel):
    content: list[Token] | None = None


class Choice(BaseModel):
    delta: Delta = Delta()
    finish_reason: str | None = None
    logprobs: Logprobs | None = None

    @property
    def ends(self) -> bool:
        return self.finish_reason is not None or bool(self.delta.refusal)

    @property
    def logprob(self) -> float | None:
        """Of the whole piece: its tokens come one after the other, so their logarithms add up."""
        tokens = self.logprobs.content if self.logprobs else None
        return min(0.0, sum(token.logprob for token in tokens)) if tokens else None


class CachedTokens(BaseModel):
    cached_tokens: int | None = None


class Count(BaseModel):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: CachedTokens | None = None


class Chunk(BaseModel):
    """One event of the stream, as far as we read it."""

    choices: list[Choice] = []
    usage: Count | None = None
    error: Any = None


async def pieces(
    engine: str, response: httpx.Response, price: Price | None = None
) -> AsyncGenerator[Piece | Usage, None]:
    """What is written, then what it cost, if the server tells. Raises Unusable, or Unavailable if cut off."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        raise Unusable("the answer is no event stream")
    stream = events(response)
    async for data in stream:
        chunk = chunk_of(engine, data)
        choice = chunk.choices[0] if chunk.choices else Choice()
        if choice.delta.content:
            yield Piece(choice.delta.content, choice.logprob)
        if choice.ends:
            count = await counted(engine, stream) or chunk.usage
            if count is not None:
                yield usage(count, price)
            check_end(engine, choice.finish_reason, choice.delta.refusal)
            return
    raise Unavailable(engine, "the stream broke off")


def chunk_of(engine: str, data: bytes) -> Chunk:
    if data == DONE:
        return Chunk(choices=[Choice(finish_reason="stop")])
    try:
        chunk = Chunk.model_validate_json(data)
    except ValidationError:
        raise Unusable("the stream holds something else than completions") from None
    if chunk.error is not None:
        raise Unavailable(engine, "failed in the middle of a sentence")
    return chunk


async def counted(engine: str, stream: AsyncIterator[bytes]) -> Count | None:
    """Reads what follows the last word: the usage, and only a connection that was read to its end can be used
    again. Whatever goes wrong here, the sentence stands."""
    found: Count | None = None
    try:
        async with asyncio.timeout(DRAIN_S):
            async for data in stream:
                found = chunk_of(engine, data).usage or found
    except (TimeoutError, Unusable, Unavailable, httpx.HTTPError):
        return found
    return found


def usage(count: Count, price: Price | None) -> Usage:
    details = count.prompt_tokens_details
    told = Usage(
        input_tokens=max(0, count.prompt_tokens),
        output_tokens=max(0, count.completion_tokens),
        cached_tokens=max(0, (details.cached_tokens if details else 0) or 0),
    )
    if price is None:
        return told
    return told.model_copy(update={"cost": price.of(told), "currency": price.currency})


async def events(response: httpx.Response) -> AsyncGenerator[bytes, None]:
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
