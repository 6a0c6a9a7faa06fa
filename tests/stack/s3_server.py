"""A real S3 server for tests: s3proxy over a folder. It checks signatures, which the usual doubles do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from captionstream.local.installed import Installed
from captionstream.local.jars import Jar, fetch
from captionstream.local.kafka import java
from captionstream.local.probe import connects
from captionstream.local.process import Part
from tests.conftest import free_port, start

S3PROXY = Jar(
    "org.gaul",
    "s3proxy",
    "2.7.0",
    "f3ff95bd78a7afbbcd5da56f8f6180ef71ad00601392f7e2f5a220c97ad69eef",
    classifier="jar-with-dependencies",
)
KEY_ID, SECRET = "captionstream", "a-secret-of-the-tests"
SETTINGS = """\
s3proxy.endpoint=http://127.0.0.1:{port}
s3proxy.authorization=aws-v4
s3proxy.identity={key_id}
s3proxy.credential={secret}
s3proxy.ignore-unknown-headers=true
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={folder}
jclouds.identity=unused
jclouds.credential=unused
"""


@dataclass(frozen=True)
class S3Server:
    """Buckets are folders of `folder`, keys are files in them: what a test lays there, S3 serves."""

    port: int
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the services are told, by the names that every S3 client knows."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def lay(self, bucket: str, key: str, data: bytes) -> None:
        path = self.folder / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def s3_part(home: Path, port: int) -> Part:
    """Raises MissingPart when the server's jar is neither here nor to be had."""
    jars = Installed.here().home / "s3proxy"
    fetch([S3PROXY], jars)
    settings, folder = home / "s3proxy.conf", home / "buckets"
    folder.mkdir(parents=True)
    settings.write_text(SETTINGS.format(port=port, key_id=KEY_ID, secret=SECRET, folder=folder))
    jvm = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    return Part(
        name="s3proxy 2.7.0",
        role="s3",
        argv=(str(java()), *jvm, "-jar", str(jars / S3PROXY.file_name), "--properties", str(settings)),
        port=port,
        ready=lambda: connects(port),
        log_path=home / "s3proxy.log",
    )


@contextmanager
def s3_server(home: Path) -> Iterator[S3Server]:
    port = free_port()
    process = start(s3_part(home, port))
    try:
        yield S3Server(port, home / "buckets")
    finally:
        process.kill()  # it holds nothing but the test's files
        process.wait(20)
