"""The generator's stage: an encoded image in, drafts out."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from captionstream.contracts.evidence import VisualPrefix
from captionstream.contracts.messages import (
    Archetype,
    CaptionDrafted,
    Decoding,
    DraftDelta,
    Egress,
    Form,
    ImageEncoded,
    Message,
    RefusalReason,
    Refused,
    Usage,
)
from captionstream.contracts.values import ModelReference, Profile, Purpose, SuppliedMetadata
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable, Unprocessable
from captionstream.runtime.stage import Delivery
from services.generator import prompt
from services.generator.asking import Engines, in_short
from services.generator.grammar import may_continue
from services.generator.lineup import EgressRule, Engine, LanguageModel, Lineup, OpenAI, Prefix, Route
from services.generator.pacing import Pace
from services.generator.scripted_writer import ScriptedWriter
from services.generator.sentence import Request, sentence
from services.generator.settings import GeneratorSettings
from services.generator.stage import GeneratorStage
from services.generator.wiring import languages, open_generator, pipeline_version
from services.generator.writer import Picture, Piece, Task, Unusable, Writer
from services.generator.writing import Patience, PatientWriter
from tests.unit.generator.builders import (
    DELIVERY,
    FINGERPRINT,
    HOSTILE,
    NOON,
    SPLIT,
    WHOLE,
    WIDTH,
    OneModel,
    encoded,
    english,
    line,
    logits,
    prefix,
    seen,
    shares,
    vocabulary,
)
from triton_models.vision_language.visual_tokens import MEDIA_TYPE, VisualTokens, encode

AUTHOR = "told"
RED_ON_WHITE = {"subject_colours": shares(red=0.7), "plain_background": shares(white=0.9)[0]}


@pytest.fixture
def payloads() -> PayloadStore:
    return PayloadStore.open("memory")


def stage(payloads: PayloadStore, writer: Writer | None = None, **changes: Any) -> GeneratorStage:
    patience = changes.pop("patience", Patience())
    one = {AUTHOR: PatientWriter(writer, patience)} if writer else {}
    lineup = Lineup(
        engines={name: LanguageModel() for name in one}, routes=[Route(engine=name) for name in one]
    )
    return GeneratorStage(
        vocabulary=vocabulary(),
        engines=Engines(lineup, one) if writer else None,
        payloads=payloads,
        languages=languages(),
        pipeline_version="test",
        **{"clock": lambda: NOON} | changes,
    )


async def messages(
    made: GeneratorStage, message: Message, delivery: Delivery = DELIVERY
) -> tuple[list[DraftDelta], CaptionDrafted]:
    *deltas, last = [produced async for produced in made.advance(message, delivery)]
    assert isinstance(last, CaptionDrafted)
    assert all(isinstance(delta, DraftDelta) for delta in deltas)
    return deltas, last  # type: ignore[return-value]


async def a_red_car(payloads: PayloadStore, **changes: Any) -> ImageEncoded:
    look = {"appearance": {"subject_colours": shares(red=0.7), "plain_background": shares(white=0.9)[0]}}
    return await encoded(payloads, logits(sports_car=0.95), evidence=look, **changes)


@dataclass
class Author:
    """A writer that says what it is told to say: pieces, then a problem if there is one."""

    texts: list[list[str | Exception | Piece | Usage]]
    decoding: Decoding = field(default=Decoding(seed=1, temperature=0.0, max_tokens=50, constrained=False))
    tasks: list[Task] = field(default_factory=list)

    async def model(self, task: Task | None = None) -> ModelReference:
        return ModelReference(name="author", version="1", digest="f" * 64)

    async def write(self, task: Task) -> AsyncGenerator[Piece | Usage, None]:
        self.tasks.append(task)
        for piece in self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]:
            if isinstance(piece, Exception):
                raise piece
            yield Piece(piece) if isinstance(piece, str) else piece

    async def probe(self) -> None:
        return None


# ---------------------------------------------------------------- without a writer


async def test_an_image_gets_the_plain_sentence(payloads: PayloadStore) -> None:
    """No model, one candidate, everything carried on."""
    message = await a_red_car(payloads)
    deltas, drafted = await messages(stage(payloads), message)
    (plain,) = drafted.candidates
    assert ([], "A red sports car on a plain white background.") == (deltas, plain.text)
    assert (message.event, message.image, message.event_digest) == (
        drafted.event, drafted.image, drafted.event_digest,
    )  # fmt: skip
    assert FINGERPRINT.digest == drafted.provenance.encoder_fingerprint
    assert (None, None) == (drafted.provenance.prompt, drafted.provenance.decoding)


async def test_a_decorative_image_gets_an_empty_text_and_asks_nobody(payloads: PayloadStore) -> None:
    """Silence is the right answer; the scene is there all the same."""
    author = Author([["never"]])
    message = await a_red_car(payloads, event={"purpose": Purpose.DECORATIVE})
    deltas, drafted = await messages(stage(payloads, author), message)
    (empty,) = drafted.candidates
    assert ("", "plain", 1.0, False) == (empty.text, empty.writer, empty.confidence, empty.abstained)
    assert ([], []) == (deltas, author.tasks)
    assert ["sports car"] == [thing.noun for thing in drafted.scene.things]


async def test_human_text_is_carried_and_not_repeated(payloads: PayloadStore) -> None:
    """What people wrote stays theirs."""
    message = await a_red_car(payloads, event={"human_text": "Our founder's first car"})
    _, drafted = await messages(stage(payloads), message)
    assert "Our founder's first car" == drafted.event.human_text
    assert "founder" not in drafted.candidates[0].text


async def test_supplied_names_reach_an_editorial_caption(payloads: PayloadStore) -> None:
    """From the file's own metadata, and marked as such."""
    message = await encoded(
        payloads, logits(), supplied=SuppliedMetadata(people=("Ana Ruiz",)),
        event={"profile": Profile.EDITORIAL}, evidence={"detections": (seen("person", 0.9),)},
    )  # fmt: skip
    _, drafted = await messages(stage(payloads), message)
    assert "A person. The supplied metadata names Ana Ruiz." == drafted.candidates[0].text


async def test_an_inspection_comes_with_records(payloads: PayloadStore) -> None:
    """Only for the profile that asks for them, with the sensor's time."""
    event = {"profile": Profile.INSPECTION, "captured_at": NOON}
    found = {"detections": (seen("car", 0.9, WHOLE),)}
    _, drafted = await messages(
        stage(payloads), await encoded(payloads, logits(car=0.7), event=event, evidence=found)
    )
    (record,) = drafted.inspection
    assert ("car", "present", NOON.isoformat()) == (record.component, record.finding, record.sensor_time)
    _, drafted = await messages(stage(payloads), await encoded(payloads, logits(car=0.7), evidence=found))
    assert () == drafted.inspection


async def test_the_language_is_the_one_asked_for(payloads: PayloadStore) -> None:
    """With its region, in any case of letters; scene facts stay in the words of the vocabulary."""
    _, drafted = await messages(stage(payloads), await a_red_car(payloads, event={"language": "ES-mx"}))
    assert "Un coche deportivo rojo sobre un fondo blanco liso." == drafted.candidates[0].text
    assert "sports car" == drafted.scene.things[0].noun


# ---------------------------------------------------------------- refusals


async def refused(made: GeneratorStage, message: Message) -> Unprocessable:
    with pytest.raises(Unprocessable) as refusal:
        await messages(made, message)
    return refusal.value


async def test_an_unsupported_language_is_refused_with_those_that_are_served(payloads: PayloadStore) -> None:
    """Never English for somebody who asked for Finnish."""
    refusal = await refused(stage(payloads), await a_red_car(payloads, event={"language": "fi"}))
    assert (RefusalReason.UNSUPPORTED, "language fi; supported: en, es") == (refusal.reason, refusal.detail)


async def test_a_foreign_encoder_is_refused(payloads: PayloadStore) -> None:
    """Evidence of two encoders is never mixed; the accepted one passes."""
    message = await a_red_car(payloads)
    refusal = await refused(stage(payloads, fingerprints=("0" * 64,)), message)
    assert RefusalReason.MIXED_ENCODERS is refusal.reason
    _, drafted = await messages(stage(payloads, fingerprints=("0" * 64, FINGERPRINT.digest)), message)
    assert drafted.candidates


@pytest.mark.parametrize("shape", [(1000,), (0, 1000), (2, 999)])
async def test_an_encoding_of_another_shape_is_refused(
    payloads: PayloadStore, shape: tuple[int, ...]
) -> None:
    """Not the tagger that this vocabulary belongs to."""
    refusal = await refused(stage(payloads), await encoded(payloads, np.zeros(shape)))
    assert RefusalReason.INTERNAL is refusal.reason


async def test_an_encoding_that_is_not_finite_is_refused(payloads: PayloadStore) -> None:
    """Nothing is read out of NaN."""
    refusal = await refused(stage(payloads), await encoded(payloads, np.full((1, 1000), np.nan)))
    assert RefusalReason.INTERNAL is refusal.reason


async def test_bytes_that_are_no_encoding_are_refused(payloads: PayloadStore) -> None:
    """A payload that cannot be read says so instead of becoming a caption."""
    tensors = await payloads.put(b"garbage", "application/x-safetensors")
    message = await encoded(payloads, evidence={"tensors": tensors})
    assert RefusalReason.INTERNAL is (await refused(stage(payloads), message)).reason


async def test_a_refusal_of_an_earlier_stage_passes_unchanged(payloads: PayloadStore) -> None:
    """Only safety answers it."""
    message = await a_red_car(payloads)
    earlier = Refused(
        event=message.event, event_digest=message.event_digest, accepted_at=NOON, stage="ingest",
        reason=RefusalReason.TOO_LARGE,
    )  # fmt: skip
    assert (earlier,) == stage(payloads).refuse(earlier)


# ---------------------------------------------------------------- with a writer


async def test_a_writer_words_the_sentence_and_the_plain_one_stays_behind_it(payloads: PayloadStore) -> None:
    """Candidates best first, the plain one last, both with their claims; provenance says how."""
    text = "Against a plain white background, a red sports car."
    _, drafted = await messages(stage(payloads, Author([[text]])), await a_red_car(payloads))
    assert [(text, "author"), ("A red sports car on a plain white background.", "plain")] == [
        (draft.text, draft.writer) for draft in drafted.candidates
    ]
    assert {"sports car", "red", "plain white background"} == {c.text for c in drafted.candidates[0].claims}
    assert () == drafted.rejected
    assert prompt.reference() == drafted.provenance.prompt
    assert ["author"] == [model.name for model in drafted.provenance.models]
    assert drafted.provenance.decoding is not None


async def test_partial_text_grows_by_whole_words_and_is_always_supported(payloads: PayloadStore) -> None:
    """Every delta is the start of a sentence of the scene and of the next delta; the whole is the caption's."""
    text = "A red sports car against a plain white background."
    author = Author([[text[at : at + 3] for at in range(0, len(text), 3)]])
    deltas, drafted = await messages(
        stage(payloads, author), await a_red_car(payloads), Delivery(NOON, "b" * 64, 2)
    )
    texts = [delta.text for delta in deltas]
    assert ["A red ", "A red sports "] == texts
    assert text == drafted.candidates[0].text
    assert [(2, at) for at in range(2)] == [(delta.attempt, delta.sequence) for delta in deltas]
    node = sentence(drafted.scene, Request(), english()).head
    assert all(may_continue(node, shown) for shown in texts)


async def test_each_event_has_a_pace_of_its_own(payloads: PayloadStore) -> None:
    """What one caption has shown does not hold back the next one, at the same second."""
    author = Author([["A red ", "sports car against ", "a plain white background."]] * 2)
    made = stage(payloads, author, pace=lambda: Pace(lambda: 0.0))
    for _ in range(2):
        deltas, _ = await messages(made, await a_red_car(payloads))
        assert ["A red ", "A red sports car against "] == [delta.text for delta in deltas]


async def test_a_second_try_never_takes_back_what_was_shown(payloads: PayloadStore) -> None:
    """A stream that is cut and begun anew differently shows nothing more until it is whole."""
    first: list[str | Exception | Piece | Usage] = [
        "A red sports car",
        " against a plain",
        Unavailable("language model", "cut"),
    ]
    author = Author([first, ["A red sports car on a plain white background."]])
    deltas, drafted = await messages(stage(payloads, author), await a_red_car(payloads))
    texts = [delta.text for delta in deltas]
    assert all(later.startswith(text) for text, later in pairwise(texts))
    assert "A red sports car on a plain white background." == drafted.candidates[0].text
    assert not [text for text in texts if " on " in text]


async def test_an_invention_is_rejected_before_it_is_shown(payloads: PayloadStore) -> None:
    """The stream is stopped at the first unsupported word; the plain sentence stands."""
    author = Author([["A red sports car", " speeding", " through", " the", " night."]])
    deltas, drafted = await messages(stage(payloads, author), await a_red_car(payloads))
    assert ["plain"] == [draft.writer for draft in drafted.candidates]
    (rejection,) = drafted.rejected
    assert ("author", "A red sports car speeding") == (rejection.writer, rejection.text)
    assert "does not support" in rejection.reason
    assert not [delta for delta in deltas if "speeding" in delta.text]


async def test_a_sentence_that_breaks_off_is_rejected(payloads: PayloadStore) -> None:
    """Half a sentence is none."""
    author = Author([["A red sports car on a plain"]])
    _, drafted = await messages(stage(payloads, author), await a_red_car(payloads))
    assert ["breaks off"] == [rejection.reason for rejection in drafted.rejected]


async def test_nonsense_is_rejected_with_its_reason(payloads: PayloadStore) -> None:
    """What the engine calls unusable never becomes a caption."""
    author = Author([[Unusable("the model refused")]])
    _, drafted = await messages(stage(payloads, author), await a_red_car(payloads))
    assert [("the model refused", "")] == [(r.reason, r.text) for r in drafted.rejected]


@pytest.mark.parametrize("text", HOSTILE)
async def test_text_in_the_image_never_reaches_a_model(payloads: PayloadStore, text: str) -> None:
    """It is quoted behind the sentence, and nothing of it stands in the prompt or in what may be written."""
    author = Author([["A street sign on a plain white background."]])
    found = {"lines": (line(text),), "appearance": RED_ON_WHITE | {"subject_colours": ()}}
    _, drafted = await messages(
        stage(payloads, author), await encoded(payloads, logits(street_sign=0.95), evidence=found)
    )
    told = drafted.scene.text
    assert told is not None
    (task,) = author.tasks
    assert told.text[:20] not in task.prompt.user + task.prompt.system
    assert "author" == drafted.candidates[0].writer
    for draft in drafted.candidates:
        before, quotation, after = draft.text.split('"')
        assert before.startswith("A street sign on a plain white background. The text ")
        assert told.text.startswith(quotation)
        assert "." == after


async def test_the_same_image_seed_and_request_give_the_same_text(payloads: PayloadStore) -> None:
    """An audit that replays a topic finds what was said."""
    message = await a_red_car(payloads)
    first, second = [await messages(stage(payloads, ScriptedWriter(7)), message) for _ in range(2)]
    assert first == second


# ---------------------------------------------------------------- a writer that is away


def away(seconds: float | None = None) -> Unavailable:
    return Unavailable("language model", "ConnectError", seconds)


async def test_a_short_absence_is_waited_out(payloads: PayloadStore) -> None:
    """The second try succeeds within the budget."""
    author = Author([[away()], ["A red sports car on a plain white background."]])
    _, drafted = await messages(stage(payloads, author), await a_red_car(payloads))
    assert "author" == drafted.candidates[0].writer


async def test_a_long_absence_costs_its_budget_once(payloads: PayloadStore) -> None:
    """The plain sentence stands, says why, and the next event does not ask at all."""
    author = Author([[away()]])
    made = stage(payloads, author, patience=Patience(budget_s=0.3, rest_s=30))
    for expected in ("unavailable: language model: ConnectError", "unavailable: was away a moment ago"):
        asked = len(author.tasks)
        _, drafted = await messages(made, await a_red_car(payloads))
        assert ["plain"] == [draft.writer for draft in drafted.candidates]
        assert [expected] == [rejection.reason for rejection in drafted.rejected]
    assert asked == len(author.tasks)


async def test_a_busy_model_that_asks_for_more_time_than_there_is_is_left_alone(
    payloads: PayloadStore,
) -> None:
    """It said when to come back; nobody knocks before."""
    author = Author([[away(20.0)]])
    _, drafted = await messages(stage(payloads, author), await a_red_car(payloads))
    assert 1 == len(author.tasks)
    assert ["plain"] == [draft.writer for draft in drafted.candidates]


async def test_a_required_writer_is_waited_for_by_the_runtime(payloads: PayloadStore) -> None:
    """By policy there is no cheaper answer: the record waits in place."""
    made = stage(payloads, Author([[away()]]), patience=Patience(budget_s=0.2, required=True))
    with pytest.raises(Unavailable):
        await messages(made, await a_red_car(payloads))


async def test_a_near_deadline_leaves_no_time_for_a_model(payloads: PayloadStore) -> None:
    """Late means cheaper, not never."""
    author = Author([["A red sports car on a plain white background."]])
    message = await a_red_car(payloads, event={"deadline_s": 3.0})
    late = stage(payloads, author, clock=lambda: NOON + timedelta(seconds=2.5))
    _, drafted = await messages(late, message)
    assert ([], ["too little time left"]) == (author.tasks, [r.reason for r in drafted.rejected])
    _, drafted = await messages(stage(payloads, author), message)
    assert "author" == drafted.candidates[0].writer


# ---------------------------------------------------------------- several engines


def lined_up(
    payloads: PayloadStore, entries: dict[str, Engine], *writers: Writer, **told: Any
) -> GeneratorStage:
    """The stage with these engines, asked in their order; `told` is the rest of the lineup."""
    routes = [Route(engine=name) for name in entries]
    lineup = Lineup(
        **{"engines": entries, "routes": routes, "egress": EgressRule(default=Egress.PIXELS)} | told
    )
    asked = {name: PatientWriter(writer, Patience()) for name, writer in zip(entries, writers, strict=True)}
    made = stage(payloads)
    return replace(made, engines=Engines(lineup, asked, OneModel()))


def remote(sends: Any = Egress.TEXT) -> OpenAI:
    return OpenAI(name="remote", url="https://api.example/v1", sends=sends)


async def test_the_next_engine_writes_where_one_refuses_and_all_of_it_is_told(payloads: PayloadStore) -> None:
    """Who wrote, why not the other, the most that left for anybody, and what both cost together."""
    cost = Usage(input_tokens=100, output_tokens=1, cost=0.5, currency="EUR")
    first = Author([[cost, Unusable("the model refused")]])
    second = Author([["A red sports car on a plain white background.",
                      Usage(input_tokens=10, output_tokens=9, cost=0.25, currency="EUR")]])  # fmt: skip
    made = lined_up(payloads, {"big": remote(Egress.PIXELS), "small": LanguageModel()}, first, second)
    message = await a_red_car(payloads, picture=await payloads.put(b"jpeg", "image/jpeg"))
    _, drafted = await messages(made, message)
    told = drafted.provenance
    assert told.choice is not None
    assert ("small", Archetype.EVIDENCE, Egress.PIXELS) == (
        told.choice.engine, told.choice.archetype, told.choice.sent,
    )  # fmt: skip
    assert "small: told in words; big skipped: failed (the model refused)" == told.choice.reason
    assert Usage(input_tokens=110, output_tokens=10, cost=0.75, currency="EUR") == told.usage
    assert [("author", "the model refused")] == [(each.writer, each.reason) for each in drafted.rejected]
    assert b"jpeg" == (first.tasks[0].picture or Picture("", b"")).data
    assert second.tasks[0].picture is None


async def test_the_next_engine_never_takes_back_what_the_one_before_has_shown(payloads: PayloadStore) -> None:
    """It goes on in silence until its text is whole, where it says it differently."""
    first = Author([["A red sports car against a plain", Unusable("the model refused")]])
    second = Author([["Against a plain white background, ", "a red sports ", "car."]])
    made = lined_up(payloads, {"one": LanguageModel(), "two": LanguageModel()}, first, second)
    deltas, drafted = await messages(made, await a_red_car(payloads))
    assert ["A red sports car against a "] == [delta.text for delta in deltas]
    assert "Against a plain white background, a red sports car." == drafted.candidates[0].text


async def test_where_every_engine_fails_the_plain_sentence_says_so(payloads: PayloadStore) -> None:
    """Each was asked once."""
    authors = [Author([[Unusable(f"refused {number}")]]) for number in range(2)]
    made = lined_up(payloads, {"one": LanguageModel(), "two": LanguageModel()}, *authors)
    _, drafted = await messages(made, await a_red_car(payloads))
    assert ["plain"] == [draft.writer for draft in drafted.candidates]
    assert ["refused 0", "refused 1"] == [each.reason for each in drafted.rejected]
    assert [1, 1] == [len(author.tasks) for author in authors]
    assert drafted.provenance.choice is not None
    assert "plain" == drafted.provenance.choice.engine
    assert (
        "one skipped: failed (refused 0); two skipped: failed (refused 1)" in drafted.provenance.choice.reason
    )


async def test_a_long_reason_is_shortened_between_words_and_says_so(payloads: PayloadStore) -> None:
    first, second = Author([[Unusable("too many words of it " * 20)]]), Author([["A red sports car."]])
    made = lined_up(payloads, {"one": LanguageModel(), "two": LanguageModel()}, first, second)
    _, drafted = await messages(made, await a_red_car(payloads))
    assert drafted.provenance.choice is not None
    reason = drafted.provenance.choice.reason
    assert reason.endswith("…)") and len(reason) < 160
    assert {*reason.split("failed (")[1].split()} <= {"too", "many", "words", "of", "it", "…)"}


def test_one_long_word_is_cut_and_not_left_out() -> None:
    assert "a xxx" == in_short("a " + 200 * "x")[:5] and in_short(200 * "x").startswith("xxx")
    assert "short" == in_short("short") and "two words" == in_short("two\n words")


async def test_without_an_engine_the_choice_is_plain(payloads: PayloadStore) -> None:
    """The message says so as well, decorative images included."""
    for event in ({}, {"purpose": Purpose.DECORATIVE}):
        _, drafted = await messages(stage(payloads), await a_red_car(payloads, event=event))
        assert drafted.provenance.choice is not None
        assert Archetype.PLAIN is drafted.provenance.choice.archetype
        assert drafted.provenance.usage is None


async def test_a_guided_text_says_more_than_the_scene_and_names_its_ground(payloads: PayloadStore) -> None:
    """A word of the model's own is a claim with the model's name and probability; the form is on the message."""
    words = ["A ", "red ", "sports ", "car", " near", " a", " harbour", "."]
    author = Author([[Piece(word, math.log(0.9)) for word in words]])
    made = lined_up(payloads, {"split": Prefix()}, author, forms={"alt": "guided"})
    _, drafted = await messages(made, await a_red_car(payloads, visual=await prefix(payloads)))
    best = drafted.candidates[0]
    assert "A red sports car near a harbour." == best.text, drafted.rejected
    (own,) = [claim for claim in best.claims if claim.source.startswith("model:")]
    assert ("harbour", "model:author", 0.9) == (own.text, own.source, round(own.score, 6))
    decoding = drafted.provenance.decoding
    assert decoding is not None
    assert (Form.GUIDED, prompt.reference(Form.GUIDED)) == (decoding.form, drafted.provenance.prompt)


# ---------------------------------------------------------------- visual tokens


async def test_visual_tokens_of_a_split_model_that_is_not_here_are_refused(payloads: PayloadStore) -> None:
    """Only the language half of the same digest can read them; its name and digest are told."""
    stranger = SPLIT.model_copy(update={"digest": "6" * 64})
    message = await a_red_car(payloads, visual=await prefix(payloads, model=stranger))
    refusal = await refused(lined_up(payloads, {"split": Prefix()}, Author([["never"]])), message)
    assert RefusalReason.MIXED_ENCODERS is refusal.reason
    assert "tiny 666666666666" in refusal.detail


async def test_visual_tokens_that_nobody_reads_are_nobodys_trouble(payloads: PayloadStore) -> None:
    """A lineup without a split engine takes the words."""
    stranger = SPLIT.model_copy(update={"digest": "6" * 64})
    message = await a_red_car(payloads, visual=await prefix(payloads, model=stranger))
    author = Author([["A red sports car on a plain white background."]])
    _, drafted = await messages(lined_up(payloads, {"small": LanguageModel()}, author), message)
    assert "author" == drafted.candidates[0].writer
    assert author.tasks[0].seen is None


@pytest.mark.parametrize(
    ("data", "count", "said"),
    [
        (b"garbage", 4, "cannot be read"),
        (encode(VisualTokens(np.ones((4, WIDTH + 1), np.float32))), 4, "9 values a token"),
        (encode(VisualTokens(np.ones((4, WIDTH), np.float32))), 5, "5 x 8 are told of, 4 x 8 are there"),
    ],
)
async def test_visual_tokens_that_are_not_what_the_message_says_are_refused(
    payloads: PayloadStore, data: bytes, count: int, said: str
) -> None:
    """Before a model reads them."""
    tokens = await payloads.put(data, MEDIA_TYPE)
    visual = VisualPrefix(model=SPLIT, tokens=tokens, count=count, width=WIDTH)
    message = await a_red_car(payloads, visual=visual)
    refusal = await refused(lined_up(payloads, {"split": Prefix()}, Author([["never"]])), message)
    assert RefusalReason.INTERNAL is refusal.reason
    assert said in refusal.detail


# ---------------------------------------------------------------- the service


@pytest.mark.parametrize("kind", ["plain", "scripted"])
async def test_the_service_is_ready_without_a_model(payloads: PayloadStore, kind: str) -> None:
    """Wired from settings alone; its probe succeeds and its stage drafts."""
    async with open_generator(payloads, GeneratorSettings(writer=kind)) as service:
        await service.probe()
        drafted = [m async for m in service.stage.advance(await a_red_car(payloads), DELIVERY)][-1]
    assert isinstance(drafted, CaptionDrafted)
    assert ("plain" if kind == "plain" else "scripted") == drafted.candidates[0].writer


def test_the_pipeline_version_changes_with_what_decides_about_words() -> None:
    """Two pipelines that may write differently are never called the same."""
    settings = [GeneratorSettings(), GeneratorSettings(seed=2), GeneratorSettings(writer="plain")]
    assert 3 == len({pipeline_version(vocabulary(), told) for told in settings})
    assert pipeline_version(vocabulary(), settings[0]) == pipeline_version(vocabulary(), GeneratorSettings())
