"""What a real vision engine must see on real photographs. One suite, for ONNX Runtime and for Triton."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import safetensors.numpy

from captionstream.contracts.evidence import ImageEvidence
from captionstream.payloads.store import PayloadStore
from services.encoder import views
from services.encoder.evidence import Looking, look
from services.encoder.views import Pixels
from services.encoder.vision import Vision
from tests.unit.encoder import photographs as photo

CATS = {281, 282, 283, 284, 285}  # ImageNet-1k: tabby, tiger cat, Persian, Siamese, Egyptian
CUPS = {504, 967, 968}  # coffee mug, espresso, cup


async def seen(vision: Vision, picture: Pixels) -> ImageEvidence:
    return await look(picture, vision, PayloadStore.open("memory"), Looking())


def likeliest(evidence: ImageEvidence, count: int = 3) -> list[int]:
    """The classes with the highest logits, averaged over the views."""
    assert evidence.tensors.inline is not None
    logits = safetensors.numpy.load(evidence.tensors.inline)["class_logits"].astype(np.float32)
    return [int(one) for one in np.argsort(-logits.mean(0))[:count]]


class VisionBehaviour:
    """Subclasses provide a fixture `vision`."""

    async def test_an_astronaut_is_a_person(self, vision: Vision) -> None:
        """Surely, and in the left half of her portrait."""
        person = (await seen(vision, photo.astronaut())).detections[0]
        assert "person" == person.label
        assert person.score > 0.65
        assert person.box.centre[0] < 0.5

    async def test_a_cat_is_a_cat(self, vision: Vision) -> None:
        """For the tagger and for the detector."""
        evidence = await seen(vision, photo.chelsea())
        assert likeliest(evidence, 1)[0] in CATS
        assert "cat" in {one.label for one in evidence.detections}

    async def test_a_cup_of_coffee_is_one(self, vision: Vision) -> None:
        """All of the likeliest three are a cup or what is in it."""
        assert CUPS == set(likeliest(await seen(vision, photo.coffee())))

    async def test_print_is_read(self, vision: Vision) -> None:
        """The heading of the page, word for word, at its top."""
        lines = (await seen(vision, photo.page())).lines
        assert "Region-based segmentation" == lines[0].text
        assert lines[0].box.bottom < 0.2
        assert len(lines) > 5
        assert any("determine markers of the coins" in line.text for line in lines)

    async def test_a_name_on_a_thing_is_read(self, vision: Vision) -> None:
        """The maker of the motorcycle, which the detector sees too."""
        evidence = await seen(vision, photo.motorcycle())
        assert ["YAMAHA"] == [line.text for line in evidence.lines if line.score > 0.7]
        assert "motorcycle" == evidence.detections[0].label

    async def test_everyday_photographs_are_harmless(self, vision: Vision) -> None:
        """The content score stays near zero."""
        pictures = (photo.astronaut(), photo.chelsea(), photo.coffee(), photo.china())
        scores = [await vision.screen(views.screen_view(picture)) for picture in pictures]
        assert [0.0] * 4 == pytest.approx(scores, abs=0.1)

    async def test_a_picture_without_anything_is_an_answer_too(self, vision: Vision) -> None:
        """No object, no text, and no failure."""
        evidence = await seen(vision, np.full((300, 400, 3), 200, np.uint8))
        assert ((), ()) == (evidence.detections, evidence.lines)

    async def test_images_at_once_are_not_mixed_up(self, vision: Vision) -> None:
        """Each of twelve gets what it got alone."""
        pictures = [photo.astronaut(), photo.chelsea(), photo.coffee(), photo.motorcycle()]
        alone = [await seen(vision, picture) for picture in pictures]
        together = await asyncio.gather(*(seen(vision, picture) for picture in pictures * 3))
        for expected, got in zip(alone * 3, together, strict=True):
            assert expected.lines == got.lines
            assert [one.label for one in expected.detections] == [one.label for one in got.detections]
            assert likeliest(expected) == likeliest(got)

    async def test_its_probe_asks_every_model(self, vision: Vision) -> None:
        """And finds them well."""
        await vision.probe()

    async def test_it_says_which_models_it_has(self, vision: Vision) -> None:
        """Four, with digests."""
        names = [model.name for model in vision.fingerprint.models]
        assert ["content_screen", "object_detector", "text_reader", "vision_encoder"] == names
        assert all(len(model.digest) == 64 for model in vision.fingerprint.models)
