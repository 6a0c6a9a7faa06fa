"""deploy/compose.split-models.yml over docker-compose.yml: what both say together, and what it leaves alone."""

from __future__ import annotations

import copy
import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from captionstream import __version__
from captionstream.contracts.values import INLINE_PAYLOAD_LIMIT
from captionstream.local.reference_engine import ANSWER_WITHIN_S
from services.encoder.settings import EncoderSettings
from services.generator.lineup import Prefix
from services.generator.lineup_file import lineup_of
from services.generator.settings import GeneratorSettings
from tests.unit.deploy.compose_files import body, own_command, place, together
from tests.unit.deploy.test_compose import COMPOSE, DOCKERFILE, ROOT, mebibytes, stages, unread, validated

FILE = ROOT / "deploy" / "compose.split-models.yml"
TEXT = FILE.read_text()
ALONE: dict[str, Any] = together(ROOT / "docker-compose.yml")["services"]
LAID: dict[str, Any] = yaml.safe_load(TEXT)["services"]
BOTH = together(ROOT / "docker-compose.yml", FILE)
TOGETHER: dict[str, Any] = BOTH["services"]
READERS = ("encoder", "generator")
REFERENCE = "reference-engine"


def mounts(service: str) -> dict[str, Any]:
    """What is mounted into a service, by its place there."""
    return {place(mount): mount for mount in TOGETHER[service]["volumes"]}


def repositories() -> list[str]:
    flag = "--model-repository="
    return [word.removeprefix(flag) for word in TOGETHER["triton"]["command"] if word.startswith(flag)]


def gibibytes(services: dict[str, Any]) -> float:
    """Of all that run for good."""
    limits = (service["mem_limit"] for name, service in services.items() if name != "topics")
    return sum(map(mebibytes, limits)) / 1024


def told_by_flag(words: list[str]) -> dict[str, str]:
    return {flag: value for flag, value in pairwise(words) if flag.startswith("--")}


def keys() -> set[str]:
    """The variables that the examples of lineups take keys from."""
    files = (ROOT / "examples" / "lineups").glob("*.yaml")
    return {name for file in files for name in re.findall(r"api_key_from: (\w+)", file.read_text())}


def test_both_files_together_are_a_compose_file() -> None:
    """The checker accepts it, and finds a mistake in what is laid over."""
    validated(BOTH)
    broken = copy.deepcopy(BOTH)
    broken["services"]["triton"]["volumes"][0]["bind"] = {"create_host_folder": False}
    with pytest.raises(ValueError):
        validated(broken)


def test_only_what_split_models_need_is_changed() -> None:
    """One service is added; the three that change keep what is not said anew, and every other one is as it was."""
    assert {"triton", *READERS, REFERENCE} == set(LAID)
    assert {*ALONE, REFERENCE} == set(TOGETHER) and REFERENCE not in ALONE
    assert [] == [name for name in ALONE if name not in LAID and ALONE[name] != TOGETHER[name]]
    for name in LAID.keys() & ALONE:
        alone, now = ALONE[name], TOGETHER[name]
        assert {key: alone[key] for key in alone.keys() - LAID[name]} == {
            key: now[key] for key in alone.keys() - LAID[name]
        }
        assert alone.get("environment", {}).items() <= now.get("environment", {}).items()
        assert alone.get("depends_on", {}).keys() <= now.get("depends_on", {}).keys()


def test_every_variable_is_read_by_somebody() -> None:
    """By a service's settings, or as a key by a lineup; a typing error would be a setting that does nothing."""
    assert {"OPENAI_API_KEY"} == unread(TOGETHER) == keys()
    typo = copy.deepcopy(TOGETHER)
    typo["encoder"]["environment"]["CAPTIONSTREAM_MODEL"] = "/models"
    assert {"OPENAI_API_KEY", "CAPTIONSTREAM_MODEL"} == unread(typo)


def test_the_settings_name_what_is_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry for both who read it, the lineup for the generator, each read from its own environment."""
    for service, settings in zip(READERS, (EncoderSettings, GeneratorSettings), strict=True):
        with monkeypatch.context() as told:
            for name, value in TOGETHER[service]["environment"].items():
                told.delenv(name, raising=False) if value is None else told.setenv(name, value)
            made = settings()
        assert str(made.models) in mounts(service)
        if isinstance(made, GeneratorSettings):
            assert str(made.lineup) in mounts(service)


def test_one_folder_of_models_is_read_by_all_and_written_by_none() -> None:
    """The whole folder, so that a name that changes is seen; it must be there, or a root's empty one would be made."""
    one, *others = (mounts(service)["/models"] for service in (*READERS, REFERENCE))
    assert [one, one] == others
    assert ("bind", "./.captionstream/models", True) == (one["type"], one["source"], one["read_only"])
    for service in LAID:
        for mount in mounts(service).values():
            if isinstance(mount, dict):
                assert mount["read_only"] and mount["bind"] == {"create_host_path": False}


def test_another_place_is_told_by_variables() -> None:
    """Models, repository, lineup and memory limits; each variable of the file moves what it is named after."""
    variables = set(re.findall(r"\$\{(\w+):-", TEXT))
    told = {name: "7g" if name.endswith("MEMORY") else f"/elsewhere/{name}" for name in variables}
    moved = together(ROOT / "docker-compose.yml", FILE, told=told)
    validated(moved)
    services = moved["services"]
    sources = {m["source"] for name in LAID for m in services[name]["volumes"] if isinstance(m, dict)}
    assert {told[name] for name in variables if not name.endswith("MEMORY")} == sources
    assert ["7g"] * len(LAID) == [services[name]["mem_limit"] for name in LAID]


def test_triton_serves_the_images_models_and_the_split_ones() -> None:
    """The command is the image's own with a second repository, which is mounted, and models loaded when told."""
    own, command = own_command(DOCKERFILE, "triton"), TOGETHER["triton"]["command"]
    assert {"--model-control-mode=none"} == set(own) - set(command)
    assert {"--model-control-mode=explicit", "--load-model=*"} <= set(command)
    assert "/models" == repositories()[0] and [*mounts("triton")] == repositories()[1:]


def test_visual_tokens_that_are_large_find_their_way() -> None:
    """Over the limit of a message the encoder writes them where the generator reads; alone it did neither."""
    assert "payloads:/payloads:ro" in ALONE["encoder"]["volumes"] and "volumes" not in ALONE["generator"]
    assert ("payloads:/payloads", "payloads:/payloads:ro") == tuple(
        mounts(service)["/payloads"] for service in READERS
    )
    assert "ingest" in TOGETHER["generator"]["depends_on"]
    assert f"over {INLINE_PAYLOAD_LIMIT // 1024} KiB" in TEXT


def test_the_lineup_that_is_told_for_the_reference_engine_asks_it() -> None:
    """It is there, and no other engine writes by it."""
    [told] = re.findall(r"export CAPTIONSTREAM_LINEUP_FILE=(\S+)", TEXT)
    made = lineup_of(GeneratorSettings(lineup=ROOT / told))
    assert ["reference"] == [engine.engine for engine in made.engines.values() if isinstance(engine, Prefix)]


def test_the_lineup_asks_a_split_model_that_needs_no_torch() -> None:
    """The one that is mounted unless another is named is there, and its engine is in the image."""
    source = mounts("generator")["/lineup.yaml"]["source"]
    made = lineup_of(GeneratorSettings(lineup=ROOT / source))
    first = made.engines[made.routes[0].engine]
    assert isinstance(first, Prefix) and "onnxruntime" == first.engine


def locked_in(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / name).read_text(), re.MULTILINE))


def test_the_image_has_what_writes_with_a_split_model() -> None:
    """What the prefix engine and its grammar import, and no torch."""
    locked = locked_in("services.txt")
    assert {"onnxruntime", "tokenizers", "llguidance", "jinja2", "numpy", "pillow", "safetensors"} <= locked
    assert not {"torch", "transformers"} & locked


def test_the_image_of_the_reference_engine_has_what_it_imports() -> None:
    """torch, the server, and what binds a text there as here."""
    imported = {"torch", "transformers", "safetensors", "tokenizers", "llguidance", "numpy", "pillow", "pydantic",
                "pyyaml", "starlette", "uvicorn"}  # fmt: skip
    assert imported <= locked_in("models.txt")


def test_the_first_line_tells_the_memory() -> None:
    """No limit is below that of the base; the sum of what starts unasked is said, and then the rest."""
    assert [] == [
        name for name in LAID.keys() & ALONE
        if mebibytes(TOGETHER[name]["mem_limit"]) < mebibytes(ALONE[name]["mem_limit"])
    ]  # fmt: skip
    asked_for = {name: service for name, service in TOGETHER.items() if "profiles" in service}
    unasked = {name: service for name, service in TOGETHER.items() if name not in asked_for}
    first, second, *_ = TEXT.splitlines()
    assert f" {gibibytes(unasked):g} GiB of memory" in first
    assert f" {gibibytes(asked_for):g} GiB more with the reference engine" in second


def test_the_reference_engine_starts_when_it_is_asked_for() -> None:
    """By its profile, which the file tells; nobody waits for it, since who waits for what is left out cannot start."""
    assert [REFERENCE] == [name for name, service in TOGETHER.items() if "profiles" in service]
    [profile] = TOGETHER[REFERENCE]["profiles"]
    assert f"export COMPOSE_PROFILES={profile}" in TEXT
    assert [] == [name for name, service in TOGETHER.items() if REFERENCE in service.get("depends_on", {})]


def test_the_reference_engine_is_where_the_generator_asks() -> None:
    """Its own command listens to other containers at that port, and serves the folder that is mounted."""
    assert "command" not in TOGETHER[REFERENCE] and "entrypoint" not in TOGETHER[REFERENCE]
    python, flag, module, *told = own_command(DOCKERFILE, TOGETHER[REFERENCE]["build"]["target"])
    assert ("python", "-m") == (python, flag) and importlib.util.find_spec(module)
    how = told_by_flag(told)
    assert {"--host": "0.0.0.0", "--port": how["--port"], "--models": "/models"} == how
    address = f"http://{REFERENCE}:{how['--port']}"
    assert address == TOGETHER["generator"]["environment"]["CAPTIONSTREAM_REFERENCE_ENGINE"]
    assert [how["--models"]] == [*mounts(REFERENCE)] and "ports" not in TOGETHER[REFERENCE]


def test_the_reference_engine_is_watched_and_kept_in_as_the_others_are() -> None:
    """Its image is of this version and of a stage with torch; what a service of ours may not do, it may not either."""
    service, ours = TOGETHER[REFERENCE], TOGETHER["generator"]
    assert f"captionstream-{REFERENCE}:{__version__}" == service["image"]
    assert service["build"]["target"] in stages()
    assert "requirements/models.txt" in body(DOCKERFILE, service["build"]["target"])
    same = ("restart", "init", "read_only", "tmpfs", "cap_drop", "security_opt", "stop_grace_period")
    assert {name: ours[name] for name in same} == {name: service[name] for name in same}


def test_a_probe_of_the_reference_engine_has_the_time_that_it_needs() -> None:
    """As long as on this machine, for it waits for the request that is being written; the runtime waits longer."""
    check = TOGETHER[REFERENCE]["healthcheck"]
    port = told_by_flag(own_command(DOCKERFILE, REFERENCE))["--port"]
    assert f"'http://127.0.0.1:{port}/readyz', timeout={ANSWER_WITHIN_S:g})" in check["test"][-1]
    assert int(check["timeout"].removesuffix("s")) > ANSWER_WITHIN_S


def test_what_is_told_to_be_done_uses_the_folders_that_are_mounted() -> None:
    """`add` and `promote` fill the one, `render` the other; the containers may read both."""
    defaults = [mounts("encoder")["/models"]["source"], mounts("triton")["/split-models"]["source"]]
    models, repository = (str(Path(folder)) for folder in defaults)
    assert f"render SmolVLM-256M-Instruct {repository} --backend python" in TEXT
    assert f"chmod -R a+rX {models} {repository}" in TEXT
    assert f"COMPOSE_FILE=docker-compose.yml:{FILE.relative_to(ROOT)}" in TEXT
    assert COMPOSE["name"] == BOTH["name"]
