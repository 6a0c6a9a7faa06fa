"""What was proved of a split model, as `parity.json` and as a page for people. No torch."""

from __future__ import annotations

import shlex
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict

from triton_models.vision_language import graph
from triton_models.vision_language.checkpoint import CheckpointFile
from triton_models.vision_language.halves import Halves


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ParityRow(_Fact):
    """Of `tokens` tokens of the whole model, how many the halves wrote too; see `parity.Row`.

    `engine` is the one that ran the language half.
    """

    engine: str = "transformers"
    decoding: str
    case: str
    tokens: int
    same_prompts: bool
    same_fp32: int
    same_fp16: int
    same_torchvision: int | None
    proved: bool


class SeenImage(_Fact):
    """What one picture of that size is on its way: visual tokens, and bytes in fp16."""

    width: int
    height: int
    tokens: int
    size: int
    inline: bool


class Parity(_Fact):
    """`blind` of `questions` got the same answer about another picture; `different` tokens are in the answers.

    `not_servable` says why there is no decoder for the engine without torch; empty where there is one.
    """

    rows: tuple[ParityRow, ...]
    questions: int
    blind: int
    different: int
    images: tuple[SeenImage, ...]
    not_servable: str
    versions: dict[str, str]


def render(
    name: str, source: str, digest: str, halves: Halves, parity: Parity, beside: tuple[CheckpointFile, ...]
) -> str:
    """One file of HTML, without scripts, that loads nothing. `beside` are files that are not of the halves."""
    environment = Environment(
        loader=PackageLoader("triton_models.vision_language", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sized"] = sized
    return environment.get_template("card.html").render(
        name=name,
        source=source,
        digest=digest,
        halves=halves,
        parity=parity,
        parts=_parts((*halves.files, *beside)),
        files=(*halves.files, *beside),
        plan=plan(halves),
    )


def plan(halves: Halves) -> str:
    """The command that builds a TensorRT plan of the graph, for a shell in a folder that holds a copy of it.

    Unverified: see `graph.plan_command`.
    """
    return shlex.join(graph.plan_command(halves.split, Path("model.onnx")))


def _parts(files: tuple[CheckpointFile, ...]) -> dict[str, int]:
    """Bytes of each half, and of the decoder of the engine without torch."""
    sizes: dict[str, int] = {}
    for file in files:
        part = file.name.partition("/")[0]
        sizes[part] = sizes.get(part, 0) + file.size
    return sizes


def sized(count: int) -> str:
    """Bytes for people."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
