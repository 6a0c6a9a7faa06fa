"""The monitor as a process: settings in, app and probes up, until a signal."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from captionstream.contracts.topics import CAPTIONS
from captionstream.runtime.kafka_log import KafkaLog
from captionstream.serve import ServeSettings, end
from captionstream.telemetry import logs
from captionstream.telemetry.probes import ProbeServer, application
from services.monitor.app import Monitoring
from services.monitor.stall import Stall
from services.monitor.watch import Watch

NOTICED_WITHIN_S = 0.5  # a crash of the app
STOP_S = 8.0
log = structlog.get_logger()


def serve_monitor() -> None:
    """Run until SIGTERM or SIGINT. A failure ends the process at once; its successor goes on from the topics."""
    settings = ServeSettings()
    logs.configure("monitor", settings.log_level)
    try:
        with TemporaryDirectory(prefix="captionstream-monitor-") as folder:
            asyncio.run(run(settings, Path(folder)))
    except BaseException as failure:
        end(failure)
    log.info("stopped")
    os._exit(0)


async def run(settings: ServeSettings, folder: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    monitoring = Monitoring(settings, Watch(), folder, end)
    stall = Stall(lambda: KafkaLog(settings.kafka).ends(CAPTIONS.name), lambda: monitoring.taken)
    probes = ProbeServer(
        application(lambda: alive(monitoring, stall), lambda: ready(monitoring)),
        settings.probe_host,
        settings.probe_port,
    )
    tasks = [asyncio.create_task(probes.serve()), asyncio.create_task(stall.keep_looking())]
    log.info("started", topic=CAPTIONS.name, slot=settings.slot)
    tasks.append(asyncio.create_task(monitoring.app.start()))
    await until_stopped(monitoring, stop, tasks[-1])
    with suppress(TimeoutError):
        await asyncio.wait_for(monitoring.app.stop(), STOP_S)
    for task in tasks:
        task.cancel()


async def until_stopped(monitoring: Monitoring, stop: asyncio.Event, starting: asyncio.Task[None]) -> None:
    """Until `stop`. A crash of the app is raised: nothing of Faust watches over Faust."""
    app = monitoring.app
    while not stop.is_set():
        if app.crashed:
            raise app.crash_reason or RuntimeError("the app crashed")
        if starting.done():
            starting.result()
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), NOTICED_WITHIN_S)


def alive(monitoring: Monitoring, stall: Stall) -> Mapping[str, bool]:
    return {"running": not monitoring.app.crashed, "moving": not stall.standing_still}


def ready(monitoring: Monitoring) -> Mapping[str, bool]:
    return {"reading": monitoring.ready}
