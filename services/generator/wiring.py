"""The generator, put together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module

from captionstream import __version__
from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.messages import Decoding, Form
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.once import MEBIBYTE, Once
from captionstream.runtime.service import Service
from services.generator import lineup as entries
from services.generator import prompt
from services.generator.asking import Asks, Engines
from services.generator.english import English
from services.generator.late import late
from services.generator.lineup import Engine, Entry, Lineup
from services.generator.lineup_file import lineup_of
from services.generator.reuse import ReusingWriter, kept_bytes
from services.generator.reviewed import ReviewedMemory
from services.generator.scripted_writer import ScriptedWriter
from services.generator.settings import GeneratorSettings
from services.generator.spanish import Spanish
from services.generator.speech import Speech
from services.generator.stage import GeneratorStage
from services.generator.visual import RegistryShelf
from services.generator.vocabulary import Vocabulary
from services.generator.writer import Writer
from services.generator.writing import Outcome, Patience, PatientWriter
from triton_models.registry import Registry

WORDING = "1"
"""To be raised when the same scene is said differently: captions then differ."""


@asynccontextmanager
async def open_generator(
    payloads: PayloadStore, settings: GeneratorSettings | None = None
) -> AsyncIterator[Service]:
    """The generator's service. Its probe asks those engines for one word without which it is not ready.

    Raises BadLineup, Misconfigured (a key is missing), BadMemory, or OtherEncoder when the reviewed pictures were
    encoded by another one.
    """
    told = settings or GeneratorSettings()
    vocabulary = Vocabulary.load(told.vocabulary)
    reviewed = reviewed_memory(vocabulary, told)
    lineup = lineup_of(told)
    async with open_engines(lineup, told) as engines:
        stage = GeneratorStage(
            vocabulary=vocabulary,
            engines=engines,
            payloads=payloads,
            languages=languages(),
            pipeline_version=pipeline_version(vocabulary, told, reviewed, lineup),
            fingerprints=told.encoder_fingerprints,
            reviewed=reviewed,
        )
        yield Service(stage, probe_of(engines))


@asynccontextmanager
async def open_engines(lineup: Lineup, told: GeneratorSettings) -> AsyncIterator[Engines]:
    """All engines of the lineup. What needs a process or a model of its own starts when it is first asked."""
    registry = Registry(told.models)
    keep = keeping(told)
    async with AsyncExitStack() as stack:
        writers: dict[str, Asks] = {}
        for name, engine in lineup.engines.items():
            writer = await stack.enter_async_context(open_writer(engine, told, registry))
            writers[name] = keep(PatientWriter(writer, patience(engine, told, tries(lineup, name))))
        yield Engines(lineup, writers, RegistryShelf(registry))


@asynccontextmanager
async def open_writer(engine: Engine, told: GeneratorSettings, registry: Registry) -> AsyncIterator[Writer]:
    match engine:
        case entries.Scripted():
            yield ScriptedWriter(told.seed, reads=engine.reads)
        case entries.LanguageModel():
            from services.generator.language_model import LanguageModel

            async with LanguageModel.open(told) as model:
                yield model
        case entries.OpenAI():
            from services.generator.language_model import LanguageModel

            async with LanguageModel.open(engine, os.environ) as model:
                yield model
        case entries.Prefix():
            decoding = prefix_decoding(engine, told)
            async with late(decoding, partial(open_prefix, engine, decoding, told, registry)) as writer:
                yield writer


@asynccontextmanager
async def open_prefix(
    engine: entries.Prefix, decoding: Decoding, told: GeneratorSettings, registry: Registry
) -> AsyncIterator[Writer]:
    module = await asyncio.to_thread(import_module, "services.generator.prefix.writer")
    room = module.Room(slots=engine.slots, tokens=engine.tokens, threads=engine.threads)
    settings = module.PrefixSettings(which=engine.engine, room=room, facts=engine.facts)
    async with module.PrefixWriter.open(registry, decoding, settings, told.reference) as writer:
        yield writer


def prefix_decoding(engine: entries.Prefix, told: GeneratorSettings) -> Decoding:
    return Decoding(
        seed=told.seed,
        temperature=told.temperature if engine.temperature is None else engine.temperature,
        max_tokens=engine.max_tokens or told.max_tokens,
        constrained=engine.constrained,
    )


def keeping(told: GeneratorSettings) -> Callable[[PatientWriter], Asks]:
    """How a writer is asked: texts that are kept are shared by all engines, up to one bound."""
    if told.kept_mb == 0:
        return lambda patient: patient
    once: Once[Outcome] = Once("writing", kept_bytes, max_bytes=int(told.kept_mb * MEBIBYTE))
    return lambda patient: ReusingWriter(patient, once)


def tries(lineup: Lineup, name: str) -> int | None:
    """Once where another engine comes after it: that one is asked instead of waiting. Else as the budget allows."""
    asked = [route.engine for route in lineup.routes if route.engine != entries.PLAIN]
    last = not asked or asked[-1] == name
    return None if lineup.engines[name].required or last else 1


def patience(engine: Entry, told: GeneratorSettings, tries: int | None = None) -> Patience:
    return Patience(
        budget_s=told.budget_s if engine.budget_s is None else engine.budget_s,
        reserve_s=told.reserve_s,
        rest_s=told.rest_s if engine.rest_s is None else engine.rest_s,
        required=engine.required,
        tries=tries,
    )


def probe_of(engines: Engines) -> Callable[[], Awaitable[None]]:
    """One word from each engine that readiness depends on. Without any there is nothing to ask."""
    asked = [
        engines.writers[name].writer
        for name, engine in engines.lineup.engines.items()
        if engine.required or engine.probed
    ]

    async def probe() -> None:
        for writer in asked:
            await writer.probe()

    return probe


def languages() -> Mapping[str, Speech]:
    speeches: tuple[Speech, ...] = (English.load(), Spanish.load())
    return {speech.language: speech for speech in speeches}


def reviewed_memory(vocabulary: Vocabulary, told: GeneratorSettings) -> ReviewedMemory | None:
    if told.reviewed is None:
        return None
    return ReviewedMemory.load(told.reviewed, vocabulary).only_of(told.encoder_fingerprints)


def pipeline_version(
    vocabulary: Vocabulary,
    told: GeneratorSettings,
    reviewed: ReviewedMemory | None = None,
    lineup: Lineup | None = None,
) -> str:
    """The release, and a digest of what else decides about a caption's words."""
    decides: list[object] = [
        WORDING,
        vocabulary.digest,
        *(prompt.reference(form).digest for form in Form),
        (lineup or lineup_of(told)).digest,
        told.writer,
        told.model,
        told.seed,
    ]
    decides += [told.temperature, told.max_tokens, told.constrained]
    decides += [reviewed.digest] if reviewed else []
    digest = sha256_hex("\0".join(map(str, decides)).encode())
    return f"{__version__}+{digest[:12]}"
