"""A split model with random weights, small enough to lie beside its tests: they run without torch.

    .captionstream/models-venv/bin/python -m tests.unit.generator.prefix.small_model

writes it anew: the tiny SmolVLM of the parity tests, its decoder with room for 256 tokens, as `blocks8` and in fp32.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from triton_models.vision_language.classes import AnySplit
from triton_models.vision_language.split import Split
from triton_models.vision_language.visual_tokens import VisualTokens

FOLDER = Path(__file__).with_name("small")
POSITIONS = 256
FOR_PROMPTS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


@dataclass(frozen=True)
class SmallModel:
    """As the engine takes a split model."""

    split: Split
    language: Path
    serving: Path


def small_model(folder: Path = FOLDER) -> SmallModel:
    split: Split = TypeAdapter(AnySplit).validate_json((folder / "split.json").read_bytes())
    return SmallModel(split, folder / "language", folder / "serving")


def copied(to: Path) -> SmallModel:
    """One of its own, to be changed."""
    return small_model(shutil.copytree(FOLDER, to))


def seen(seed: int = 1) -> VisualTokens:
    """What an eye could have said about some picture: 4 tokens for the small model."""
    return VisualTokens(np.random.default_rng(seed).normal(0, 1, (4, 48)).astype(np.float32), (0, 0))


def question(text: str = "What is it?", system: str = "") -> list[dict[str, object]]:
    """A conversation about one picture."""
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    told = [{"role": "system", "content": [{"type": "text", "text": system}]}]
    return [*told, *asked] if system else [*asked]


def write(folder: Path) -> None:
    """Needs torch and transformers."""
    from triton_models.vision_language import decoder_graph, halves, tiny
    from triton_models.vision_language.checkpoint import open_checkpoint
    from triton_models.vision_language.classes import MODEL_TYPES

    with tempfile.TemporaryDirectory() as work:
        whole, split = Path(work, "whole"), Path(work, "halves")
        tiny.write("smolvlm", whole)
        made = halves.write(open_checkpoint(whole, MODEL_TYPES), split)
        language = split / "language"
        config = json.loads((language / "config.json").read_bytes())
        (language / "config.json").write_text(json.dumps({**config, "max_position_embeddings": POSITIONS}))
        decoder_graph.write(language, folder / "serving", "blocks8")
        (folder / "split.json").write_text(made.split.model_dump_json(indent=1))
        (folder / "language").mkdir()
        for name in FOR_PROMPTS:
            shutil.copyfile(language / name, folder / "language" / name)


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    write(FOLDER)
