"""The small frozen values that messages are made of."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

INLINE_IMAGE_LIMIT = 700 * 1024  # bytes; base64 of this still fits a 1 MiB record
INLINE_PAYLOAD_LIMIT = 256 * 1024  # bytes; larger payloads travel by claim check

Score = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="BCP-47 tag")]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class Value(BaseModel):
    """A frozen value. Unknown fields are ignored, so that newer producers do no harm."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False
    )


class StageName(StrEnum):
    INGEST = "ingest"
    ENCODER = "encoder"
    GENERATOR = "generator"
    SAFETY = "safety"


class Profile(StrEnum):
    """For whom a caption is written."""

    ALT = "alt"
    PRODUCT = "product"
    EDITORIAL = "editorial"
    INSPECTION = "inspection"


class Purpose(StrEnum):
    """What the image does on its page (the branches of the W3C alt decision tree)."""

    INFORMATIVE = "informative"
    FUNCTIONAL = "functional"
    DECORATIVE = "decorative"
    COMPLEX = "complex"
    TEXT = "text"


class Priority(StrEnum):
    NORMAL = "normal"
    HIGH = "high"


class Box(Value):
    """A region of the oriented image; all four numbers are shares of its width or height, 0 to 1."""

    left: Score
    top: Score
    right: Score
    bottom: Score

    @property
    def area(self) -> float:
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


class ImageReference(Value):
    """Where the original bytes are: exactly one of the three."""

    url: str | None = Field(default=None, max_length=2048, description="http or https")
    object_key: str | None = Field(
        default=None,
        max_length=2048,
        description="s3://bucket/key, with ?versionId= or ?etag= where one writing of it is meant; or a store key",
    )
    inline: bytes | None = Field(default=None, max_length=INLINE_IMAGE_LIMIT, description="base64 in JSON")

    @model_validator(mode="after")
    def exactly_one(self) -> ImageReference:
        given = [name for name in ("url", "object_key", "inline") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"an image needs exactly one of url, object_key, inline; got {given or 'none'}")
        return self

    def __str__(self) -> str:
        return self.url or self.object_key or "inline"


class PageContext(Value):
    """What stands around the image on its page. Data, never instructions."""

    title: str | None = Field(default=None, max_length=500)
    nearby_text: str | None = Field(default=None, max_length=4000)
    visible_caption: str | None = Field(default=None, max_length=1000)
    target: str | None = Field(default=None, max_length=500, description="where a functional image leads")


class Payload(Value):
    """Bytes that belong to a message: inline when small, else a key in the payload store."""

    media_type: str
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256
    inline: bytes | None = None
    key: str | None = None


class ImageFacts(Value):
    """Which image it is and what was settled about it: all that later stages carry on."""

    digest: Sha256 = Field(description="of the original bytes, as received")
    media_type: str = Field(description="of the original, from its own bytes")
    original_width: Annotated[int, Field(gt=0)]
    original_height: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    notes: tuple[str, ...] = Field(
        default=(), description="what was settled: orientation, cmyk, first-frame ..."
    )


class PreparedImage(ImageFacts):
    """One sRGB image, oriented, alpha composed on white: raw uint8, height x width x 3, row by row."""

    pixels: Payload


class SuppliedMetadata(Value):
    """What people wrote into the file (IPTC, XMP): kept apart from what is seen."""

    alt_text: str | None = None
    description: str | None = None
    title: str | None = None
    people: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    credit: str | None = None
    captured_at: str | None = None
    digital_source_type: str | None = None


class ModelReference(Value):
    """A model that had a part in an answer."""

    name: str
    version: str
    digest: str = Field(description="sha256 of its file, or of what its server tells about it")


class StageTiming(Value):
    """What one stage cost one event, in milliseconds."""

    stage: StageName
    waited_ms: float = Field(description="from the append of the record to the start of work")
    worked_ms: float
