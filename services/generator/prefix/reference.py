"""The reference engine as this process sees it: a server beside it that has torch (reference_server.py).

away, failing (5xx), not the model (404: it looks again), cut off     Unavailable
refuses this request (4xx), cannot go on with it                      Unusable
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import httpx
from pydantic import ValidationError

from captionstream.runtime.errors import Unavailable
from services.generator.connections import kept
from services.generator.prefix.batch import Token
from services.generator.prefix.binding import FREE, binding_of
from services.generator.prefix.engine import Decoding
from services.generator.prefix.prompt import Asked, ChatTemplate, Message, Speller
from services.generator.writer import Task, Unusable
from triton_models.registry import SplitModel
from triton_models.vision_language import visual_tokens
from triton_models.vision_language.reference import Failed, Said, Wanted, line
from triton_models.vision_language.visual_tokens import VisualTokens

ENGINE = "reference engine"
TIMEOUT = httpx.Timeout(120.0, connect=2.0)
"""Between two tokens: the first one waits for the model to be loaded and for those who were there before."""
CONNECTIONS = 32


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """`url` is of the server, for example http://127.0.0.1:8190."""
    async with httpx.AsyncClient(
        base_url=url.rstrip("/") + "/", timeout=TIMEOUT, limits=kept(CONNECTIONS), trust_env=False
    ) as client:
        yield client


@dataclass(frozen=True)
class ReferenceHalf:
    """One language half behind the server. Texts are made here, by the model's own tokenizer."""

    model: SplitModel
    client: httpx.AsyncClient
    template: ChatTemplate = field(repr=False)
    how: str = "transformers fp32"

    @classmethod
    async def open(cls, model: SplitModel, client: httpx.AsyncClient) -> ReferenceHalf:
        """Asks nobody: the server loads the model when it is first asked for. Raises DoesNotFit."""
        template = await asyncio.to_thread(ChatTemplate.open, model.halves.split, model.language)
        return cls(model, client, template)

    def asked(self, messages: Sequence[Message], seen: Sequence[VisualTokens]) -> Asked:
        """Raises DoesNotFit."""
        return self.template.asked(messages, seen)

    async def write(self, asked: Asked, decoding: Decoding, task: Task | None) -> AsyncGenerator[Token, None]:
        """Token for token, bound by the task as in the engine of this process. Closing the generator ends the work
        over there.

        Raises Unavailable or Unusable.
        """
        speller = Speller(self.template.tokenizer, decoding.stop)
        async with aclosing(self._said(_wanted(self.model, asked, decoding, task))) as lines:
            async for said in lines:
                yield _token(said, speller)

    async def close(self) -> None:
        """The server lets go of a model by itself."""

    async def _said(self, wanted: Wanted) -> AsyncGenerator[Said, None]:
        body = wanted.model_dump_json().encode()
        headers = {"content-type": "application/json"}
        try:
            async with self.client.stream("POST", "write", content=body, headers=headers) as response:
                await _check_status(response)
                async for data in response.aiter_lines():
                    said = _read(data)
                    yield said
                    if said.finish is not None:
                        return
        except httpx.HTTPError as away:
            raise Unavailable(ENGINE, type(away).__name__) from away
        raise Unavailable(ENGINE, "the stream broke off")


def _wanted(model: SplitModel, asked: Asked, decoding: Decoding, task: Task | None) -> Wanted:
    bound = FREE if task is None else binding_of(task)
    return Wanted(
        model=model.digest,
        ids=asked.ids,
        seen=tuple(_encoded(image) for image in asked.seen),
        most_tokens=decoding.most_tokens,
        seed=decoding.seed,
        grammar=bound.grammar,
        guide=bound.guide,
    )


def _encoded(image: VisualTokens) -> bytes:
    """With every bit that it came with."""
    return visual_tokens.encode(image, "float16" if image.values.dtype == "float16" else "float32")


def _token(said: Said, speller: Speller) -> Token:
    text = "" if said.finish == "end" else speller.more(said.id)
    if said.finish is not None:
        text += speller.rest()
    return Token(said.id, text, said.logprob, said.finish)


async def _check_status(response: httpx.Response) -> None:
    if response.status_code == 404:
        raise Unavailable(ENGINE, "it does not have the model")
    if response.status_code >= 500:
        raise Unavailable(ENGINE, f"HTTP {response.status_code}")
    if response.status_code != 200:
        raise Unusable(f"the request was refused: HTTP {response.status_code}")


def _read(data: str) -> Said:
    """Raises Unusable, or Unavailable where the server itself failed."""
    try:
        said = line(data)
    except ValidationError:
        raise Unavailable(ENGINE, "the stream holds something else than tokens") from None
    if isinstance(said, Failed):
        if said.failed == "failed":
            raise Unavailable(ENGINE, f"failed: {said.detail[:100]}")
        raise Unusable(f"{said.failed}: {said.detail[:200]}")
    return said
