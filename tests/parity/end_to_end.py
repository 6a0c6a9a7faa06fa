"""The proof through the real services: what a split model writes behind Kafka and Triton is what the whole one writes.

    python -m tests.parity.end_to_end [--rows FILE]

A publisher puts pictures of mixed sizes on a real Kafka; ingest and encoder work on them, the eyes of the split models
run on a real tritonserver; visual tokens travel on Kafka in fp32. Then

 1. free      what arrived on `images-encoded` is read as the generator reads it, and the generator's own `prefix`
              engine writes without a grammar: every token must be the one that transformers' `generate` gives on the
              whole model for the same prompt, in both engines, all questions in flight at once.
 2. bound     the generator's stage writes the caption under the scene's grammar: its text on `captions-drafted` must
              be the one that the whole model writes under the same grammar.

What is not shown here: the evidence is a double's (it does not reach the language model in 1), safety is not asked,
and with sampling ONNX Runtime is compared with transformers' distribution drawn by numpy's numbers instead of torch's,
since without torch nobody draws torch's. fp16 is what visual tokens are by default; its agreement stands beside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from captionstream.contracts import codec
from captionstream.contracts import messages as m
from captionstream.contracts.topics import CAPTIONS_DRAFTED, IMAGES_ENCODED
from captionstream.contracts.values import ImageReference, ModelReference
from captionstream.local.installed import Installed
from captionstream.local.kafka import kafka_part
from captionstream.local.process import Part
from captionstream.local.reference_engine import reference_engine_part
from captionstream.local.triton import TritonPorts, triton_part
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.asking import submit
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.kafka_topics import create_topics
from captionstream.runtime.service import Service
from captionstream.runtime.worker import Worker
from services.encoder.scripted import ScriptedVision
from services.encoder.seer import RegistrySeer
from services.encoder.settings import EncoderSettings
from services.encoder.triton import TritonEyes, on_this_host, reached
from services.encoder.views import Floats, Pixels
from services.encoder.vision import FEATURES, OBJECT_CLASSES
from services.encoder.wiring import Sight, stage_of
from services.generator import prompt
from services.generator.grammar import Literal, plainest
from services.generator.prefix.grammar_mask import spaced_lark
from services.generator.prefix.writer import PrefixSettings, PrefixWriter, messages_of
from services.generator.prompt import Prompt
from services.generator.sentence import Request, Sentence, sentence
from services.generator.settings import GeneratorSettings
from services.generator.translation import sayable
from services.generator.visual import RegistryShelf, seen_of
from services.generator.wiring import open_generator
from services.generator.writer import Seen, Task
from services.ingest.wiring import open_ingest
from tests.conftest import free_port
from tests.unit.generator.builders import english, logits, vocabulary
from triton_models import repository
from triton_models.registry import Registry
from triton_models.vision_language.visual_tokens import VisualTokens

CLASSES = ("smolvlm", "llava_onevision", "qwen2_5_vl")
PROMPTS = ("Describe this picture.", "What colour is it?", "And what lies on it?")
QUESTIONS = ((0, 0), (1, 1), (2, 2), (3, 0), (2, 0), (2, 1))
"""Picture and prompt: four sizes, and three prompts on one picture."""
TOKENS, SEED, PICTURES = 16, 7, 4
CAPTION_TOKENS = 96
WAYS = (
    ("reference", "greedy", "greedy"),
    ("reference", "sampled", "sampled"),
    ("onnxruntime", "greedy", "greedy"),
    ("onnxruntime", "sampled", "sampled, same noise"),
)
"""Engine, decoding, and what of the whole model's answers it must be."""
WITHIN_S = 120.0


@dataclass(frozen=True)
class Row:
    """Of `tokens` tokens of the whole model, how many came out of the services too. A caption counts its letters."""

    model: str
    engine: str
    decoding: str
    tokens: int
    same_prompts: bool
    same_fp32: int
    same_fp16: int

    @property
    def proved(self) -> bool:
        return self.same_prompts and self.same_fp32 == self.tokens > 0


@dataclass(frozen=True)
class Proof:
    """`broken` is the row of the model with one wrong weight in its connector: it must not be proved."""

    rows: tuple[Row, ...]
    broken: Row
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return all(row.proved for row in self.rows) and not self.broken.proved and self.broken.same_prompts


# ---------------------------------------------------------------- the whole models


def asked_of_whole_models() -> dict[str, Any]:
    return {
        "classes": CLASSES, "prompts": [messages_of(free_task(n), facts=False) for n in range(len(PROMPTS))],
        "questions": QUESTIONS, "tokens": TOKENS, "seed": SEED,
    }  # fmt: skip


def whole_models(work: str, folder: Path, asked: dict[str, Any]) -> Any:
    """Asks the Python that has torch."""
    installed = Installed.here()
    command = [installed.models_venv / "bin" / "python", "-m", "tests.parity.whole_models", work, folder]
    subprocess.run([*map(str, command)], cwd=installed.source, input=json.dumps(asked), text=True, check=True)
    return json.loads((folder / f"{work}.json").read_text())


# ---------------------------------------------------------------- the parts


@contextmanager
def running(part: Part) -> Iterator[int]:
    """The part's port, from the moment it answers. A probe that raises is a no, as it is for the supervisor."""
    part.log_path.parent.mkdir(parents=True, exist_ok=True)
    with part.log_path.open("ab") as log:
        process = subprocess.Popen(
            part.argv, env={**os.environ, **part.env}, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        until = time.monotonic() + 2 * part.start_timeout_s
        while not asyncio.run(_is_ready(part)):
            assert process.poll() is None and time.monotonic() < until, part.log_path.read_text()[-3000:]
            time.sleep(0.2)
        yield part.port
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _is_ready(part: Part) -> bool:
    try:
        return await part.ready()
    except httpx.HTTPError:
        return False


@contextmanager
def eyes_on_triton(folder: Path, registry: Registry) -> Iterator[int]:
    """A tritonserver with the registry's eyes and nothing else; its gRPC port."""
    for model in registry.models():
        repository.render_split(model.folder, model.triton_name, folder / "repository", "python")
    ports = TritonPorts(free_port(), free_port(), free_port())
    with running(triton_part(folder / "triton", ports, models=folder / "repository")) as port:
        yield port


CAR, DOG = 2, 16  # places in COCO's 80 names


class CarAndDog(ScriptedVision):
    """Sees a sports car and a dog everywhere, so that there is something to say in more than one way."""

    async def classify(self, views: Pixels) -> tuple[Floats, Floats]:
        said = logits(len(views), sports_car=0.95).astype(np.float32)
        return said, np.zeros((len(views), FEATURES), np.float32)

    async def detect(self, image: Pixels) -> tuple[Floats, Floats]:
        boxes = np.array([[0.6, 0.1, 1.0, 0.9], [0.0, 0.1, 0.4, 0.9]], np.float32)
        scores = np.zeros((2, OBJECT_CLASSES), np.float32)
        scores[[0, 1], [CAR, DOG]] = 0.9
        return boxes, scores


@asynccontextmanager
async def encoding(payloads: PayloadStore, told: EncoderSettings) -> AsyncIterator[Service]:
    """The encoder's own stage over the double's evidence and the split models on Triton."""
    shared = told.shared_memory_bytes if on_this_host(told.triton) else 0
    async with reached(told.triton, shared) as server:
        seer = RegistrySeer(Registry(told.models), TritonEyes(server, told.visual_seconds))
        sight = Sight(CarAndDog(), seer)
        yield Service(stage_of(sight, payloads, told), sight.probe, told.images_at_once)


@asynccontextmanager
async def working(kafka: str, group: str, services: Sequence[Service]) -> AsyncIterator[None]:
    """Each service as a worker on Kafka, as its own process would be."""
    stop = asyncio.Event()
    logs = [KafkaLog(kafka) for _ in services]
    workers = [
        Worker(service, log, probing=False, prefix=group) for service, log in zip(services, logs, strict=True)
    ]
    tasks = [asyncio.create_task(worker.run(stop)) for worker in workers]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        stop.set()
        _, late = await asyncio.wait(tasks, timeout=10)
        for task in late:
            task.cancel()
        for log in logs:
            await log.close()


# ---------------------------------------------------------------- the way


@dataclass(frozen=True)
class Sides:
    """What the services are, as the proof asks them."""

    folder: Path
    registry: Registry
    log: KafkaLog
    payloads: PayloadStore
    reference: str

    async def sent(
        self, model: str, digest: str
    ) -> tuple[dict[int, m.ImageEncoded], dict[int, m.CaptionDrafted]]:
        """What became of the pictures, by their number, with that model in production."""
        self.registry.write(self.registry.aliases().producing(digest))
        events = [self._event(model, number) for number in range(PICTURES)]
        starts = {topic: await self.log.ends(topic) for topic in (IMAGES_ENCODED.name, CAPTIONS_DRAFTED.name)}
        await submit(self.log, events)
        async with asyncio.timeout(WITHIN_S):
            encoded = await self._arrived(IMAGES_ENCODED.name, starts, m.ImageEncoded, events)
            drafted = await self._arrived(CAPTIONS_DRAFTED.name, starts, m.CaptionDrafted, events)
        return encoded, drafted

    def _event(self, model: str, number: int) -> m.ImageSubmitted:
        data = (self.folder / f"picture-{number}.png").read_bytes()
        return m.ImageSubmitted(id=f"{model}-{number}", image=ImageReference(inline=data))

    async def _arrived(
        self, topic: str, starts: dict[str, Any], kind: type[Any], events: Sequence[m.ImageSubmitted]
    ) -> dict[int, Any]:
        wanted, found = {event.id for event in events}, {}
        records = self.log.read(topic, starts[topic])
        async for record in records:
            message = codec.decode(record)
            if isinstance(message, m.Refused):
                raise AssertionError(f"refused: {message}")
            if isinstance(message, kind) and message.event.id in wanted:
                found[int(message.event.id.rpartition("-")[2])] = message
            if len(found) == len(wanted):
                break
        await records.aclose()  # type: ignore[attr-defined]
        return found


@asynccontextmanager
async def sides(folder: Path, kafka: str, triton: int, reference: str) -> AsyncIterator[Sides]:
    registry = Registry(folder / "models")
    payloads = PayloadStore.open(str(folder / "payloads"))
    lineup = folder / "lineup.yaml"
    lineup.write_text(
        f"engines: {{split: {{kind: prefix, budget_s: 60, max_tokens: {CAPTION_TOKENS}}}}}\n"
        "routes: [{engine: split}]\n"
    )
    encoder = EncoderSettings(
        triton=f"127.0.0.1:{triton}", models=registry.folder, visual_precision="float32"
    )
    generator = GeneratorSettings(lineup=lineup, models=registry.folder, reference=reference)
    async with AsyncExitStack() as stack:
        services = [
            await stack.enter_async_context(service)
            for service in (
                open_ingest(payloads),
                encoding(payloads, encoder),
                open_generator(payloads, generator),
            )
        ]
        await create_topics(kafka)
        log = KafkaLog(kafka)
        stack.push_async_callback(log.close)
        await stack.enter_async_context(working(kafka, "parity", services))
        yield Sides(folder, registry, log, payloads, reference)


# ---------------------------------------------------------------- free


def free_task(number: int, seen: Seen | None = None) -> Task:
    """Without facts; what would bind it is not asked, since the writer's decoding is not constrained."""
    some = VisualTokens(np.zeros((1, 1), np.float32))
    return Task(Prompt(PROMPTS[number], ""), Literal("."), seen=seen or Seen(NOBODY, some))


NOBODY = ModelReference(name="nobody", version="", digest="0" * 64)


async def free_rows(
    side: Sides, model: str, told: dict[str, Any], encoded: dict[int, m.ImageEncoded]
) -> list[Row]:
    seen = {number: await _seen(side, message) for number, message in encoded.items()}
    servable = side.registry.model(next(iter(seen.values())).model.digest).servable
    return [
        await _free_row(side, model, told["answers"], seen, *way)
        for way in WAYS
        if servable or way[0] == "reference"
    ]


async def _seen(side: Sides, message: m.ImageEncoded) -> Seen:
    assert message.visual is not None
    return await seen_of(message.visual, side.payloads, RegistryShelf(side.registry))


async def _free_row(
    side: Sides,
    model: str,
    answers: list[Any],
    seen: dict[int, Seen],
    engine: Any,
    decoding: str,
    answer: str,
) -> Row:
    how = m.Decoding(
        seed=SEED, temperature=0 if decoding == "greedy" else 1, max_tokens=TOKENS, constrained=False
    )
    told = PrefixSettings(which=engine, facts=False)
    async with PrefixWriter.open(side.registry, how, told, side.reference) as writer:
        exact = await asyncio.gather(*(_written(writer, one, seen) for one in answers))
        halved = {number: Seen(one.model, in_fp16(one.tokens)) for number, one in seen.items()}
        short = await asyncio.gather(*(_written(writer, one, halved) for one in answers))
    pairs = [(one[answer], tokens) for one, (_, tokens) in zip(answers, exact, strict=True)]
    return Row(
        model, engine, decoding,
        tokens=sum(len(one[answer]) for one in answers),
        same_prompts=all(one["ids"] == ids for one, (ids, _) in zip(answers, exact, strict=True)),
        same_fp32=sum(same(*pair) for pair in pairs),
        same_fp16=sum(same(one[answer], tokens) for one, (_, tokens) in zip(answers, short, strict=True)),
    )  # fmt: skip


async def _written(writer: PrefixWriter, one: Any, seen: dict[int, Seen]) -> tuple[list[int], list[int]]:
    """Ids of the prompt, and of the text."""
    async with writer.writing(free_task(one["prompt"], seen[one["picture"]])) as (asked, tokens):
        return list(asked.ids), [token.id async for token in tokens]


def in_fp16(tokens: VisualTokens) -> VisualTokens:
    return VisualTokens(tokens.values.astype(np.float16), tokens.grid)


def same(expected: Sequence[Any], found: Sequence[Any]) -> int:
    """How many stand in the same place; one too many takes one away."""
    equal = sum(bool(one == other) for one, other in zip(expected, found, strict=False))
    return equal - max(0, len(found) - len(expected))


# ---------------------------------------------------------------- bound


def bound_question(model: str, number: int, drafted: m.CaptionDrafted) -> dict[str, Any]:
    """What the generator must have asked about this scene, for the whole model to answer."""
    told, request, said = _told(drafted)
    asked = prompt.prompt(said, request, drafted.event.language)
    task = free_task(0)
    messages = messages_of(Task(asked, told.head, seen=task.seen))
    return {"model": model, "picture": number, "messages": messages, "grammar": spaced_lark(told.head)}


def _told(drafted: m.CaptionDrafted) -> tuple[Sentence, Request, Any]:
    request = Request.of(drafted.event, drafted.supplied)
    said = sayable(drafted.scene, english(), vocabulary())
    return sentence(said, request, english()), request, said


def bound_row(model: str, engine: str, drafted: Sequence[m.CaptionDrafted], texts: Sequence[str]) -> Row:
    expected = [
        text.strip() + plainest(_told(one)[0].tail, 0) for one, text in zip(drafted, texts, strict=True)
    ]
    found = [one.candidates[0].text if one.candidates[0].writer == model else "" for one in drafted]
    letters = sum(same(text, other) for text, other in zip(expected, found, strict=True))
    return Row(model, engine, "under a grammar", sum(map(len, expected)), True, letters, letters)


# ---------------------------------------------------------------- all of it


def prove(folder: Path, kafka: str | None = None) -> Proof:
    """`kafka` is the address of an empty broker; one is started where there is none."""
    whole = whole_models("free", folder, asked_of_whole_models())
    registry = Registry(folder / "models")
    with ExitStack() as parts:
        kafka = (
            kafka or f"127.0.0.1:{parts.enter_context(running(kafka_part(folder, free_port(), free_port())))}"
        )
        triton = parts.enter_context(eyes_on_triton(folder, registry))
        reference = parts.enter_context(running(reference_engine_part(folder, free_port(), registry.folder)))
        return asyncio.run(_prove(folder, whole, kafka, triton, f"http://127.0.0.1:{reference}"))


async def _prove(folder: Path, whole: Any, kafka: str, triton: int, reference: str) -> Proof:
    rows: list[Row] = []
    captions: dict[str, dict[int, m.CaptionDrafted]] = {}
    async with sides(folder, kafka, triton, reference) as side:
        for model, told in whole["models"].items():
            encoded, captions[model] = await side.sent(model, told["digest"])
            rows += await free_rows(side, model, told, encoded)
        encoded, _ = await side.sent("broken", whole["broken"])
        (broken, *_) = await free_rows(side, "broken", whole["models"][CLASSES[0]], encoded)
    questions = [
        bound_question(model, number, drafted)
        for model, found in captions.items()
        for number, drafted in sorted(found.items())
    ]
    texts = iter(await asyncio.to_thread(whole_models, "bound", folder, {"texts": questions}))
    for model, found in captions.items():
        drafted = [one for _, one in sorted(found.items())]
        engine = "onnxruntime" if Registry(folder / "models").named(model).servable else "reference"
        rows.append(bound_row(model, engine, drafted, [next(texts) for _ in drafted]))
    return Proof(tuple(rows), broken, whole["versions"])


# ---------------------------------------------------------------- the table


def table(proof: Proof) -> str:
    lines = [_line("model", "engine", "decoding", "tokens", "equal in fp32", "in fp16")]
    lines += [_row_line(row) for row in (*proof.rows, proof.broken)]
    wrong = "notices" if not proof.broken.proved else "does not notice"
    said = "through Kafka, Triton, encoder and generator"
    lines.append(f"{'✓' if proof.holds else '✗'} {said}; it {wrong} a wrong weight of a connector")
    return "\n".join(lines)


def _row_line(row: Row) -> str:
    equal = f"{row.same_fp32} {'✓' if row.proved else '✗'}" + ("" if row.same_prompts else " other prompt")
    short = "" if row.decoding == "under a grammar" else f"{100 * row.same_fp16 / max(1, row.tokens):.0f} %"
    return _line(row.model, row.engine, row.decoding, str(row.tokens), equal, short)


def _line(*cells: str) -> str:
    widths = (16, 12, 16, 7, 14, 0)
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.end_to_end")
    parser.add_argument("--rows", type=Path, help="a file that gets the rows as JSON")
    told = parser.parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is just starting is no news
    with tempfile.TemporaryDirectory() as folder:
        proof = prove(Path(folder))
    if told.rows:
        told.rows.write_text(json.dumps({**asdict(proof), "holds": proof.holds}, indent=1))
    print(table(proof))
    return 0 if proof.holds else 1


if __name__ == "__main__":
    sys.exit(main())
