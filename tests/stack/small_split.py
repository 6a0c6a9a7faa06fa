"""A whole split model with random weights that lies beside its tests: a stack serves it on a machine without torch.

    .captionstream/models-venv/bin/python -m tests.stack.small_split write

writes it anew: the tiny SmolVLM of the parity tests, with room for 768 tokens, its decoder in fp32.

    python -m tests.stack.small_split [--name=NAME] -- MODELS CHECKPOINT

stands for the process of `captionstream models add` where torch is not: it says the same lines and leaves a ready model
of the registry MODELS, whose digest depends on its name. It splits nothing and proves nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from pydantic import TypeAdapter

from tests.unit.models.builders import PARITY_TOLD
from triton_models.registry import CARD, PARITY, Registry, SplitModel, write_ready
from triton_models.vision_language.checkpoint import CheckpointRecord, names_in, recorded
from triton_models.vision_language.classes import AnySplit
from triton_models.vision_language.halves import FACTS, FOLDERS, Halves

FOLDER = Path(__file__).with_name("small")
SPLIT = "split.json"
POSITIONS = 768
FOR_PROMPTS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def publish(registry: Registry, name: str) -> SplitModel:
    """That model under a name: other names are other models with the same weights."""
    with registry.workplace() as work:
        made = shutil.copytree(FOLDER, work / "model", ignore=shutil.ignore_patterns(SPLIT))
        (made / FACTS).write_text(_halves(made, name).model_dump_json(indent=1))
        (made / PARITY).write_text(PARITY_TOLD.model_dump_json())
        (made / CARD).write_text("<!doctype html>")
        return registry.publish(made, write_ready(made, name, "random weights for tests"))


def _halves(made: Path, name: str) -> Halves:
    source = CheckpointRecord(
        architecture="SmolVLMForConditionalGeneration",
        model_type="smolvlm",
        licence="apache-2.0",
        revision=f"local-{name}",
        files=(),
    )
    files = tuple(recorded(made, f"{half}/{file}") for half in FOLDERS for file in names_in(made / half))
    split = TypeAdapter(AnySplit).validate_json((FOLDER / SPLIT).read_bytes())
    return Halves(split=split, source=source, files=files, made_with={})


def write(folder: Path) -> None:
    """Needs torch, transformers and onnx."""
    from triton_models.vision_language import decoder_graph, halves, tiny
    from triton_models.vision_language.checkpoint import open_checkpoint
    from triton_models.vision_language.classes import MODEL_TYPES

    with tempfile.TemporaryDirectory() as work:
        whole, split = Path(work, "whole"), Path(work, "halves")
        tiny.write("smolvlm", whole)
        made = halves.write(open_checkpoint(whole, MODEL_TYPES), split)
        config = json.loads((split / "language" / "config.json").read_bytes())
        config["max_position_embeddings"] = POSITIONS
        (split / "language" / "config.json").write_text(json.dumps(config))
        decoder_graph.write(split / "language", folder / "serving", "fp32")
        shutil.copytree(split / "vision", folder / "vision")
        (folder / "language").mkdir()
        for name in FOR_PROMPTS:
            shutil.copyfile(split / "language" / name, folder / "language" / name)
        (folder / SPLIT).write_text(made.split.model_dump_json(indent=1))


def add(arguments: list[str]) -> None:
    """As `triton_models.vision_language.adding` is called, and as it answers."""
    options, (models, checkpoint) = arguments[:-3], arguments[-2:]
    told = dict(option.removeprefix("--").split("=", 1) for option in options)
    print(json.dumps({"step": "split", "done": 0, "of": 1}), flush=True)
    model = publish(Registry(Path(models)), told.get("name", Path(checkpoint).name))
    print(json.dumps({"ready": model.folder.name}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        shutil.rmtree(FOLDER, ignore_errors=True)
        write(FOLDER)
    else:
        add(sys.argv[1:])
