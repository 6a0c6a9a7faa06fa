"""ImageEncoded in, CaptionDrafted out, with the text in the making before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from captionstream.contracts.messages import (
    CaptionDrafted,
    Decoding,
    Draft,
    DraftDelta,
    ImageEncoded,
    Message,
    Provenance,
    RefusalReason,
    Refused,
    RejectedDraft,
)
from captionstream.contracts.scene import Scene, Source, Thing
from captionstream.contracts.values import Profile, Purpose, StageName
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.clock import Clock, utc_now
from captionstream.runtime.errors import Unprocessable
from captionstream.runtime.stage import Delivery, carry
from services.generator import prompt, realiser
from services.generator.grammar import has_choice, plainest, read
from services.generator.naming import probabilities
from services.generator.reviewed import ReviewedMemory, embedding_of, reviewed_thing, with_reviewed
from services.generator.scene import scene_of
from services.generator.sentence import Request, Sentence, sentence
from services.generator.speech import Speech
from services.generator.translation import sayable
from services.generator.vocabulary import CLASSES, Floats, Vocabulary
from services.generator.writer import Task
from services.generator.writing import Outcome, PatientWriter


@dataclass(frozen=True, slots=True)
class Brief:
    """One event with what its caption may say, and the plain way to say it."""

    message: ImageEncoded
    delivery: Delivery
    scene: Scene  # all facts, in the words of the vocabulary
    said: Scene  # those that the language has words for
    request: Request
    sentence: Sentence
    plain: Draft


@dataclass(frozen=True)
class GeneratorStage:
    """`languages` by their two-letter code. Without a writer the plain sentence is the caption.

    `fingerprints` are the encoders whose evidence is accepted; empty accepts any. `reviewed` is asked about
    evidence of its own encoder only.
    """

    vocabulary: Vocabulary
    writer: PatientWriter | None
    payloads: PayloadStore
    languages: Mapping[str, Speech]
    pipeline_version: str
    fingerprints: Collection[str] = ()
    reviewed: ReviewedMemory | None = None
    clock: Clock = utc_now

    @property
    def name(self) -> StageName:
        return StageName.GENERATOR

    def refuse(self, refused: Refused) -> tuple[Message, ...]:
        return (refused,)

    async def advance(self, message: Message, delivery: Delivery) -> AsyncIterator[Message]:
        """Raises Unprocessable (mixed-encoders, unsupported) or Unavailable."""
        if not isinstance(message, ImageEncoded):
            raise TypeError(f"the generator does not read {type(message).__name__}")
        self._check_encoder(message)
        brief = await self._brief(message, delivery, self._speech(message))
        outcome = Outcome()
        writer = self.writer if has_choice(brief.sentence.head) else None
        if writer is not None:
            async for delta in self._deltas(writer, brief, outcome):
                yield delta
        yield self._drafted(brief, outcome, writer.writer.decoding if writer else None)

    # ------------------------------------------------------------ before

    def _check_encoder(self, message: ImageEncoded) -> None:
        digest = message.evidence.fingerprint.digest
        if self.fingerprints and digest not in self.fingerprints:
            raise Unprocessable(
                RefusalReason.MIXED_ENCODERS, f"encoder {digest[:12]} is not among the accepted ones"
            )

    def _speech(self, message: ImageEncoded) -> Speech:
        wanted = message.event.language
        speech = self.languages.get(wanted.split("-")[0].lower())
        if speech is None:
            served = ", ".join(sorted(self.languages))
            raise Unprocessable(RefusalReason.UNSUPPORTED, f"language {wanted}; supported: {served}")
        return speech

    async def _brief(self, message: ImageEncoded, delivery: Delivery, speech: Speech) -> Brief:
        tensors = await self.payloads.get(message.evidence.tensors)
        classes = probabilities(class_logits(tensors))
        seen = scene_of(message.evidence, classes, self.vocabulary)
        reviewed = self._reviewed(message, tensors, classes, speech)
        scene = with_reviewed(seen, reviewed, self.vocabulary)
        said = sayable(scene, speech, self.vocabulary)
        request = Request.of(message.event, message.supplied)
        if request.purpose is Purpose.DECORATIVE:
            return Brief(message, delivery, scene, said, request, Sentence.nothing(), realiser.DECORATIVE)
        told = sentence(said, request, speech)
        plain = realiser.plain_draft(told, realiser.long_description(said, request, told, speech))
        return Brief(message, delivery, scene, said, request, told, plain)

    def _reviewed(
        self, message: ImageEncoded, tensors: bytes, classes: Floats, speech: Speech
    ) -> Thing | None:
        """What the memory says of the image, if the language has words for it: else what is seen stays."""
        if self.reviewed is None or message.evidence.fingerprint.digest != self.reviewed.encoder:
            return None
        thing = reviewed_thing(self.reviewed.nearest(embedding_of(tensors)), classes, self.vocabulary)
        can_be_said = thing and sayable(Scene(things=(thing,)), speech, self.vocabulary).things
        return thing if can_be_said else None

    # ------------------------------------------------------------ the writer

    async def _deltas(
        self, writer: PatientWriter, brief: Brief, outcome: Outcome
    ) -> AsyncIterator[DraftDelta]:
        told = prompt.prompt(brief.said, brief.request, brief.message.event.language)
        texts = writer.write(Task(told, brief.sentence.head), outcome, self._left_s(brief.message))
        sequence = 0
        async for text in texts:
            yield DraftDelta(
                **carry(brief.message, brief.delivery),
                attempt=brief.delivery.attempt,
                sequence=sequence,
                text=text,
                content_score=brief.scene.content_score,
            )
            sequence += 1

    def _left_s(self, message: ImageEncoded) -> float | None:
        deadline = message.deadline_at
        return None if deadline is None else (deadline - self.clock()).total_seconds()

    # ------------------------------------------------------------ after

    def _drafted(self, brief: Brief, outcome: Outcome, asked: Decoding | None) -> CaptionDrafted:
        message = brief.message
        written = drafted(brief, outcome)
        inspected = brief.request.profile is Profile.INSPECTION
        return CaptionDrafted(
            **carry(message, brief.delivery),
            image=message.image,
            supplied=message.supplied,
            scene=brief.scene,
            candidates=(written, brief.plain) if written else (brief.plain,),
            rejected=rejected(outcome),
            inspection=realiser.findings(brief.scene, message.event.captured_at) if inspected else (),
            attempt=brief.delivery.attempt,
            provenance=self._provenance(brief, outcome, asked),
        )

    def _provenance(self, brief: Brief, outcome: Outcome, asked: Decoding | None) -> Provenance:
        fingerprint = brief.message.evidence.fingerprint
        remembered = any(thing.source is Source.REVIEWED for thing in brief.scene.things)
        memory = self.reviewed.reference if self.reviewed and remembered else None
        return Provenance(
            pipeline_version=self.pipeline_version,
            models=(*fingerprint.models, *(model for model in (memory, outcome.author) if model)),
            encoder_fingerprint=fingerprint.digest,
            prompt=prompt.reference() if asked else None,
            decoding=asked,
        )


def class_logits(tensors: bytes) -> npt.NDArray[np.floating]:
    """`class_logits` [views, 1000] of a safetensors payload. Raises Unprocessable if there are none."""
    try:
        logits = load_tensors(tensors)["class_logits"]
    except (SafetensorError, KeyError) as unreadable:
        raise Unprocessable(RefusalReason.INTERNAL, "the encoding holds no class logits") from unreadable
    if logits.ndim != 2 or logits.shape[0] < 1 or logits.shape[1] != CLASSES or not np.isfinite(logits).all():
        raise Unprocessable(RefusalReason.INTERNAL, f"class logits of shape {logits.shape}, or not finite")
    return logits


def drafted(brief: Brief, outcome: Outcome) -> Draft | None:
    """The writer's sentence with the rest behind it, or None if there is none to take."""
    if outcome.problem is not None or not outcome.text:
        return None
    told = brief.sentence
    text = outcome.text + plainest(told.tail, 0)
    reading = read(told.whole, text)
    if reading is None:
        raise AssertionError("an accepted beginning and its only end make no sentence")
    return realiser.draft(text, author(outcome), reading, told, brief.plain.long_description)


def rejected(outcome: Outcome) -> tuple[RejectedDraft, ...]:
    """The text that was not taken, or why there is none."""
    if outcome.problem is None:
        return ()
    return (RejectedDraft(text=outcome.text, writer=author(outcome), reason=outcome.problem),)


def author(outcome: Outcome) -> str:
    return outcome.author.name if outcome.author else "language model"
