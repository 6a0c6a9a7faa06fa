"""The proof that a split model is the model: token for token what transformers' own `generate` gives on the whole.

    python -m triton_models.vision_language.parity [--class smolvlm] [--tokens 20] [--checkpoint FOLDER]

Two engines write: transformers, and the generator's own on ONNX Runtime, which serves every class that has a graph.
The whole model gets pictures and conversations; the halves get the same, each from its own files: ONNX Runtime sees,
the visual tokens travel as a payload, the language model writes. Compared are the prompts' ids and every new token,
in fp32, with pictures prepared by Pillow on both sides. The serving engine writes the questions of a batch in a
continuous one, which they join at different times; its samples are drawn by uniform numbers that the whole model gets
too, because transformers' own draw depends on who else is in the batch. Beside it stands how many tokens stay the same
when the visual tokens travel as fp16, and when the whole model's pictures are prepared by torchvision, whose filters
round differently.
The exit status is 1 when one token differs, and also when the model takes no notice of the picture: then nothing was
proved.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers

from captionstream.contracts.values import INLINE_PAYLOAD_LIMIT
from triton_models.vision_language import halves, tiny
from triton_models.vision_language.checkpoint import open_checkpoint
from triton_models.vision_language.classes import MODEL_TYPES
from triton_models.vision_language.language import Decoding
from triton_models.vision_language.questions import Case, cases, pictures
from triton_models.vision_language.sides import Sides

SEED = 7
ENOUGH_DIFFERENT = 5
"""A model that says fewer different tokens than this proves little."""


@dataclass(frozen=True)
class Row:
    """One line of the table: of `tokens` tokens of the whole model, how many the halves wrote too.

    For `same_torchvision` the whole model's pictures are prepared by torchvision, for the others by Pillow.
    """

    decoding: str
    case: str
    tokens: int
    same_prompts: bool
    same_fp32: int
    same_fp16: int
    same_torchvision: int | None

    @property
    def proved(self) -> bool:
        return self.same_prompts and self.same_fp32 == self.tokens > 0


@dataclass(frozen=True)
class Proof:
    """Of one model: `rows` by transformers, `served` by the serving engine where its class has a graph.

    `blind` questions got the same answer about another picture of the same size. `different` is how many different
    tokens there are in the answers, `largest` the bytes of an image in fp16.
    """

    name: str
    rows: tuple[Row, ...]
    blind: int
    different: int
    largest: int
    served: tuple[Row, ...] = ()

    @property
    def equal(self) -> bool:
        return all(row.proved for row in (*self.rows, *self.served))

    @property
    def holds(self) -> bool:
        means_something = not self.blind and self.different >= ENOUGH_DIFFERENT
        return means_something and self.equal


# ---------------------------------------------------------------- the proof


def prove(
    name: str, source: Path, work: Path, tokens: int, change: Callable[[Any], None] | None = None
) -> Proof:
    """`source` is a checkpoint; its halves are written into `work`. `change` is done to the halves' weights only."""
    halves.write(open_checkpoint(source, MODEL_TYPES), work, change)
    return compare(name, source, work, tokens)


def compare(
    name: str, source: Path, work: Path, tokens: int, tell: Callable[[int, int], None] = lambda done, of: None
) -> Proof:
    """As `prove`, of halves that are in `work` already. `tell` is called before each row: how many are done, of all."""
    sides = Sides.of(source, work)
    shown, others = pictures(1), pictures(2)
    rows, served = [], []
    asked = list(asked_how(cases(shown), tokens))
    for number, one in enumerate(asked):
        tell(number, len(asked))
        rows.append(_row(sides, *one))
        served += served_row(sides, *one)
    greedy = Decoding(tokens)
    answers = sides.exact.answer(cases(shown)[1].questions, greedy)[1]
    elsewhere = sides.exact.answer(cases(others)[1].questions, greedy)[1]
    blind = sum(one == other for one, other in zip(answers, elsewhere, strict=True))
    different = len({token for answer in answers for token in answer})
    sides.close()
    return Proof(name, tuple(rows), blind, different, sides.short.largest, tuple(served))


def asked_how(asked: Sequence[Case], tokens: int) -> Iterator[tuple[Case, Decoding]]:
    for decoding in (Decoding(tokens), Decoding(tokens, SEED)):
        for case in asked:
            yield case, decoding


def _row(sides: Sides, case: Case, decoding: Decoding) -> Row:
    ids, expected = sides.whole.answer(case.questions, decoding)
    exact_ids, found = sides.exact.answer(case.questions, decoding)
    _, elsewhere = sides.by_torchvision.answer(case.questions, decoding)
    return Row(
        decoding=_named(decoding),
        case=case.name,
        tokens=sum(map(len, expected)),
        same_prompts=torch.equal(ids, exact_ids),
        same_fp32=same(expected, found),
        same_fp16=same(expected, sides.short.answer(case.questions, decoding)[1]),
        same_torchvision=same(elsewhere, found),
    )


def served_row(sides: Sides, case: Case, decoding: Decoding) -> list[Row]:
    """One row, or none where the class has no graph. Every request draws for itself."""
    if sides.served is None:
        return []
    _, expected = sides.whole.answer(case.questions, decoding, row_by_row=True)
    ids, found = sides.served.answer(case.questions, decoding)
    return [
        Row(
            decoding=_named(decoding),
            case=case.name,
            tokens=sum(map(len, expected)),
            same_prompts=ids == sides.whole.prompts(case.questions),
            same_fp32=same(expected, found),
            same_fp16=same(expected, sides.served.answer(case.questions, decoding, sides.short)[1]),
            same_torchvision=None,
        )
    ]


def _named(decoding: Decoding) -> str:
    return "greedy" if decoding.seed is None else f"sampled, seed {decoding.seed}"


def same(expected: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> int:
    """How many tokens stand in the same place; a row that goes on too long loses one for each token too many."""
    count = 0
    for row, other in zip(expected, found, strict=True):
        count += sum(one == two for one, two in zip(row, other, strict=False)) - max(0, len(other) - len(row))
    return count


def break_connector(model: Any) -> None:
    """One wrong weight of the connector: its largest, with the other sign."""
    inner = model.model
    parts = [getattr(inner, name, None) for name in ("connector", "multi_modal_projector")]
    connector = next((part for part in parts if part is not None), None) or inner.visual.merger
    weight = [parameter for parameter in connector.parameters() if parameter.ndim == 2][-1]
    with torch.no_grad():
        largest = weight.abs().argmax()
        weight.view(-1)[largest] *= -1


# ---------------------------------------------------------------- the command


def versions() -> dict[str, str]:
    """Of all that takes part."""
    names = ("transformers", "torch", "onnxruntime", "onnx", "tokenizers", "numpy")
    return {"Python": platform.python_version(), **{name: version(name) for name in names}}


def table(proofs: Sequence[Proof]) -> str:
    lines = [", ".join(" ".join(one) for one in versions().items()), ""]
    lines.append(
        _line("model", "engine", "decoding", "batch", "tokens", "equal in fp32", "in fp16", "torchvision")
    )
    for proof in proofs:
        lines += [_row_line(proof.name, "transformers", row) for row in proof.rows]
        lines += [_row_line(proof.name, "onnxruntime", row) for row in proof.served]
        if not proof.served:
            lines.append(_line(proof.name, "onnxruntime", "no graph of this class", "", "", "", "", ""))
    lines.append("")
    lines += [_verdict(proof) for proof in proofs]
    return "\n".join(lines)


def _line(*cells: str) -> str:
    widths = (16, 13, 15, 21, 7, 14, 8, 0)
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _row_line(name: str, engine: str, row: Row) -> str:
    equal = f"{row.same_fp32} {'✓' if row.proved else '✗'}" + ("" if row.same_prompts else " other prompt")
    counts = (row.same_fp16, row.same_torchvision)
    shares = ("" if count is None else f"{100 * count / max(1, row.tokens):.0f} %" for count in counts)
    return _line(name, engine, row.decoding, row.case, str(row.tokens), equal, *shares)


def _verdict(proof: Proof) -> str:
    mark = "✓" if proof.holds else "✗"
    seen = f"{proof.blind} answers stay the same" if proof.blind else "every answer changes"
    how = "inline" if proof.largest <= INLINE_PAYLOAD_LIMIT else "by claim check"
    return (
        f"{mark} {proof.name}: {seen} when the picture changes; {proof.different} different tokens; "
        f"an image travels as up to {proof.largest:,} bytes of fp16, {how}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m triton_models.vision_language.parity")
    parser.add_argument("--class", dest="classes", action="append", choices=list(tiny.CLASSES))
    parser.add_argument("--checkpoint", type=Path, help="a downloaded model instead of the tiny ones")
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument(
        "--break", dest="broken", choices=["connector"], help="split a model with one wrong weight"
    )
    told = parser.parse_args(arguments)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    change = break_connector if told.broken else None
    proofs = []
    with tempfile.TemporaryDirectory() as work:
        for name, source in _sources(told, Path(work)):
            print(f"· {name}", file=sys.stderr, flush=True)
            proofs.append(prove(name, source, Path(work, "halves", name), told.tokens, change))
    print(table(proofs))
    return 0 if all(proof.holds for proof in proofs) else 1


def _sources(told: argparse.Namespace, work: Path) -> Iterator[tuple[str, Path]]:
    if told.checkpoint:
        yield told.checkpoint.resolve().name, told.checkpoint
        return
    for name in told.classes or tiny.CLASSES:
        yield name, tiny.write(name, work / "checkpoints" / name)


if __name__ == "__main__":
    sys.exit(main())
