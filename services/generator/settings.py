"""What the generator is told from outside. Every variable starts with CAPTIONSTREAM_GENERATOR_."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from captionstream.contracts.values import Sha256

PREFIX = "CAPTIONSTREAM_GENERATOR_"
SHARED_URL = "CAPTIONSTREAM_LANGUAGE_MODEL"
SHARED_MODELS = "CAPTIONSTREAM_MODELS"
SHARED_REFERENCE = "CAPTIONSTREAM_REFERENCE_ENGINE"


class WriterKind(StrEnum):
    LLM = "llm"
    PLAIN = "plain"
    SCRIPTED = "scripted"


class GeneratorSettings(BaseSettings):
    """Defaults serve a llama.cpp server on this machine."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True)

    writer: WriterKind = Field(
        default=WriterKind.LLM,
        description="llm, plain (no model) or scripted (a double); a lineup says it anew",
    )
    lineup: Path | None = Field(
        default=None,
        description="a file of engines, routes and what may leave (captionstream lineup check); see examples/lineups",
    )
    models: Path = Field(
        default=Path(".captionstream/models"),
        validation_alias=AliasChoices(SHARED_MODELS),
        description="split models that are ready (captionstream models add)",
    )
    reference: str | None = Field(
        default=None,
        validation_alias=AliasChoices(f"{PREFIX}REFERENCE", SHARED_REFERENCE),
        description="where the reference engine of split models answers (services.generator.prefix.reference_server)",
    )
    language_model: str = Field(
        default="http://127.0.0.1:8080/v1",
        validation_alias=AliasChoices(f"{PREFIX}LANGUAGE_MODEL", SHARED_URL),
        description="base of an OpenAI-compatible API",
    )
    model: str | None = Field(
        default=None, description="name to ask for; by default the first one that is served"
    )
    api_key: SecretStr | None = None
    constrained: bool = Field(
        default=True,
        description="send the grammar (llama.cpp); else a free sentence is taken if the grammar fits",
    )
    seed: int = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    max_tokens: Annotated[int, Field(gt=0)] = 96
    connections: Annotated[int, Field(gt=0)] = Field(default=8, description="kept open to the language model")

    budget_s: Annotated[float, Field(gt=0)] = Field(
        default=5.0, description="for one sentence, retries and all"
    )
    reserve_s: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="of an event's deadline, left for safety; what remains goes to the sentence"
    )
    rest_s: Annotated[float, Field(ge=0)] = Field(
        default=5.0, description="after the language model was away, events do without it for so long"
    )
    writer_required: bool = Field(
        default=False, description="wait for the language model instead of publishing the plain sentence"
    )

    kept_mb: Annotated[float, Field(ge=0)] = Field(
        default=32.0, description="of written texts, for equal pictures that are asked the same; 0 keeps none"
    )

    encoder_fingerprints: frozenset[Sha256] = Field(
        default=frozenset(), description="encoders whose evidence is accepted; empty accepts any one"
    )
    reviewed: Path | None = Field(
        default=None,
        description="a memory of reviewed pictures (captionstream reviewed build); its encoder must be accepted",
    )
    vocabulary: Path | None = Field(
        default=None, description="a vocabulary file; by default the one of the models"
    )
