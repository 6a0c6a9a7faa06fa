"""deploy/compose.split-models.yml over docker-compose.yml: what both say together, and what it leaves alone."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from captionstream.contracts.values import INLINE_PAYLOAD_LIMIT
from services.encoder.settings import EncoderSettings
from services.generator.lineup import Prefix
from services.generator.lineup_file import lineup_of
from services.generator.settings import GeneratorSettings
from tests.unit.deploy.compose_files import place, together
from tests.unit.deploy.test_compose import COMPOSE, DOCKERFILE, ROOT, mebibytes, unread, validated

FILE = ROOT / "deploy" / "compose.split-models.yml"
TEXT = FILE.read_text()
ALONE: dict[str, Any] = together(ROOT / "docker-compose.yml")["services"]
LAID: dict[str, Any] = yaml.safe_load(TEXT)["services"]
BOTH = together(ROOT / "docker-compose.yml", FILE)
TOGETHER: dict[str, Any] = BOTH["services"]
READERS = ("encoder", "generator")


def mounts(service: str) -> dict[str, Any]:
    """What is mounted into a service, by its place there."""
    return {place(mount): mount for mount in TOGETHER[service]["volumes"]}


def repositories() -> list[str]:
    flag = "--model-repository="
    return [word.removeprefix(flag) for word in TOGETHER["triton"]["command"] if word.startswith(flag)]


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
    """Every other service is as it was, and the three that change keep what is not said anew."""
    assert {"triton", *READERS} == set(LAID)
    assert set(ALONE) == set(TOGETHER)
    assert [] == [name for name in ALONE if name not in LAID and ALONE[name] != TOGETHER[name]]
    for name in LAID:
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


def test_one_folder_of_models_is_read_by_both_and_written_by_neither() -> None:
    """The whole folder, so that a name that changes is seen; it must be there, or a root's empty one would be made."""
    one, other = (mounts(service)["/models"] for service in READERS)
    assert one == other
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
    assert ["7g"] * 3 == [services[name]["mem_limit"] for name in LAID]


def test_triton_serves_the_images_models_and_the_split_ones() -> None:
    """The command is the image's own with a second repository, which is mounted, and models loaded when told."""
    [line] = re.findall(r'^CMD (\["tritonserver"(?:[^\]]|\\\n)*\])', DOCKERFILE, re.MULTILINE)
    own = json.loads(line.replace("\\\n", ""))
    command = TOGETHER["triton"]["command"]
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


def test_the_lineup_asks_a_split_model_that_needs_no_torch() -> None:
    """The one that is mounted unless another is named is there, and its engine is in the image."""
    source = mounts("generator")["/lineup.yaml"]["source"]
    made = lineup_of(GeneratorSettings(lineup=ROOT / source))
    first = made.engines[made.routes[0].engine]
    assert isinstance(first, Prefix) and "onnxruntime" == first.engine


def test_the_image_has_what_writes_with_a_split_model() -> None:
    """What the prefix engine and its grammar import, and no torch."""
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "services.txt").read_text(), re.M))
    assert {"onnxruntime", "tokenizers", "llguidance", "jinja2", "numpy", "pillow", "safetensors"} <= locked
    assert not {"torch", "transformers"} & locked


def test_the_first_line_tells_the_memory() -> None:
    """No limit is below that of the base; the sum of all is what is said."""
    assert [] == [
        name for name in LAID
        if mebibytes(TOGETHER[name]["mem_limit"]) < mebibytes(ALONE[name]["mem_limit"])
    ]  # fmt: skip
    total = sum(mebibytes(service["mem_limit"]) for name, service in TOGETHER.items() if name != "topics")
    assert f" {total // 1024} GiB of memory" in TEXT.splitlines()[0] and total % 1024 == 0


def test_what_is_told_to_be_done_uses_the_folders_that_are_mounted() -> None:
    """`add` and `promote` fill the one, `render` the other; the containers may read both."""
    defaults = [mounts("encoder")["/models"]["source"], mounts("triton")["/split-models"]["source"]]
    models, repository = (str(Path(folder)) for folder in defaults)
    assert f"render SmolVLM-256M-Instruct {repository} --backend python" in TEXT
    assert f"chmod -R a+rX {models} {repository}" in TEXT
    assert f"COMPOSE_FILE=docker-compose.yml:{FILE.relative_to(ROOT)}" in TEXT
    assert COMPOSE["name"] == BOTH["name"]
