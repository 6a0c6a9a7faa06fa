"""One engine behind an OpenAI-compatible API, as a settings file describes it. A key is never in the file."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from captionstream.contracts.messages import Archetype, Egress, Usage
from captionstream.contracts.values import Name, Sha256
from captionstream.runtime.errors import Misconfigured

MILLION = 1_000_000
PerMillion = Annotated[float, Field(ge=0, description="for a million tokens")]
Sends = Literal[Egress.TEXT, Egress.PIXELS, Egress.EMBEDDINGS]
ARCHETYPES: Mapping[Egress, Archetype] = {
    Egress.TEXT: Archetype.EVIDENCE,
    Egress.PIXELS: Archetype.END_TO_END,
    Egress.EMBEDDINGS: Archetype.SPLIT,
}


class Output(StrEnum):
    """What keeps the engine to the scene. Whatever it is, the answer is judged as it comes."""

    GRAMMAR = "grammar"  # llama.cpp's own field
    SCHEMA = "schema"  # response_format json_schema
    FREE = "free"  # nothing


class Carrier(StrEnum):
    """How visual tokens travel to vLLM: written to its published interface, never tried on a running vLLM."""

    PROMPT = "prompt_embeds"  # vllm serve --enable-prompt-embeds; not for M-RoPE models
    IMAGE = "image_embeds"  # vllm serve --enable-mm-embeds; with the grid, where the model has one


class Parameter(StrEnum):
    """What a request may leave out, for servers that refuse it."""

    TEMPERATURE = "temperature"
    SEED = "seed"
    USAGE = "stream_options"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Price(Frozen):
    """`cached` input costs as much as other input where nothing else is said."""

    input: PerMillion
    output: PerMillion
    cached: PerMillion | None = None
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217")

    def of(self, usage: Usage) -> float:
        cached = min(usage.cached_tokens, usage.input_tokens)
        cheaper = self.input if self.cached is None else self.cached
        fresh = (usage.input_tokens - cached) * self.input
        return (fresh + cached * cheaper + usage.output_tokens * self.output) / MILLION


class OpenAISettings(Frozen):
    """Defaults suit a server of our own that knows neither grammars nor schemas."""

    kind: Literal["openai"] = "openai"
    name: Name
    url: str = Field(description="base of the API, mostly ending in /v1")
    api_key_from: str | None = Field(default=None, description="environment variable that holds the key")
    model: str | None = Field(default=None, description="by default the first one that is served")
    lists_models: bool = Field(default=True, description="whether /models tells of the model")
    local: bool = Field(default=False, description="ours: what is sent there does not leave")
    sends: Sends = Egress.TEXT
    carrier: Carrier = Carrier.IMAGE
    split_model: Sha256 | None = Field(
        default=None, description="digest of the split model whose language half is served, for embeddings"
    )
    around: tuple[str, str] = Field(
        default=("", ""), description="text before and after prompt_embeds, as the chat template has it"
    )
    output: Output = Output.FREE
    price: Price | None = None

    max_tokens: Annotated[int, Field(gt=0)] = 256
    max_tokens_as: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    seed: int = 1
    logprobs: bool = Field(default=False, description="ask how probable each piece was")
    without: frozenset[Parameter] = Field(default=frozenset(), description="parameters that it refuses")
    timeout_s: Annotated[float, Field(gt=0)] = Field(default=10.0, description="without a sign of life")
    connections: Annotated[int, Field(gt=0)] = 8

    @field_validator("url")
    @classmethod
    def _is_an_address_without_a_key(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http address")
        if parts.username or parts.password or parts.query:
            raise ValueError("a key belongs into an environment variable, not into the address")
        return url

    @model_validator(mode="after")
    def _names_what_it_cannot_look_up(self) -> Self:
        if self.model is None and not self.lists_models:
            raise ValueError("name the model of a server that lists none")
        if self.sends is Egress.EMBEDDINGS and self.split_model is None:
            raise ValueError("embeddings need `split_model`: visual tokens of another model say nothing")
        return self

    @property
    def archetype(self) -> Archetype:
        return ARCHETYPES[self.sends]

    def key(self, environment: Mapping[str, str]) -> SecretStr | None:
        """The key, if one is needed. Raises Misconfigured if it is not there."""
        if self.api_key_from is None:
            return None
        if not environment.get(self.api_key_from):
            raise Misconfigured(
                f"engine {self.name}: the environment variable {self.api_key_from} is not set"
            )
        return SecretStr(environment[self.api_key_from])
