"""A model is swapped while events flow: none is lost, and every caption names the model that made it.

Kafka and Triton are real, all four services work on them; the evidence is a double's, for speed. The eyes and language
halves of both models are tiny, and the generator writes with them by ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.topics import CAPTIONS, IMAGES_ENCODED
from captionstream.contracts.values import StageName
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.asking import submit
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics
from services.encoder.settings import EncoderSettings
from services.generator import prompt
from services.generator.grammar import plainest
from services.generator.prefix.writer import PrefixWriter
from services.generator.sentence import Request, sentence
from services.generator.settings import GeneratorSettings
from services.generator.translation import sayable
from services.generator.visual import RegistryShelf, seen_of
from services.generator.wiring import open_generator
from services.generator.writer import Piece, Task
from services.ingest.wiring import open_ingest
from services.safety.wiring import open_safety
from tests.faults.harness import Report, check, plate_event
from tests.faults.harness import seen_of as answer_of
from tests.parity.end_to_end import encoding, eyes_on_triton, whole_models, working
from tests.unit.generator.builders import english, vocabulary
from triton_models.registry import Aliases, Registry, place

pytestmark = [pytest.mark.models, pytest.mark.stack, pytest.mark.timeout(900)]

EVENTS = int(os.environ.get("CAPTIONSTREAM_TEST_SWAP_EVENTS", "1000"))
PROMOTED_AFTER, ROLLED_BACK_AFTER = EVENTS * 30 // 100, EVENTS * 65 // 100  # pictures that were looked at
AGAIN = 20  # captions that are written once more, by the model that they name
SHARE = 0.2
LINEUP = "engines: {split: {kind: prefix, budget_s: 60, required: true}}\nroutes: [{engine: split}]\n"


@dataclass
class Run:
    """What came out, in the order in which it came."""

    log: KafkaLog
    payloads: PayloadStore
    registry: Registry
    names: dict[str, str]  # digest → name
    answers: list[m.Answer] = field(default_factory=list)
    encoded: dict[str, m.ImageEncoded] = field(default_factory=dict)

    async def until(self, *, answers: int = 0, looked_at: int = 0) -> None:
        while len(self.answers) < answers or len(self.encoded) < looked_at:
            await asyncio.sleep(0.1)

    async def read(self, topic: str, start: Any) -> None:
        async with aclosing(self.log.read(topic, start)) as records:  # type: ignore[type-var]
            async for record in records:
                message = codec.decode(record)
                if isinstance(message, m.Answer):
                    self.answers.append(message)
                elif isinstance(message, m.ImageEncoded):
                    self.encoded[message.event.id] = message

    def eye(self, event_id: str) -> str:
        """Digest of the split model whose eye saw the event's picture."""
        visual = self.encoded[event_id].visual
        assert visual is not None
        return visual.model.digest


@pytest.fixture
async def run(kafka: str, tmp_path: Path) -> AsyncIterator[Run]:
    """Two models on the shelf: `first` in production, `second` as canary."""
    digests = await asyncio.to_thread(whole_models, "pair", tmp_path, {"names": ["first", "second"]})
    registry = Registry(tmp_path / "models")
    registry.write(Aliases(production=digests["first"], canary=digests["second"], share=SHARE))
    payloads = PayloadStore.open(str(tmp_path / "payloads"))
    async with AsyncExitStack() as stack:
        triton = await stack.enter_async_context(_in_thread(eyes_on_triton(tmp_path, registry)))
        await create_topics(kafka)
        services = [
            await stack.enter_async_context(one) for one in _services(tmp_path, registry, payloads, triton)
        ]
        log = KafkaLog(kafka)
        stack.push_async_callback(log.close)
        await stack.enter_async_context(working(kafka, "swap", services))
        made = Run(log, payloads, registry, {digest: name for name, digest in digests.items()})
        readers = [
            asyncio.create_task(made.read(topic, await log.ends(topic)))
            for topic in (CAPTIONS.name, IMAGES_ENCODED.name)
        ]
        yield made
        for reader in readers:
            reader.cancel()


def _services(folder: Path, registry: Registry, payloads: PayloadStore, triton: int) -> list[Any]:
    lineup = folder / "lineup.yaml"
    lineup.write_text(LINEUP)
    models = registry.folder
    return [
        open_ingest(payloads),
        encoding(payloads, EncoderSettings(triton=f"127.0.0.1:{triton}", models=models, views=1)),
        open_generator(payloads, GeneratorSettings(lineup=lineup, models=models)),
        open_safety(payloads),
    ]


@asynccontextmanager
async def _in_thread(part: Any) -> AsyncIterator[Any]:
    """A part whose start and end would hold up the loop."""
    yield await asyncio.to_thread(part.__enter__)
    await asyncio.to_thread(part.__exit__, None, None, None)


async def test_a_model_is_swapped_under_load_and_nothing_is_lost(run: Run) -> None:
    """1,000 events; the canary is promoted and rolled back while they are on their way."""
    events = [plate_event(number, "swap") for number in range(EVENTS)]
    before = run.registry.aliases()
    publishing = asyncio.create_task(submit(run.log, events))
    await run.until(looked_at=PROMOTED_AFTER)
    first_phase = [*run.encoded]
    after = run.registry.change(Aliases.promoted)
    await run.until(looked_at=ROLLED_BACK_AFTER)
    run.registry.change(Aliases.rolled_back)
    await run.until(answers=EVENTS)
    await publishing

    assert Report() == check(events, [answer_of(answer) for answer in run.answers])
    captions = [answer for answer in run.answers if isinstance(answer, m.CaptionPublished)]
    assert EVENTS == len(captions)
    for caption in captions:
        assert {run.eye(caption.event.id)} == split_models_of(caption, run)
        assert run.names[run.eye(caption.event.id)] == caption.writer

    chosen = {event.id: event.event for event in events}
    assert all(before.chosen(chosen[name]) == run.eye(name) for name in first_phase)
    canary = [name for name in first_phase if run.eye(name) == before.canary]
    expected = [name for name in first_phase if place(chosen[name]) < SHARE]
    assert sorted(expected) == sorted(canary)
    assert canary
    seen_by_second = [name for name in run.encoded if run.eye(name) == after.production]
    promoted = [name for name in seen_by_second if before.chosen(chosen[name]) == before.production]
    assert len(promoted) > EVENTS // 20
    late = [*run.encoded][-EVENTS // 10 :]
    assert {before.production} == {run.eye(name) for name in late}, "rolled back, and no canary any more"
    await written_again_is_the_same(run, captions)


def split_models_of(answer: m.Answer, run: Run) -> set[str]:
    """The split models that an answer names; and the language half that it names is of the same one."""
    assert answer.provenance is not None
    named = [model for model in answer.provenance.models if model.name in run.names.values()]
    assert 2 == len(named) and 1 == len({model.name for model in named})
    return {model.digest for model in named} & {*run.names}


async def written_again_is_the_same(run: Run, captions: list[m.CaptionPublished]) -> None:
    """The name on a caption is no label: that model, asked again about the same visual tokens, writes the same."""
    told = captions[0].provenance
    assert told is not None and told.decoding is not None
    by_first, by_second = (
        [caption for caption in captions if caption.writer == name][: AGAIN // 2]
        for name in run.names.values()
    )
    async with PrefixWriter.open(run.registry, told.decoding) as writer:
        for caption in (*by_first, *by_second):
            assert caption.text == await _written(writer, run, caption)


async def _written(writer: PrefixWriter, run: Run, caption: m.CaptionPublished) -> str:
    message = run.encoded[caption.event.id]
    assert message.visual is not None
    request = Request.of(message.event, message.supplied)
    said = sayable(caption.scene, english(), vocabulary())
    told = sentence(said, request, english())
    asked = prompt.prompt(said, request, message.event.language)
    seen = await seen_of(message.visual, run.payloads, RegistryShelf(run.registry))
    pieces = [piece async for piece in writer.write(Task(asked, told.head, seen=seen))]
    text = "".join(piece.text for piece in pieces if isinstance(piece, Piece))
    return text.strip() + plainest(told.tail, 0)


async def test_visual_tokens_of_a_model_that_is_not_on_the_shelf_are_refused(run: Run) -> None:
    """As mixed encoders: no other language half may read them."""
    await submit(run.log, [plate_event(1, "mixed")])
    await run.until(answers=1)
    (message,) = run.encoded.values()
    assert message.visual is not None
    stranger = message.visual.model.model_copy(update={"digest": "f" * 64})
    mixed = message.model_copy(
        update={
            "event": message.event.model_copy(update={"id": "mixed-2"}),
            "visual": message.visual.model_copy(update={"model": stranger}),
        }
    )
    await run.log.publish([codec.encode(mixed, StageName.ENCODER)])
    await run.until(answers=2)
    refused = run.answers[1]
    assert isinstance(refused, m.CaptionRefused)
    assert m.RefusalReason.MIXED_ENCODERS is refused.reason
    assert "mixed-2" == refused.event.id
