"""What the encoder saw: observations with scores, before anybody draws a conclusion."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from captionstream.contracts.values import Box, ModelReference, Payload, Score, Sha256, Value


class Detection(Value):
    """One object of the detector. `label` is one of COCO's 80 names, spaces written as spaces."""

    label: str
    score: Score
    box: Box


class TextLine(Value):
    """One line of text that the reader found, verbatim."""

    text: str
    score: Score
    box: Box


class ColourShare(Value):
    """An everyday colour name and the share of the region that it covers."""

    name: str
    share: Score


class Appearance(Value):
    """Cheap measurements of the pixels themselves."""

    colours: tuple[ColourShare, ...] = Field(default=(), description="whole image, largest first")
    subject_colours: tuple[ColourShare, ...] = Field(default=(), description="foreground, largest first")
    monochrome: bool = False
    flatness: Score = Field(default=0.0, description="share of pixels in the 12 commonest colours")
    plain_background: ColourShare | None = Field(
        default=None, description="set when the border has one colour"
    )
    blue_sky: Score = Field(default=0.0, description="share of the top third that looks like clear sky")
    pale_sky: Score = 0.0
    greenery: Score = Field(
        default=0.0, description="share of the bottom third that looks like grass or leaves"
    )


class EncoderFingerprint(Value):
    """Which models and which preparation made an encoding. Encodings of two fingerprints are never mixed."""

    digest: Sha256
    models: tuple[ModelReference, ...]


class ImageEvidence(Value):
    """All that was seen in one image.

    `tensors` is a safetensors payload: `class_logits` fp16 [views, 1000] (ImageNet-1k order, unscaled)
    and `embedding` fp16 [1280] (mean over views of the pooled features).
    """

    fingerprint: EncoderFingerprint
    tensors: Payload
    detections: tuple[Detection, ...] = ()
    lines: tuple[TextLine, ...] = ()
    content_score: Annotated[float, Field(ge=0, le=1, description="0 harmless, 1 sexually explicit")]
    appearance: Appearance
    cached: bool = Field(default=False, description="taken from the cache by image digest")


class VisualPrefix(Value):
    """What the eye of a split vision-language model made of one image, for its language half to read.

    `model` is the split model as a whole: `digest` is the sha256 of its halves.json. Only the language half of
    the same digest can read the tokens. `tokens` is a safetensors payload: `visual_tokens` [count, width] in
    fp16 or fp32, and `grid` where the model needs it.
    """

    model: ModelReference
    tokens: Payload
    count: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(gt=0)]
