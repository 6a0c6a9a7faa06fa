"""How one service runs as a process: settings in, log and probes up, work until a signal."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import NoReturn

import structlog
from pydantic_settings import BaseSettings, SettingsConfigDict

from captionstream.payloads.store import PayloadStore
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.runtime.service import Service
from captionstream.runtime.worker import Worker
from captionstream.telemetry import logs
from captionstream.telemetry.exporting import exporting
from captionstream.telemetry.probes import ProbeServer, application

FAILED = 70  # sysexits EX_SOFTWARE: the supervisor starts the process again
OpenService = Callable[[PayloadStore], AbstractAsyncContextManager[Service]]
log = structlog.get_logger()


class ServeSettings(BaseSettings):
    """What every service is told. Environment variables, prefix CAPTIONSTREAM_."""

    model_config = SettingsConfigDict(env_prefix="CAPTIONSTREAM_")
    kafka: str = "127.0.0.1:9092"
    payloads: str = ".captionstream/payloads"
    slot: str | None = None  # unique name of a static group member; none: dynamic membership
    probe_host: str = "127.0.0.1"
    probe_port: int = 0
    bound: int = 16
    work_limit_s: float = 120.0
    group_prefix: str = "captionstream"
    log_level: str = "INFO"
    payload_days: float = 2.0  # twice as long as the topics that name payloads


def serve(name: str, open_service: OpenService, *, collects_payloads: bool = False) -> None:
    """Run until SIGTERM or SIGINT. Anything unexpected ends the process at once: nothing half-done is acknowledged."""
    settings = ServeSettings()
    logs.configure(name, settings.log_level)
    try:
        with exporting(name, settings.slot):
            asyncio.run(run(settings, open_service, collects_payloads))
    except BaseException as failure:
        end(failure)
    log.info("stopped")
    os._exit(0)


def end(failure: BaseException) -> NoReturn:
    log.error("ended", error=type(failure).__name__, detail=str(failure)[:500], exc_info=failure)
    os._exit(FAILED)


async def run(settings: ServeSettings, open_service: OpenService, collects_payloads: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    payloads = PayloadStore.open(settings.payloads)
    background = (
        [asyncio.create_task(keep_collecting(payloads, settings.payload_days))] if collects_payloads else []
    )
    async with open_service(payloads) as service:
        kafka = KafkaLog(settings.kafka)
        worker = Worker(
            service, kafka, settings.slot, settings.bound, settings.work_limit_s, settings.group_prefix
        )
        probes = ProbeServer(
            application(worker.alive, worker.ready), settings.probe_host, settings.probe_port
        )
        serving = asyncio.create_task(probes.serve())
        log.info("started", topic=worker.subscription.topic, slot=settings.slot)
        try:
            await worker.run(stop)
        except BaseException as failure:
            end(failure)  # here and now: a thread that hangs would hold up every orderly end
        probes.should_exit = True
        await asyncio.wait([serving], timeout=2)
        await kafka.close()
        for task in background:
            task.cancel()


async def keep_collecting(payloads: PayloadStore, days: float) -> None:
    """Delete what no topic names any more, once an hour. A store that is away is asked again later."""
    while True:
        try:
            log.info("payloads collected", deleted=await payloads.collect(timedelta(days=days)))
        except Exception as away:
            log.warning("payloads not collected", error=type(away).__name__)
        await asyncio.sleep(3600)
