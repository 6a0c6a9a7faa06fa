"""The whole pipeline with doubles for the engines, its spans going to where nobody listens. Prints what came of it."""

from __future__ import annotations

import asyncio
import time

from captionstream.runtime.asking import ask
from captionstream.telemetry import logs, tracing
from captionstream.telemetry.exporting import exporting
from services.encoder.settings import EncoderSettings, Engine
from services.generator.settings import GeneratorSettings, WriterKind
from services.pipeline import embedded
from tests.faults.harness import plate_event


async def answered(count: int) -> int:
    encoder, generator = (
        EncoderSettings(engine=Engine.SCRIPTED),
        GeneratorSettings(writer=WriterKind.SCRIPTED),
    )
    async with embedded(encoder=encoder, generator=generator) as log:
        events = [plate_event(number, "away") for number in range(count)]
        answers = [answer async for answer in ask(log, events, 60)]
        await asyncio.sleep(2.5)  # the exporter tries, and fails
        return len(answers)


if __name__ == "__main__":
    logs.configure("away")
    with exporting("away"):
        print("recording" if tracing.active() else "not recording")
        print(asyncio.run(answered(40)))
        closing = time.monotonic()
    print(time.monotonic() - closing)
