"""ImageEncoded in, CaptionDrafted out, with the text in the making before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from captionstream.contracts.messages import (
    CaptionDrafted,
    Draft,
    DraftDelta,
    Form,
    ImageEncoded,
    Message,
    Provenance,
    RefusalReason,
    Refused,
)
from captionstream.contracts.scene import Scene, Source, Thing
from captionstream.contracts.values import Profile, Purpose, StageName
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.clock import Clock, utc_now
from captionstream.runtime.errors import Unprocessable
from captionstream.runtime.stage import Delivery, carry
from services.generator import prompt, realiser
from services.generator.asking import Asking, Engines, Question, ask
from services.generator.drafts import drafted, room_of
from services.generator.grammar import has_choice
from services.generator.guided.of_scene import guide_of
from services.generator.naming import probabilities
from services.generator.pacing import Pace
from services.generator.reviewed import ReviewedMemory, embedding_of, reviewed_thing, with_reviewed
from services.generator.routing import Chosen
from services.generator.scene import scene_of
from services.generator.sentence import Request, Sentence, sentence
from services.generator.speech import Speech
from services.generator.translation import sayable
from services.generator.vocabulary import CLASSES, Floats, Vocabulary
from services.generator.writer import Picture, Seen, Task


@dataclass(frozen=True, slots=True)
class Brief:
    """One event with what its caption may say, and the plain way to say it."""

    message: ImageEncoded
    delivery: Delivery
    scene: Scene  # all facts, in the words of the vocabulary
    said: Scene  # those that the language has words for
    request: Request
    speech: Speech
    sentence: Sentence
    plain: Draft


@dataclass(frozen=True)
class GeneratorStage:
    """`languages` by their two-letter code. Without engines the plain sentence is the caption.

    `fingerprints` are the encoders whose evidence is accepted; empty accepts any. `reviewed` is asked about
    evidence of its own encoder only. `pace` is made anew for every event.
    """

    vocabulary: Vocabulary
    engines: Engines | None
    payloads: PayloadStore
    languages: Mapping[str, Speech]
    pipeline_version: str
    fingerprints: Collection[str] = ()
    reviewed: ReviewedMemory | None = None
    clock: Clock = utc_now
    pace: Callable[[], Pace] = Pace

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
        asking = Asking(self.pace())
        if self.engines is not None and brief.request.purpose is not Purpose.DECORATIVE:
            async for delta in self._deltas(self.engines, brief, asking):
                yield delta
        yield self._drafted(brief, asking)

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
            nothing = Sentence.nothing()
            return Brief(message, delivery, scene, said, request, speech, nothing, realiser.DECORATIVE)
        told = sentence(said, request, speech)
        plainly = realiser.plain_draft(told, realiser.long_description(said, request, told, speech))
        return Brief(message, delivery, scene, said, request, speech, told, plainly)

    def _reviewed(
        self, message: ImageEncoded, tensors: bytes, classes: Floats, speech: Speech
    ) -> Thing | None:
        """What the memory says of the image, if the language has words for it: else what is seen stays."""
        if self.reviewed is None or message.evidence.fingerprint.digest != self.reviewed.encoder:
            return None
        thing = reviewed_thing(self.reviewed.nearest(embedding_of(tensors)), classes, self.vocabulary)
        can_be_said = thing and sayable(Scene(things=(thing,)), speech, self.vocabulary).things
        return thing if can_be_said else None

    # ------------------------------------------------------------ the engines

    async def _deltas(self, engines: Engines, brief: Brief, asking: Asking) -> AsyncIterator[DraftDelta]:
        question = Question(
            brief.message,
            one_wording=not has_choice(brief.sentence.head),
            task=partial(self._task, engines, brief),
            left=lambda: self._left_s(brief.message),
        )
        sequence = 0
        async for text in ask(engines, question, self.payloads, asking):
            yield DraftDelta(
                **carry(brief.message, brief.delivery),
                attempt=brief.delivery.attempt,
                sequence=sequence,
                text=text,
                content_score=brief.scene.content_score,
            )
            sequence += 1

    def _task(
        self, engines: Engines, brief: Brief, chosen: Chosen, seen: Seen | None, picture: Picture | None
    ) -> Task:
        language, form = brief.message.event.language, chosen.form
        told = prompt.prompt(brief.said, brief.request, language, form)
        guide = None
        if form is Form.GUIDED:
            guide = guide_of(
                brief.said,
                brief.speech,
                brief.request.profile,
                engines.lineup.least_probability,
                room=room_of(brief.sentence),
                vocabulary=self.vocabulary,
            )
        return Task(told, brief.sentence.head, form, guide, seen, picture)

    def _left_s(self, message: ImageEncoded) -> float | None:
        deadline = message.deadline_at
        return None if deadline is None else (deadline - self.clock()).total_seconds()

    # ------------------------------------------------------------ after

    def _drafted(self, brief: Brief, asking: Asking) -> CaptionDrafted:
        message, written = brief.message, asking.written
        worded = written and drafted(
            brief.sentence, written.task, written.outcome, brief.plain.long_description
        )
        inspected = brief.request.profile is Profile.INSPECTION
        return CaptionDrafted(
            **carry(message, brief.delivery),
            image=message.image,
            supplied=message.supplied,
            scene=brief.scene,
            candidates=(worded, brief.plain) if worded else (brief.plain,),
            rejected=asking.rejected,
            inspection=realiser.findings(brief.scene, message.event.captured_at) if inspected else (),
            attempt=brief.delivery.attempt,
            provenance=self._provenance(brief, asking),
        )

    def _provenance(self, brief: Brief, asking: Asking) -> Provenance:
        """Of the engine whose text came first, or else of the last one that was asked."""
        fingerprint, last = brief.message.evidence.fingerprint, asking.last
        remembered = any(thing.source is Source.REVIEWED for thing in brief.scene.things)
        memory = (self.reviewed.reference,) if self.reviewed and remembered else ()
        return Provenance(
            pipeline_version=self.pipeline_version,
            models=(*fingerprint.models, *memory, *(last.models if last else ())),
            encoder_fingerprint=fingerprint.digest,
            prompt=prompt.reference(last.task.form) if last else None,
            decoding=last.decoding if last else None,
            choice=asking.choice,
            usage=asking.usage,
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
