"""The messages, in the order in which an image travels."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from captionstream.contracts.evidence import ImageEvidence, VisualPrefix
from captionstream.contracts.scene import Finding, Scene
from captionstream.contracts.values import (
    ImageFacts,
    ImageReference,
    Language,
    ModelReference,
    Name,
    PageContext,
    Payload,
    PreparedImage,
    Priority,
    Profile,
    Purpose,
    Score,
    Sha256,
    StageName,
    StageTiming,
    SuppliedMetadata,
    Value,
)


class Event(Value):
    """What a publisher asks for. (tenant, source, id, revision) is its identity; the rest is the request."""

    id: Name
    source: Name = "captionstream"
    tenant: Name = "default"
    revision: Annotated[int, Field(ge=0)] = 0
    profile: Profile = Profile.ALT
    language: Language = "en"
    purpose: Purpose = Purpose.INFORMATIVE
    context: PageContext = PageContext()
    human_text: str | None = Field(
        default=None, max_length=4000, description="existing text; never overwritten"
    )
    catalogue_keys: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    deadline_s: Annotated[float, Field(gt=0, le=7 * 86_400)] | None = Field(
        default=None, description="from the broker's append time"
    )
    priority: Priority = Priority.NORMAL
    stream_key: Name | None = Field(default=None, description="camera or sensor; its events stay in order")
    sequence: int | None = None
    captured_at: AwareDatetime | None = None

    @property
    def key(self) -> bytes:
        """The record key on every topic: the stream where order matters, else the event."""
        return (self.stream_key or self.id).encode()


class Message(Value):
    """Base of all messages. `ce_type` names it on the wire; `partial` marks best-effort text."""

    ce_type: ClassVar[str]
    partial: ClassVar[bool] = False


class ImageSubmitted(Message, Event):
    """An image event, as a publisher writes it."""

    ce_type: ClassVar[str] = "io.captionstream.image.submitted.v1"
    image: ImageReference

    @property
    def event(self) -> Event:
        """Without the image. Its fields were checked with this message."""
        return Event.model_construct(**{name: getattr(self, name) for name in Event.model_fields})


class Carried(Message):
    """What every later message carries forward, so that no stage joins topics."""

    event: Event
    event_digest: Sha256 = Field(description="of the image event's bytes: tells a repeat from a conflict")
    accepted_at: AwareDatetime = Field(description="when the broker appended the image event")
    timings: tuple[StageTiming, ...] = ()

    @property
    def deadline_at(self) -> datetime | None:
        seconds = self.event.deadline_s
        return None if seconds is None else self.accepted_at + timedelta(seconds=seconds)


class RefusalReason(StrEnum):
    MALFORMED = "malformed"  # the event is not a valid image event
    UNFETCHABLE = "unfetchable"  # nothing could be fetched from the reference
    FORBIDDEN_ADDRESS = "forbidden-address"  # the reference leads where we must not go
    UNDECODABLE = "undecodable"  # the bytes are not an image that we read
    TOO_LARGE = "too-large"  # bytes, pixels or record over a limit
    UNSUPPORTED = "unsupported"  # a language, profile or format that is not served
    MIXED_ENCODERS = "mixed-encoders"  # the encoding comes from models that this generator does not know
    TOO_LATE = "too-late"  # the event's deadline passed
    UNAVAILABLE = "unavailable"  # an engine stayed away for longer than the budget
    BLOCKED = "blocked"  # policy forbids an answer
    INTERNAL = "internal"  # a defect of ours; the event is in dead-letters


class Refused(Carried):
    """A stage could not go on. Later stages pass it through untouched; safety answers it."""

    ce_type: ClassVar[str] = "io.captionstream.image.refused.v1"
    stage: StageName
    reason: RefusalReason
    detail: str = Field(default="", max_length=500)
    image_digest: Sha256 | None = None


class ImagePrepared(Carried):
    """ingest: fetched, decoded, normalised."""

    ce_type: ClassVar[str] = "io.captionstream.image.prepared.v1"
    image: PreparedImage
    supplied: SuppliedMetadata = SuppliedMetadata()


class ImageEncoded(Carried):
    """encoder: what the vision models saw."""

    ce_type: ClassVar[str] = "io.captionstream.image.encoded.v1"
    image: ImageFacts
    supplied: SuppliedMetadata = SuppliedMetadata()
    evidence: ImageEvidence
    visual: VisualPrefix | None = Field(default=None, description="for a split vision-language model")
    picture: Payload | None = Field(default=None, description="a small JPEG, for engines that take pixels")


class DraftDelta(Carried):
    """generator: the text so far (cumulative). Only safety may release it."""

    ce_type: ClassVar[str] = "io.captionstream.draft.delta.v1"
    partial: ClassVar[bool] = True
    attempt: int
    sequence: int
    text: str
    content_score: Score = 0.0


class ClaimKind(StrEnum):
    OBJECT = "object"
    ATTRIBUTE = "attribute"
    COUNT = "count"
    RELATION = "relation"
    SETTING = "setting"
    QUOTATION = "quotation"
    MEDIUM = "medium"
    SUPPLIED = "supplied"


class Claim(Value):
    """A piece of a caption that needs evidence, with the evidence that it has."""

    text: str
    kind: ClaimKind
    source: str
    score: Score


class Draft(Value):
    """One candidate text. `writer` is `plain` (the realiser) or the name of a language model."""

    text: str
    writer: str
    long_description: str | None = None
    claims: tuple[Claim, ...] = ()
    confidence: Score
    hedged: bool = False
    abstained: bool = False


class RejectedDraft(Value):
    """A text that a language model wrote and that the scene does not support."""

    text: str
    writer: str
    reason: str


class PromptReference(Value):
    """The versioned template that a language model was given."""

    id: str
    digest: Sha256


class Form(StrEnum):
    """How far a language model is bound by the scene."""

    STRICT = "strict"  # sentences of the scene's grammar only
    GUIDED = "guided"  # free function words; content words from the scene, or grounded by the model itself


class Decoding(Value):
    """How a language model was asked to write."""

    seed: int
    temperature: float
    max_tokens: int
    constrained: bool = Field(description="decoded under a grammar made from the scene")
    form: Form = Form.STRICT


class Archetype(StrEnum):
    """The way from pixels to words."""

    SPLIT = "split"  # visual tokens from the encoder, read by the language half of the same model
    EVIDENCE = "evidence"  # a language model is told what was seen, in words
    END_TO_END = "end-to-end"  # a multimodal model is shown the picture
    PLAIN = "plain"  # no language model


class Egress(StrEnum):
    """What of an image may leave for an engine that is not ours; each allows what stands after it as well."""

    PIXELS = "pixels"
    EMBEDDINGS = "embeddings"
    TEXT = "text"
    NOTHING = "nothing"


class EngineChoice(Value):
    """Which engine was asked to write, and why this one."""

    engine: str = Field(description="its name in the settings; `plain` where none was asked")
    archetype: Archetype
    sent: Egress = Field(description="what left for an engine that is not ours; `nothing` for a local one")
    reason: str = Field(max_length=500)


class Usage(Value):
    """What a language model counted for one text. `cost` is by the price in the settings."""

    input_tokens: Annotated[int, Field(ge=0)]
    output_tokens: Annotated[int, Field(ge=0)]
    cached_tokens: Annotated[int, Field(ge=0)] = Field(default=0, description="of the input, read before")
    cost: Annotated[float, Field(ge=0)] | None = None
    currency: str | None = Field(default=None, description="ISO 4217")


class Provenance(Value):
    """What made an answer. Enough to explain it, and to tell two pipelines apart."""

    pipeline_version: str
    models: tuple[ModelReference, ...] = ()
    encoder_fingerprint: Sha256 | None = None
    prompt: PromptReference | None = None
    decoding: Decoding | None = None
    choice: EngineChoice | None = None
    usage: Usage | None = None


class CaptionDrafted(Carried):
    """generator: candidates, best first; the last is always the plain sentence."""

    ce_type: ClassVar[str] = "io.captionstream.caption.drafted.v1"
    image: ImageFacts
    supplied: SuppliedMetadata = SuppliedMetadata()
    scene: Scene
    candidates: Annotated[tuple[Draft, ...], Field(min_length=1)]
    rejected: tuple[RejectedDraft, ...] = ()
    inspection: tuple[Finding, ...] = ()
    attempt: int = 1
    provenance: Provenance


class Decision(StrEnum):
    PUBLISH = "publish"
    REDACT = "redact"
    REWRITE = "rewrite"
    HOLD = "hold"
    BLOCK = "block"


class CheckFinding(Value):
    """What one check saw. `start` and `end` are character offsets in the candidate; the text itself is not kept."""

    check: str
    rule: str
    score: Score = 1.0
    start: int | None = None
    end: int | None = None
    candidate: int = 0


class Redaction(Value):
    """A span of the published text that stands for something removed."""

    start: int
    end: int
    replacement: str
    rule: str


class PolicyReference(Value):
    id: str
    version: str
    digest: Sha256


class Governance(Value):
    """The safety decision behind an answer."""

    decision: Decision
    policy: PolicyReference
    findings: tuple[CheckFinding, ...] = ()
    redactions: tuple[Redaction, ...] = ()


class Answer(Carried):
    """The first answer to an event: published, held or refused. Exactly one for each event."""

    outcome: ClassVar[str]
    caption_id: Sha256
    governance: Governance
    image_digest: Sha256 | None = None
    provenance: Provenance | None = None
    answered_at: AwareDatetime
    ai_generated: bool = True


class CaptionPublished(Answer):
    """safety: a caption that may be shown. An empty text is the right answer for a decorative image."""

    ce_type: ClassVar[str] = "io.captionstream.caption.published.v1"
    outcome: ClassVar[str] = "published"
    text: str
    long_description: str | None = None
    language: Language
    profile: Profile
    confidence: Score
    hedged: bool = False
    abstained: bool = False
    writer: str
    claims: tuple[Claim, ...] = ()
    scene: Scene
    inspection: tuple[Finding, ...] = ()


class CaptionHeld(Answer):
    """safety: a person must look first. The text is on the restricted topic drafts-held."""

    ce_type: ClassVar[str] = "io.captionstream.caption.held.v1"
    outcome: ClassVar[str] = "held"
    reason: str
    language: Language
    profile: Profile


class CaptionRefused(Answer):
    """safety: there will be no caption, and why."""

    ce_type: ClassVar[str] = "io.captionstream.caption.refused.v1"
    outcome: ClassVar[str] = "refused"
    reason: RefusalReason
    stage: StageName
    detail: str = ""


class DeltaStatus(StrEnum):
    PARTIAL = "partial"
    FINAL = "final"
    RETRACTED = "retracted"


class CaptionDelta(Carried):
    """safety: text so far (cumulative), released because no continuation can make it unsafe."""

    ce_type: ClassVar[str] = "io.captionstream.caption.delta.v1"
    partial: ClassVar[bool] = True
    caption_id: Sha256
    attempt: int
    sequence: int
    status: DeltaStatus
    text: str


class DraftHeld(Carried):
    """safety: what a reviewer needs to decide. Restricted."""

    ce_type: ClassVar[str] = "io.captionstream.draft.held.v1"
    caption_id: Sha256
    draft: CaptionDrafted
    governance: Governance
    reason: str


class DeadLetter(Message):
    """Any stage: what broke, with its original bytes. Restricted to operators."""

    ce_type: ClassVar[str] = "io.captionstream.dead-letter.v1"
    event: Event
    stage: StageName
    reason: RefusalReason
    detail: str = ""
    traceback: str | None = None
    attempts: int = 1
    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    value: bytes = Field(description="the record as it was")
    failed_at: AwareDatetime


class CaptionMarker(Message):
    """safety: this event has its answer. Keyed by caption id, compacted; removes duplicate input."""

    ce_type: ClassVar[str] = "io.captionstream.caption.marker.v1"
    event_digest: Sha256


Counts = dict[str, Annotated[int, Field(ge=0)]]


class CaptionRates(Message):
    """monitor: what became of the events of one profile that were answered within one minute.

    Every number is a count, so that rows add up to any longer window. Ids, never texts.
    """

    ce_type: ClassVar[str] = "io.captionstream.caption.rates.v1"
    minute: AwareDatetime = Field(description="start of the minute in which the events were answered")
    profile: Profile
    answers: int = 0
    published: int = 0
    held: int = 0
    refused: Counts = Field(default={}, description="by reason")
    hedged: int = 0
    abstained: int = 0
    described: int = Field(default=0, description="published with a text that names something")
    repeated: int = Field(default=0, description="of those, with the text of another picture elsewhere")
    waits: tuple[int, ...] = Field(default=(), description="answers by seconds since the event was accepted")
    confidences: tuple[int, ...] = Field(default=(), description="published captions by tenths of confidence")
    writers: Counts = Field(default={}, description="`plain`, or the name of a language model")
    encoders: Counts = Field(default={}, description="by fingerprint of the vision models")
    languages: Counts = Field(default={}, description="as asked for")
    tenants: Counts = Field(default={}, description="the first twenty by name, then `other`")
    streams: Counts = Field(default={}, description="the first twenty by name, then `other`")
    samples: dict[str, tuple[Sha256, ...]] = Field(
        default={}, description="latest caption ids, by what they show"
    )
    read_to: dict[int, int] = Field(default={}, description="next offset of `captions`, by partition")

    @property
    def key(self) -> bytes:
        return f"{self.minute:%Y-%m-%dT%H:%M}/{self.profile}".encode()


class AnomalyKind(StrEnum):
    REFUSALS = "refusal-rate"  # share of refused among all answers
    REPETITION = "repetition"  # share of captions that another picture elsewhere had before
    DRIFT = "score-drift"  # population stability index of confidence against the hour before
    LATENCY = "latency"  # 95th percentile of seconds from accepted to answered


class Anomaly(Message):
    """What the last minutes of one profile show, against its threshold and what was usual before."""

    kind: AnomalyKind
    profile: Profile
    window_s: int
    since: AwareDatetime = Field(description="when it was raised")
    at: AwareDatetime = Field(description="answer time of the newest answer in the window")
    value: float
    threshold: float = Field(description="as it was when raised; it stays until cleared")
    baseline: float | None = Field(default=None, description="the same measure over the hour before")
    answers: int = Field(description="how many answers the window holds")
    captions: tuple[Sha256, ...] = Field(default=(), description="latest caption ids that show it")

    @property
    def key(self) -> bytes:
        return f"{self.kind}/{self.profile}".encode()


class AnomalyRaised(Anomaly):
    """monitor: something is not as it should be. One for each onset."""

    ce_type: ClassVar[str] = "io.captionstream.anomaly.raised.v1"


class AnomalyCleared(Anomaly):
    """monitor: an anomaly is over."""

    ce_type: ClassVar[str] = "io.captionstream.anomaly.cleared.v1"
