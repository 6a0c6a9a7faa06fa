"""From a checkpoint to a model that is ready to serve: split, proved, and only then put where services look.

    python -m triton_models.vision_language.adding MODELS CHECKPOINT [--revision SHA] [--name NAME]

CHECKPOINT is a local folder or a hub's OWNER/NAME. Everything is made in a hidden folder of MODELS and put in its place
in one step at the end; whatever goes wrong before leaves nothing. Needs torch and transformers.

Each line of standard output is a JSON object: `{"step": ..., "done": n, "of": m}`, and the last one `{"ready": FOLDER}`
or `{"refused": WHY}`. The exit status is 0 when the model is ready, and when it was ready already.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from captionstream.contracts.identity import sha256_hex
from captionstream.contracts.values import INLINE_PAYLOAD_LIMIT
from triton_models.registry import (
    CARD,
    PARITY,
    SERVING,
    Registry,
    RegistryError,
    SplitModel,
    beside_halves,
    write_ready,
)
from triton_models.vision_language import card, decoder_graph, halves, hub
from triton_models.vision_language.checkpoint import Checkpoint, CheckpointRefused, open_checkpoint
from triton_models.vision_language.classes import MODEL_TYPES
from triton_models.vision_language.halves import Halves, HalvesChanged
from triton_models.vision_language.split import DoesNotFit

if TYPE_CHECKING:
    from triton_models.vision_language.parity import Row  # torch

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TOKENS = 20
"""New tokens of each answer that is compared."""
SHOWN_SIZES = ((640, 480), (1280, 720), (1920, 1080))

Tell = Callable[[str, int, int], None]
"""Which step, how far it is, and of how much."""


class AddingRefused(Exception):
    """Nothing was added. The text says why and what to do."""


class WrongUse(AddingRefused):
    pass


class NotProved(AddingRefused):
    pass


@dataclass(frozen=True)
class Wanted:
    """`checkpoint` is a folder or a hub's id; `revision` belongs to an id only."""

    checkpoint: str
    revision: str | None = None
    name: str | None = None
    tokens: int = TOKENS

    @property
    def is_folder(self) -> bool:
        return Path(self.checkpoint).is_dir()

    @property
    def called(self) -> str:
        """Raises WrongUse for a name that no folder or command could bear."""
        name = self.name or Path(self.checkpoint).resolve().name
        if not NAME.fullmatch(name) or name in ("production", "canary"):
            raise WrongUse(f"{name!r} is no name for a model: --name with letters, digits, . _ -")
        return name

    @property
    def source(self) -> str:
        return f"local folder {Path(self.checkpoint).resolve().name}" if self.is_folder else self.checkpoint


def add(models: Path, wanted: Wanted, tell: Tell, change: Callable[[Any], None] | None = None) -> SplitModel:
    """Makes the model, or finds it there. `change` is done to the halves' weights, to see whether it is noticed.

    Raises AddingRefused, CheckpointRefused, DoesNotFit, hub.NotDownloaded, RegistryError.
    """
    name, registry = wanted.called, Registry(models)
    with registry.workplace() as work:
        checkpoint = open_checkpoint(_folder(wanted, work, tell), MODEL_TYPES)
        if (there := _already(registry, checkpoint)) is not None:
            return there
        made = work / "model"
        tell("split", 0, 1)
        split = halves.write(checkpoint, made, change)
        tell("serving", 0, 1)
        why = _write_serving(made)
        parity = _proved(name, checkpoint, made, wanted.tokens, why, tell)
        (made / PARITY).write_text(parity.model_dump_json(indent=1))
        _write_card(made, name, wanted.source, split, parity)
        return registry.publish(made, write_ready(made, name, wanted.source))


def _folder(wanted: Wanted, work: Path, tell: Tell) -> Path:
    if wanted.is_folder:
        if wanted.revision:
            raise WrongUse("--revision belongs to a hub's OWNER/NAME; a folder is taken as it is")
        return Path(wanted.checkpoint)
    if not hub.is_id(wanted.checkpoint):
        raise WrongUse(f"{wanted.checkpoint} is neither a folder nor a hub's OWNER/NAME")
    return hub.download(wanted.checkpoint, wanted.revision, work, lambda done, of: tell("download", done, of))


def _already(registry: Registry, checkpoint: Checkpoint) -> SplitModel | None:
    """The same files under the same licence are the same model. Raises ModelChanged when it is broken."""
    for model in registry.models():
        if model.halves.source == checkpoint.record:
            model.check()
            return model
    return None


def _write_serving(made: Path) -> str:
    """Why there is no decoder for the engine without torch; empty where there is one now."""
    try:
        decoder_graph.write(made / "language", made / SERVING)
    except decoder_graph.NotServable as refused:
        return str(refused)
    return ""


def _proved(name: str, checkpoint: Checkpoint, made: Path, tokens: int, why: str, tell: Tell) -> card.Parity:
    """Raises NotProved when one token differs, and when no answer depends on its picture."""
    from triton_models.vision_language import parity, questions

    proof = parity.compare(name, checkpoint.folder, made, tokens, lambda done, of: tell("prove", done, of))
    if not proof.equal:
        different = sum(row.tokens - row.same_fp32 for row in (*proof.rows, *proof.served))
        of = sum(row.tokens for row in (*proof.rows, *proof.served))
        raise NotProved(f"{different} of {of} tokens differ from the whole model's; it is not taken")
    if proof.blind == len(questions.SIZES):
        raise NotProved("its answers are the same whatever it is shown, so nothing could be proved")
    tell("measure", 0, 1)
    return card.Parity(
        rows=(*_rows("transformers", proof.rows), *_rows("onnxruntime", proof.served)),
        questions=len(questions.SIZES),
        blind=proof.blind,
        different=proof.different,
        images=_images(made),
        not_servable=why,
        versions=parity.versions(),
    )


def _rows(engine: str, rows: Sequence[Row]) -> Iterator[card.ParityRow]:
    return (card.ParityRow(engine=engine, **dataclasses.asdict(row), proved=row.proved) for row in rows)


def _images(made: Path) -> tuple[card.SeenImage, ...]:
    from PIL import Image

    from triton_models.vision_language.eye import Eye
    from triton_models.vision_language.visual_tokens import encode

    split = halves.open_halves(made).split
    eye = Eye(split, halves.graph_file(made))
    found = []
    for width, height in SHOWN_SIZES:
        tokens = eye.see(split.lay(split.prepare(Image.new("RGB", (width, height), "grey"))))
        size = len(encode(tokens))
        inline = size <= INLINE_PAYLOAD_LIMIT
        found.append(card.SeenImage(width=width, height=height, tokens=len(tokens), size=size, inline=inline))
    return tuple(found)


def _write_card(made: Path, name: str, source: str, split: Halves, parity: card.Parity) -> None:
    digest = sha256_hex((made / halves.FACTS).read_bytes())
    page = card.render(name, source, digest, split, parity, beside_halves(made))
    (made / CARD).write_text(page, "utf-8")


# ---------------------------------------------------------------- the command

REFUSALS = (
    AddingRefused,
    CheckpointRefused,
    DoesNotFit,
    HalvesChanged,
    hub.NotDownloaded,
    RegistryError,
    OSError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m triton_models.vision_language.adding")
    parser.add_argument("models", type=Path)
    parser.add_argument("checkpoint")
    parser.add_argument("--revision")
    parser.add_argument("--name")
    told = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    _quieten()
    with _lines() as lines:
        try:
            model = add(
                told.models,
                Wanted(told.checkpoint, told.revision, told.name),
                lambda *step: _step(lines, *step),
            )
        except REFUSALS as refused:
            _line(lines, refused=str(refused), kind=type(refused).__name__)
            return 1
        _line(lines, ready=model.folder.name)
    return 0


def _lines() -> IO[str]:
    """Standard output, for this alone: what libraries print goes where errors go."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return lines


def _quieten() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _step(lines: IO[str], step: str, done: int, of: int) -> None:
    """When nobody reads any more, this raises, and what was begun is taken away."""
    _line(lines, step=step, done=done, of=of)


def _line(lines: IO[str], **told: object) -> None:
    lines.write(json.dumps(told) + "\n")


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
