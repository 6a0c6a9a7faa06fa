"""The generator, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from captionstream import __version__
from captionstream.contracts.identity import sha256_hex
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.service import Service
from services.generator import prompt
from services.generator.english import English
from services.generator.reviewed import ReviewedMemory
from services.generator.scripted_writer import ScriptedWriter
from services.generator.settings import GeneratorSettings, WriterKind
from services.generator.spanish import Spanish
from services.generator.speech import Speech
from services.generator.stage import GeneratorStage
from services.generator.vocabulary import Vocabulary
from services.generator.writer import Writer
from services.generator.writing import Patience, PatientWriter

WORDING = "1"
"""To be raised when the same scene is said differently: captions then differ."""


@asynccontextmanager
async def open_generator(
    payloads: PayloadStore, settings: GeneratorSettings | None = None
) -> AsyncIterator[Service]:
    """The generator's service. Its probe writes one word, if there is a language model to write it.

    Raises BadMemory, or OtherEncoder when the reviewed pictures were encoded by another one.
    """
    told = settings or GeneratorSettings()
    vocabulary = Vocabulary.load(told.vocabulary)
    reviewed = reviewed_memory(vocabulary, told)
    async with open_writer(told) as writer:
        stage = GeneratorStage(
            vocabulary=vocabulary,
            writer=PatientWriter(writer, patience(told)) if writer else None,
            payloads=payloads,
            languages=languages(),
            pipeline_version=pipeline_version(vocabulary, told, reviewed),
            fingerprints=told.encoder_fingerprints,
            reviewed=reviewed,
        )
        yield Service(stage, writer.probe if writer else nothing_to_probe)


@asynccontextmanager
async def open_writer(told: GeneratorSettings) -> AsyncIterator[Writer | None]:
    match told.writer:
        case WriterKind.PLAIN:
            yield None
        case WriterKind.SCRIPTED:
            yield ScriptedWriter(told.seed)
        case WriterKind.LLM:
            from services.generator.language_model import LanguageModel

            async with LanguageModel.open(told) as model:
                yield model


def patience(told: GeneratorSettings) -> Patience:
    return Patience(told.budget_s, told.reserve_s, told.rest_s, told.writer_required)


def languages() -> Mapping[str, Speech]:
    speeches: tuple[Speech, ...] = (English.load(), Spanish.load())
    return {speech.language: speech for speech in speeches}


def reviewed_memory(vocabulary: Vocabulary, told: GeneratorSettings) -> ReviewedMemory | None:
    if told.reviewed is None:
        return None
    return ReviewedMemory.load(told.reviewed, vocabulary).only_of(told.encoder_fingerprints)


def pipeline_version(
    vocabulary: Vocabulary, told: GeneratorSettings, reviewed: ReviewedMemory | None = None
) -> str:
    """The release, and a digest of what else decides about a caption's words."""
    decides: list[object] = [
        WORDING,
        vocabulary.digest,
        prompt.reference().digest,
        told.writer,
        told.model,
        told.seed,
    ]
    decides += [told.temperature, told.max_tokens, told.constrained]
    decides += [reviewed.digest] if reviewed else []
    digest = sha256_hex("\0".join(map(str, decides)).encode())
    return f"{__version__}+{digest[:12]}"


async def nothing_to_probe() -> None:
    """The plain sentence needs no engine."""
