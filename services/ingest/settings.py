"""What ingest is told: `CAPTIONSTREAM_INGEST_*`."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 1024 * 1024
BUCKET = re.compile(r"(s3|s3a|gs|az|abfs|abfss)://[A-Za-z0-9][A-Za-z0-9._-]*")  # never file:// or http://


class IngestSettings(BaseSettings):
    """Limits and places. Lists are JSON: `CAPTIONSTREAM_INGEST_ALLOW_ADDRESSES='["10.1.0.0/16"]'`."""

    model_config = SettingsConfigDict(env_prefix="CAPTIONSTREAM_INGEST_", frozen=True, extra="ignore")

    # fetching
    allow_addresses: tuple[str, ...] = Field(
        default=(), description="networks (CIDR) that may be reached although they are not public"
    )
    ports: tuple[int, ...] = Field(default=(80, 443), description="ports that a URL may name")
    ca_file: Path | None = Field(
        default=None, description="certificates (PEM) to verify servers with, instead of the public ones"
    )
    max_redirects: int = Field(default=3, ge=0)
    max_bytes: int = Field(default=25 * MEBIBYTE, gt=0, description="of an original, decompressed")
    fetch_seconds: float = Field(
        default=10.0, gt=0, description="for one reference, redirects and retries included"
    )
    fetch_attempts: int = Field(default=3, ge=1, description="while a host answers 5xx, 429 or not at all")
    objects: str | None = Field(
        default=None, description="where plain object keys lie: a folder, or a URL such as s3://bucket/prefix"
    )
    buckets: tuple[str, ...] = Field(
        default=(), description="buckets that an event may name, such as s3://photos; others are refused"
    )

    # decoding
    decoders: int = Field(
        default=2, ge=1, description="child processes that decode, one image at a time each"
    )
    decode_seconds: float = Field(default=10.0, gt=0, description="wall time for one image")
    decoder_memory: int = Field(
        default=1024 * MEBIBYTE, gt=0, description="address space of one child, bytes"
    )
    decoder_images: int = Field(default=500, ge=1, description="images after which a child is replaced")
    max_pixels: int = Field(default=64_000_000, gt=0, description="width times height of an original")
    long_side: int = Field(default=1536, gt=0, description="of the prepared image, in pixels; never enlarged")

    # the same bytes again
    reuse_bytes: int = Field(default=16 * MEBIBYTE, ge=0, description="of prepared messages that are kept")
    reuse_seconds: float = Field(
        default=43_200.0, ge=0, description="far below the time after which payloads are deleted"
    )

    @field_validator("allow_addresses")
    @classmethod
    def networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_network(network)) for network in given)

    @field_validator("buckets")
    @classmethod
    def cloud_stores(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for bucket in given:
            if not BUCKET.fullmatch(bucket):
                raise ValueError(f"{bucket} is not a bucket: s3://name, gs://name or az://account")
        return given
