"""Visual tokens and small pictures on ImageEncoded: made once for each picture and model, whatever is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from captionstream.contracts.messages import ImageEncoded, ImagePrepared
from captionstream.contracts.values import Profile
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import Unavailable
from captionstream.runtime.once import Once
from services.encoder.scripted import ScriptedSeer, ScriptedVision, plate
from services.encoder.seer import Seer
from services.encoder.settings import EncoderSettings, Engine
from services.encoder.small_picture import SmallPicture, payload_bytes
from services.encoder.stage import EncoderStage
from services.encoder.views import Pixels
from services.encoder.visual import Visual, encoded, prefix_bytes
from services.encoder.wiring import open_encoder, published_bytes
from tests.unit.encoder.builders import DELIVERY, prepared, registry_with, solid
from triton_models.registry import Aliases, Registry, SplitModel, place
from triton_models.vision_language.split import DoesNotFit
from triton_models.vision_language.visual_tokens import Precision, VisualTokens, decode


@pytest.fixture
def payloads() -> PayloadStore:
    return PayloadStore.open("memory")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = registry_with(tmp_path, "one", "other")
    made.write(Aliases(production=made.named("one").digest))
    return made


def stage_with(
    seer: Seer, payloads: PayloadStore, precision: Precision = "float16", side: int = 0
) -> EncoderStage:
    visual = Visual(seer, payloads, Once("test", prefix_bytes), precision)
    small = SmallPicture(side, payloads, Once("test", payload_bytes)) if side else None
    evidence = Once("test", published_bytes)
    return EncoderStage(ScriptedVision(work_ms=2), payloads, evidence, visual=visual, small=small)


async def answered(stage: EncoderStage, message: ImagePrepared) -> ImageEncoded:
    (produced,) = [produced async for produced in stage.advance(message, DELIVERY)]
    assert isinstance(produced, ImageEncoded)
    return produced


def asking(message: ImagePrepared, **other: object) -> ImagePrepared:
    return message.model_copy(update={"event": message.event.model_copy(update=other)})


async def test_without_a_production_there_are_no_tokens(tmp_path: Path, payloads: PayloadStore) -> None:
    """The evidence is there as ever, and no small picture unless it was asked for."""
    stage = stage_with(ScriptedSeer(Registry(tmp_path / "nothing")), payloads)
    answer = await answered(stage, await prepared(plate(7), payloads))
    assert (None, None) == (answer.visual, answer.picture)
    assert "ID 000007" == answer.evidence.lines[0].text


async def test_tokens_are_those_of_the_picture_and_name_their_model(
    registry: Registry, payloads: PayloadStore
) -> None:
    """Twenty pictures at once, each with its own number in its tokens."""
    stage = stage_with(ScriptedSeer(registry), payloads)
    sent = [await prepared(plate(number), payloads, f"e-{number}") for number in range(20)]
    for number, answer in enumerate(await asyncio.gather(*(answered(stage, one) for one in sent))):
        assert answer.visual is not None
        assert registry.named("one").reference == answer.visual.model
        tokens = decode(await payloads.get(answer.visual.tokens), width=8)
        assert f"{number:032b}" == "".join(str(int(token[0])) for token in tokens.values)
        assert (32, 8) == (answer.visual.count, answer.visual.width)


@pytest.mark.parametrize("precision", ["float16", "float32"])
async def test_tokens_travel_in_the_precision_of_the_settings(
    registry: Registry, payloads: PayloadStore, precision: Precision
) -> None:
    """Half as many bytes in fp16; fp32 for the proof."""
    stage = stage_with(ScriptedSeer(registry), payloads, precision)
    answer = await answered(stage, await prepared(plate(7), payloads))
    assert answer.visual is not None
    assert np.dtype(precision) == decode(await payloads.get(answer.visual.tokens), width=8).values.dtype


def test_a_value_too_large_for_half_precision_travels_in_full() -> None:
    """A number that can be said is no reason to refuse a picture."""
    large = np.full((2, 8), 1e5, np.float32)
    np.testing.assert_array_equal(large, decode(encoded(VisualTokens(large), "float16"), width=8).values)


async def test_another_question_about_a_picture_is_not_looked_at_again(
    registry: Registry, payloads: PayloadStore
) -> None:
    """Another language, another profile, another event: one look for each model."""
    seer = ScriptedSeer(registry)
    stage = stage_with(seer, payloads)
    one, other = registry.named("one"), registry.named("other")
    message = await prepared(plate(7), payloads)
    for model in (one, other, one):
        registry.write(Aliases(production=model.digest))
        for asked in (
            message,
            asking(message, language="es"),
            asking(message, id="x", profile=Profile.EDITORIAL),
        ):
            answer = await answered(stage, asked)
            assert answer.visual is not None
            assert model.reference == answer.visual.model
    assert [one.digest, other.digest] == seer.looks


async def test_events_of_production_and_canary_are_counted_apart(
    registry: Registry, payloads: PayloadStore
) -> None:
    """Each by model and alias: of 40 events at a share of a half, and after the promotion under the other name."""
    one, other = registry.named("one"), registry.named("other")
    stage = stage_with(ScriptedSeer(registry), payloads)
    message = await prepared(plate(7), payloads)
    sent = [asking(message, id=f"e-{number}") for number in range(40)]
    halves = Aliases(production=one.digest, canary=other.digest, share=0.5)
    tried = sum(place(message.event) < 0.5 for message in sent)
    for aliases, expected in (
        (halves, {("one", "production"): 40 - tried, ("other", "canary"): tried}),
        (halves.promoted(), {("other", "production"): 40}),
    ):
        registry.write(aliases)
        before = counted(one, other)
        for event in sent:
            await answered(stage, event)
        assert Counter(expected) == counted(one, other) - before
    assert 0 < tried < 40


def counted(*models: SplitModel) -> Counter[tuple[str, str]]:
    """Events so far, by model and what it was named as."""
    return Counter(
        {
            (model.name, alias): int(
                REGISTRY.get_sample_value(
                    "captionstream_split_model_events_total", {"model": model.triton_name, "alias": alias}
                )
                or 0
            )
            for model in models
            for alias in ("production", "canary")
        }
    )


async def test_a_hundred_copies_at_once_are_one_look(registry: Registry, payloads: PayloadStore) -> None:
    """All of them get the tokens."""
    seer = ScriptedSeer(registry, work_ms=5)
    stage = stage_with(seer, payloads)
    message = await prepared(plate(7), payloads)
    answers = await asyncio.gather(*(answered(stage, message) for _ in range(100)))
    assert 1 == len(seer.looks)
    assert 1 == len({answer.visual.tokens.sha256 for answer in answers if answer.visual})
    assert all(answer.visual for answer in answers)


class Refuses(ScriptedSeer):
    """Fails as it is told, once."""

    failure: Exception | None = None

    async def see(self, model: SplitModel, pixels: Pixels) -> VisualTokens:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return await super().see(model, pixels)


async def test_a_model_that_was_unloaded_is_waited_for(registry: Registry, payloads: PayloadStore) -> None:
    """Unavailable as it is; the evidence that was found meanwhile and the next try are not lost."""
    seer = Refuses(registry)
    seer.failure = Unavailable("triton", "NOT_FOUND")
    stage = stage_with(seer, payloads)
    message = await prepared(plate(7), payloads)
    with pytest.raises(Unavailable, match="NOT_FOUND"):
        await answered(stage, message)
    assert (await answered(stage, message)).visual is not None


async def test_a_picture_of_a_shape_that_no_model_takes_has_evidence_only(
    registry: Registry, payloads: PayloadStore
) -> None:
    """A strip of one pixel must not stop the process after the sixth."""
    seer = Refuses(registry)
    seer.failure = DoesNotFit("too thin")
    answer = await answered(stage_with(seer, payloads), await prepared(solid((9, 9, 9), 300, 1), payloads))
    assert answer.visual is None
    assert answer.evidence is not None


@pytest.mark.parametrize(("size", "expected"), [((800, 600), (400, 300)), ((120, 90), (120, 90))])
async def test_a_small_picture_keeps_its_shape(
    registry: Registry, payloads: PayloadStore, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    """A JPEG whose longer side is at most that of the settings; nothing is made larger. Red stays red."""
    stage = stage_with(ScriptedSeer(registry), payloads, side=400)
    answer = await answered(stage, await prepared(solid((220, 20, 20), *size), payloads))
    assert answer.picture is not None
    assert "image/jpeg" == answer.picture.media_type
    small = Image.open(BytesIO(await payloads.get(answer.picture)))
    assert ("JPEG", expected) == (small.format, small.size)
    assert (220, 20, 20) == pytest.approx(small.getpixel((5, 5)), abs=6)


async def test_pixels_are_fetched_once_for_all_who_look(registry: Registry, tmp_path: Path) -> None:
    """Evidence, tokens and the small picture share them."""
    payloads = CountingStore.open("memory")
    stage = stage_with(ScriptedSeer(registry), payloads, side=100)
    await answered(stage, await prepared(plate(7, (800, 600)), payloads))
    assert 1 == payloads.fetched


class CountingStore(PayloadStore):
    fetched = 0

    async def get(self, payload):  # type: ignore[no-untyped-def]
        self.fetched += 1
        return await super().get(payload)


async def test_the_service_looks_with_the_models_of_its_settings(
    registry: Registry, payloads: PayloadStore
) -> None:
    """Registry, precision and the small picture come from the settings."""
    told = EncoderSettings(
        engine=Engine.SCRIPTED, models=registry.folder, visual_precision="float32", picture_side=64
    )
    async with open_encoder(payloads, told) as service:
        await service.probe()
        (answer,) = [a async for a in service.stage.advance(await prepared(plate(3), payloads), DELIVERY)]
    assert isinstance(answer, ImageEncoded)
    assert answer.visual is not None and answer.picture is not None
    assert np.float32 == decode(await payloads.get(answer.visual.tokens), width=8).values.dtype


def test_the_registry_has_one_name_for_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoder, generator, Triton and the command are told once."""
    monkeypatch.setenv("CAPTIONSTREAM_MODELS", "somewhere/models")
    assert Path("somewhere/models") == EncoderSettings().models
