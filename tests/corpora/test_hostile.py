"""Images that broke other decoders do not break this one."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from PIL import Image

from captionstream.contracts import codec
from captionstream.contracts.messages import ImagePrepared, ImageSubmitted, Message, RefusalReason, Refused
from captionstream.contracts.record import Outgoing, Record
from captionstream.contracts.values import ImageReference
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.advance import Advance
from services.ingest.settings import IngestSettings
from services.ingest.wiring import open_ingest
from tests.corpora.hostile import HOME, hostile_images

IMAGES = 100
MEBIBYTE = 1024 * 1024
GROWTH = 150 * MEBIBYTE  # of this process: what a service may keep of a hundred images
EXPECTED_REASONS = {RefusalReason.UNDECODABLE, RefusalReason.TOO_LARGE}

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def images() -> list[Path]:
    """Fetched on the first run, which takes some minutes."""
    return hostile_images(IMAGES, seed=1)


@pytest.fixture
async def advance(tmp_path: Path) -> AsyncIterator[Advance]:
    told = IngestSettings(objects=str(HOME / "images"))
    async with open_ingest(PayloadStore.open(str(tmp_path)), told) as service:
        yield Advance(service.stage)


def answer_to(out: Outgoing) -> Message:
    return codec.decode(Record(out.topic, 0, 0, out.key, out.value, out.headers, datetime.now(UTC)))


async def first_answer(advance: Advance, reference: ImageReference) -> ImagePrepared | Refused:
    event = ImageSubmitted(id="hostile", image=reference)
    record = Record("image-events", 0, 0, event.key, event.model_dump_json().encode(), (), datetime.now(UTC))
    answers = [answer_to(out) async for out in advance(record)]
    assert isinstance(answers[0], ImagePrepared | Refused)
    return answers[0]


async def test_a_hundred_hostile_images_are_prepared_or_refused(advance: Advance, images: list[Path]) -> None:
    """Each has one typed outcome, none is a defect of ours, memory stays bounded, and the service goes on."""
    before = psutil.Process().memory_info().rss
    outcomes: Counter[str] = Counter()
    for image in images:
        answer = await first_answer(
            advance, ImageReference(object_key=str(image.relative_to(HOME / "images")))
        )
        if isinstance(answer, Refused):
            assert answer.reason in EXPECTED_REASONS, f"{image.name}: {answer.reason} {answer.detail}"
            assert str(HOME) not in answer.detail
        outcomes[answer.reason if isinstance(answer, Refused) else "prepared"] += 1
    print(dict(outcomes))
    assert outcomes.total() == IMAGES
    assert outcomes["prepared"] and outcomes[RefusalReason.UNDECODABLE], "both ways were taken"
    assert psutil.Process().memory_info().rss - before < GROWTH
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < IngestSettings().decoder_memory
    assert isinstance(await first_answer(advance, ImageReference(inline=good_image())), ImagePrepared)


def good_image() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()
