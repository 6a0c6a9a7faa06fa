"""The whole system on one screen.

image-events ▶ ingest ▶ images-prepared ▶ encoder ▶ images-encoded ▶ generator ▶ captions-drafted ▶ safety ▶ captions
                                                                                                        ▶ caption-deltas
                                                                                                        ▶ drafts-held
any stage ▶ dead-letters

In production each service is a process of its own (`python -m services.<name>`) and the log is Kafka.
Here the same four run in one process on the log in memory: no broker, no server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from captionstream.contracts.messages import Egress
from captionstream.contracts.values import StageName
from captionstream.payloads.store import PayloadStore
from captionstream.runtime.errors import first_cause
from captionstream.runtime.memory_log import MemoryLog
from captionstream.runtime.worker import Worker
from captionstream.serve import OpenService
from services.encoder.fingerprint import recorded_fingerprint
from services.encoder.settings import EncoderSettings, Engine
from services.encoder.wiring import open_encoder
from services.generator.lineup import Lineup
from services.generator.lineup_file import lineup_of
from services.generator.settings import GeneratorSettings, WriterKind
from services.generator.wiring import open_generator
from services.ingest.settings import IngestSettings
from services.ingest.wiring import open_ingest
from services.safety.settings import SafetySettings
from services.safety.wiring import open_safety

PICTURE_SIDE = 512  # pixels, for engines that are shown the picture
GRACE_S = 5.0  # at the end, for work in hand: it may wait for an engine that is away

SERVICES: dict[StageName, OpenService] = {
    StageName.INGEST: open_ingest,
    StageName.ENCODER: open_encoder,
    StageName.GENERATOR: open_generator,
    StageName.SAFETY: open_safety,
}


@asynccontextmanager
async def embedded(
    *,
    ingest: IngestSettings | None = None,
    encoder: EncoderSettings | None = None,
    generator: GeneratorSettings | None = None,
    safety: SafetySettings | None = None,
) -> AsyncIterator[MemoryLog]:
    """The four services at work on one log in memory. A failure of any of them ends the block and is raised.

    What is not given is as in a process of its own, except that nothing outside is needed: models run in this
    process, and without a lineup in the settings the plain sentence is the caption. Raises BadLineup.
    """
    log, stop = MemoryLog(), asyncio.Event()
    encoder = encoder or EncoderSettings(engine=Engine.ONNX)
    generator = generator or GeneratorSettings(writer=WriterKind.PLAIN)
    if encoder.engine is not Engine.SCRIPTED:
        known = frozenset({recorded_fingerprint().digest})
        generator = generator.model_copy(update={"encoder_fingerprints": known})
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="captionstream-")))
        payloads = PayloadStore.open(str(folder / "payloads"))
        opening = (
            open_ingest(payloads, ingest),
            open_encoder(payloads, giving(encoder, lineup_of(generator), nothing=folder / "models")),
            open_generator(payloads, generator),
            open_safety(payloads, safety),
        )
        services = await asyncio.gather(*(stack.enter_async_context(service) for service in opening))
        try:
            async with asyncio.TaskGroup() as tasks:
                workers = [Worker(service, log, probing=False) for service in services]
                working = [tasks.create_task(worker.run(stop)) for worker in workers]
                yield log
                stop.set()
                _, late = await asyncio.wait(working, timeout=GRACE_S)
                for task in late:
                    task.cancel()
        except BaseExceptionGroup as failed:
            raise first_cause(failed) from None


def giving(encoder: EncoderSettings, lineup: Lineup, nothing: Path) -> EncoderSettings:
    """The encoder as these engines need it: a small picture where one looks at it, and no split model, as in the
    folder `nothing`, where none reads its tokens.
    """
    read = {engine.reads for engine in lineup.engines.values()}
    changes: dict[str, object] = {}
    if Egress.PIXELS in read and not encoder.picture_side:
        changes["picture_side"] = PICTURE_SIDE
    if Egress.EMBEDDINGS not in read:
        changes["models"] = nothing
    return encoder.model_copy(update=changes)
