"""What the encoder is told: `CAPTIONSTREAM_ENCODER_*`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.encoder.evidence import Looking
from services.encoder.views import MOST_VIEWS
from triton_models.vision_language.visual_tokens import Precision

MEBIBYTE = 1024 * 1024


class Engine(StrEnum):
    TRITON = "triton"
    ONNX = "onnx"
    SCRIPTED = "scripted"


class SharedMemory(StrEnum):
    AUTO = "auto"
    OFF = "off"


class EncoderSettings(BaseSettings):
    """Engine, limits and how closely an image is looked at."""

    model_config = SettingsConfigDict(
        env_prefix="CAPTIONSTREAM_ENCODER_", frozen=True, extra="ignore", populate_by_name=True
    )

    engine: Engine = Engine.TRITON
    images_at_once: int = Field(
        default=4, ge=1, description="more fill a GPU's batches, and pixels take memory"
    )

    # looking
    views: int = Field(default=MOST_VIEWS, ge=1, le=MOST_VIEWS, description="of one image, for the tagger")
    reader_side: int = Field(default=1280, ge=64, description="longer side of what is read, in pixels")

    # split vision-language models
    models: Path = Field(
        default=Path(".captionstream/models"),
        validation_alias=AliasChoices("CAPTIONSTREAM_MODELS"),
        description="split models that are ready; the aliases in it say which of them look at pictures",
    )
    visual_precision: Precision = Field(default="float16", description="of visual tokens on their way")
    visual_seconds: float = Field(default=300.0, gt=0, description="for one request to a split model")
    picture_side: int = Field(
        default=0, ge=0, le=4096,
        description="longer side of a small JPEG for engines that take pixels; 0: none is sent",
    )  # fmt: skip

    # cache, of evidence, of visual tokens and of small pictures each
    cache_bytes: int = Field(default=32 * MEBIBYTE, ge=0)
    cache_entries: int = Field(default=4096, ge=1)

    # triton
    triton: str = Field(
        default="127.0.0.1:8001",
        validation_alias=AliasChoices("CAPTIONSTREAM_ENCODER_TRITON", "CAPTIONSTREAM_TRITON"),
        description="host:port of its gRPC endpoint",
    )
    request_seconds: float = Field(default=60.0, gt=0, description="for one request to one model")
    shared_memory: SharedMemory = Field(
        default=SharedMemory.AUTO, description="auto: inputs by shared memory when Triton is on this host"
    )
    shared_memory_bytes: int = Field(default=32 * MEBIBYTE, gt=0)

    # onnx
    threads: int = Field(default=0, ge=0, description="inferences at once; 0 is one for each core")

    # scripted
    scripted_work_ms: float = Field(default=0.0, ge=0)

    @property
    def looking(self) -> Looking:
        return Looking(views=self.views, reader_side=self.reader_side)
