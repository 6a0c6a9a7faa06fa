"""docker-compose.yml and Dockerfile hold together: with each other, with the code, with what is mounted into them."""

from __future__ import annotations

import copy
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from pathspec import GitIgnoreSpec
from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from captionstream import __version__
from captionstream.serve import ServeSettings
from services.encoder.settings import EncoderSettings
from services.generator.settings import GeneratorSettings
from services.ingest.settings import IngestSettings
from services.monitor.settings import MonitorSettings
from services.safety.settings import SafetySettings
from tests.unit.deploy.compose_files import body

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = ("ingest", "encoder", "generator", "safety", "monitor")

SETTINGS: tuple[type[BaseSettings], ...] = (
    ServeSettings, IngestSettings, EncoderSettings, GeneratorSettings, SafetySettings, MonitorSettings
)  # fmt: skip
LIBRARIES = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
S3 = {f"AWS_{it}" for it in ("ENDPOINT_URL", "ALLOW_HTTP", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")}
TRACES = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
UNITS = {"m": 1, "g": 1024}


def validated(compose: dict[str, Any]) -> None:
    PyCompose.from_yaml(yaml.safe_dump(compose)).validate()


def changed(service: str, **fields: Any) -> dict[str, Any]:
    """The file with something else in one service."""
    other = copy.deepcopy(COMPOSE)
    other["services"][service].update(fields)
    return other


def variables(settings: type[BaseSettings]) -> set[str]:
    """The environment variables that a settings class reads."""
    found: set[str] = set()
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        prefix = str(settings.model_config.get("env_prefix", ""))
        found |= (
            set(map(str, alias.choices)) if isinstance(alias, AliasChoices) else {(prefix + name).upper()}
        )
    return found


def unread(services: dict[str, Any]) -> set[str]:
    """What the file tells our services and none of them reads."""
    told = {name for service in (*OURS, "topics") for name in services[service]["environment"]}
    return told - set().union(*map(variables, SETTINGS)) - LIBRARIES - S3 - TRACES


def mebibytes(limit: str) -> int:
    return int(limit[:-1]) * UNITS[limit[-1]]


def stages() -> set[str]:
    return set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))


def copied() -> list[str]:
    """What the Dockerfile copies out of the build context."""
    return re.findall(r"^COPY (?!--from)(?:\S+ )*?(\S+) \S+$", DOCKERFILE, re.MULTILINE)


def test_the_file_is_a_compose_file() -> None:
    """The checker accepts it, and it is a checker: it finds a field, a unit and a network that do not exist."""
    validated(COMPOSE)
    for broken in ({"memory_limit": "1g"}, {"mem_limit": "1 apple"}, {"networks": ["nowhere"]}):
        with pytest.raises(ValueError):
            validated(changed("ingest", **broken))


def test_every_variable_is_read_by_somebody() -> None:
    """A typing error in a name would be a setting that silently does nothing."""
    assert set() == unread(SERVICES)
    typo = changed("encoder", environment={"CAPTIONSTREAM_TRITTON": "triton:8001"})
    assert {"CAPTIONSTREAM_TRITTON"} == unread(typo["services"])


def test_the_settings_accept_what_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values too: each service's settings are made from its environment, and name the others by their names."""
    for service, settings in zip(("ingest", "encoder", "generator", "safety"), SETTINGS[1:5], strict=True):
        with monkeypatch.context() as told:
            for name, value in SERVICES[service]["environment"].items():
                if value is not None:
                    told.setenv(name, value)
            settings()
            assert ("kafka:9092", "0.0.0.0", 8080) == (
                ServeSettings().kafka, ServeSettings().probe_host, ServeSettings().probe_port
            )  # fmt: skip
            if service == "encoder":
                assert ("triton:8001", "off") == (EncoderSettings().triton, EncoderSettings().shared_memory)


@pytest.mark.parametrize("service", [*OURS, "topics"])
def test_every_command_is_there(service: str) -> None:
    """`python -m` finds what it is to run."""
    python, flag, module, *_ = SERVICES[service]["command"]
    assert ("python", "-m") == (python, flag)
    assert importlib.util.find_spec(f"{module}.__main__")


def test_nobody_waits_for_what_never_comes() -> None:
    """Healthy needs a health check, completed needs an end: what restarts for ever never completes."""
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            other = SERVICES[needed]
            if how["condition"] == "service_healthy":
                assert "test" in other["healthcheck"], f"{name} waits for {needed}"
            elif how["condition"] == "service_completed_successfully":
                assert other["restart"] in ("no", "on-failure"), f"{name} waits for {needed}"
    assert all("topics" in SERVICES[service]["depends_on"] for service in OURS)
    assert {"kafka"} == set(SERVICES["topics"]["depends_on"])


def test_everything_is_watched_and_limited() -> None:
    """Each has a memory limit and a health check, gains no privileges, and the first line tells the sum."""
    assert [] == [name for name, service in SERVICES.items() if "mem_limit" not in service]
    assert {"topics"} == {name for name, service in SERVICES.items() if "test" not in service["healthcheck"]}
    assert [] == [name for name, service in SERVICES.items() if service.get("cap_drop") != ["ALL"]]
    total = sum(mebibytes(service["mem_limit"]) for name, service in SERVICES.items() if name != "topics")
    first = (ROOT / "docker-compose.yml").read_text().splitlines()[0]
    assert f" {total // 1024} GiB of memory" in first and total % 1024 == 0


def test_only_this_host_reaches_a_port() -> None:
    """None of the servers asks for a password worth the name."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert 3 == len(ports)
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_mount_is_there() -> None:
    """Folders of this repository exist, named volumes are declared, and none is declared for nobody."""
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    folders = {source for source, *_ in mounts if source.startswith("./")}
    assert [] == [folder for folder in folders if not any((ROOT / folder).rglob("*.*"))]
    assert set(COMPOSE["volumes"]) == {source for source, *_ in mounts} - folders


def test_the_payloads_are_shared_by_those_who_pass_them_on() -> None:
    """Ingest writes where the encoder reads; the others see no pixels."""
    with_payloads = {
        name for name in OURS if any("payloads:" in it for it in SERVICES[name].get("volumes", []))
    }
    assert {"ingest", "encoder"} == with_payloads
    assert {"/payloads"} == {
        SERVICES[name]["environment"]["CAPTIONSTREAM_PAYLOADS"] for name in with_payloads
    }


def test_members_come_and_go() -> None:
    """Two processes in one slot evict each other for ever, so what `--scale` may copy has none."""
    assert [] == [name for name in OURS if "CAPTIONSTREAM_SLOT" in SERVICES[name]["environment"]]
    assert [] == [name for name in OURS if "ports" in SERVICES[name] or "container_name" in SERVICES[name]]


def test_prometheus_finds_what_it_scrapes() -> None:
    """Each target is a service of this file, ours where its probes are."""
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    ours, triton = scraped
    [found] = ours["dns_sd_configs"]
    assert set(OURS) == set(found["names"])
    assert int(SERVICES["ingest"]["environment"]["CAPTIONSTREAM_PROBE_PORT"]) == found["port"]
    assert [{"targets": ["triton:8002"]}] == triton["static_configs"]


def test_grafana_finds_its_dashboards() -> None:
    """The provider looks into the folder that is mounted, and asks the Prometheus of this file."""
    provisioning = ROOT / "deploy/grafana/provisioning"
    told = [yaml.safe_load(path.read_text()) for path in sorted(provisioning.rglob("*.y*ml"))]
    paths = {provider["options"]["path"] for file in told for provider in file.get("providers", [])}
    urls = {source["url"] for file in told for source in file.get("datasources", [])}
    mounted = {mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]}
    assert paths and paths <= mounted
    assert {"http://prometheus:9090"} == urls


def test_images_are_of_one_known_version() -> None:
    """No `latest`; what is built here carries this version and comes from a stage of the Dockerfile."""
    tags = {name: service["image"].rsplit(":", 1) for name, service in SERVICES.items()}
    assert [] == [name for name, tag in tags.items() if len(tag) != 2 or not re.search(r"\d", tag[1])]
    built = {name: service["build"]["target"] for name, service in SERVICES.items() if "build" in service}
    assert {__version__} == {tags[name][1] for name in built}
    assert set(built.values()) <= stages()
    assert {__version__} == set(re.findall(r'org\.opencontainers\.image\.version="([^"]*)"', DOCKERFILE))


def test_the_linter_has_nothing_to_say() -> None:
    """With no rule switched off; and it is a linter: an unpinned base image is found."""
    linter = Path(sys.executable).with_name("hadolint")
    clean = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (0, "") == (clean.returncode, clean.stdout + clean.stderr)
    assert "hadolint ignore" not in DOCKERFILE
    loose = DOCKERFILE.replace("python:3.11.15-slim-bookworm", "python:latest")
    assert 1 == subprocess.run([linter, "-"], input=loose, capture_output=True, text=True).returncode


def test_images_hold_what_they_need_and_no_more() -> None:
    """Each file that is copied exists and enters the build; tests, environments and history stay outside."""
    ignored = GitIgnoreSpec.from_lines((ROOT / ".dockerignore").read_text().splitlines())
    assert 11 == len(copied())
    for source in set(copied()):
        path = ROOT / source
        assert path.exists(), source
        files = (
            [path]
            if path.is_file()
            else [p for p in path.rglob("*") if p.suffix in (".py", ".json", ".onnx")]
        )
        assert files and not any(ignored.match_file(str(file.relative_to(ROOT))) for file in files), source
    outside = (".git/HEAD", ".venv/bin/python", ".captionstream/uv/bin/uv", "tests/conftest.py", ".env",
               "requirements/dev.txt", "services/ingest/__pycache__/stage.cpython-311.pyc")  # fmt: skip
    assert all(map(ignored.match_file, outside))


def test_every_stage_installs_by_digest_and_ends_without_root() -> None:
    """What an image holds is what the lock files name; what runs is nobody in particular."""
    installs = re.findall(r"pip install(?:\\\n|[^&\n])*", DOCKERFILE)
    assert 4 == len(installs)
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in installs)
    for stage in ("triton", "language-model", "reference-engine", "services"):
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", body(DOCKERFILE, stage), re.MULTILINE), stage


def test_who_builds_without_a_target_gets_the_services() -> None:
    """The last stage is the default; the largest ones are for those who ask for them."""
    assert "services" == re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)[-1]


def test_what_is_built_from_source_is_only_what_has_no_wheel() -> None:
    """By name, in the one stage whose lock file has it; every other package of it comes as it was published."""
    sources = [line for line in DOCKERFILE.splitlines() if "--no-binary" in line]
    assert ["--only-binary :all: --no-binary docopt -r requirements/models.txt"] == [*map(str.strip, sources)]
