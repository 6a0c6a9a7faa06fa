"""What is evaluated: one of the bundled sets, or a file in a published layout, with where its pictures are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from captionstream.evaluation.pictures import Folder, Lazily, Packages, Pictures, Place
from captionstream.evaluation.references import BUNDLED, Reference, bundled

LAYOUTS = (
    "JSON lines with `file` and `subject` or `captions` (as captionstream/evaluation/references/*.jsonl)",
    "COCO captions (JSON with `images` and `annotations`)",
    "Karpathy's splits (JSON with `images` that have `filename` and `sentences`; its test split, if it has one)",
    "the same flattened (a JSON list of `image` and `caption`)",
    "Flickr30k's results_20130124.token (`name.jpg#0`, a tab, a sentence)",
    "Flickr30k's results.csv (`image_name| comment_number| comment`)",
)


class BadSet(Exception):
    """What was named is no set that can be evaluated. The message says why, and what can be."""


@dataclass(frozen=True)
class EvaluationSet:
    name: str
    references: Sequence[Reference]
    pictures: Pictures
    unknown: tuple[str, ...] = ()

    def with_known_labels(self, knows: Callable[[str], bool]) -> EvaluationSet:
        """The same without labels that WordNet lacks, which stand in `unknown` with their pictures; and without
        pictures that have nothing else. Raises BadSet when none is left.
        """
        unknown = [f"{r.file}: {name!r}" for r in self.references for name in r.subject if not knows(name)]
        if not unknown:
            return self
        kept = [r.model_copy(update={"subject": tuple(filter(knows, r.subject))}) for r in self.references]
        labelled = [reference for reference in kept if reference.subject or reference.captions]
        if not labelled:
            raise BadSet(f"{self.name}: WordNet 3.0 has no noun sense of {'; '.join(unknown[:5])}")
        return replace(self, references=labelled, unknown=tuple(unknown))


def open_set(name: str, packages: Packages, folder: Path | None = None) -> EvaluationSet:
    """One of BUNDLED, or the path of a file in one of LAYOUTS, whose pictures are looked for in `folder`,
    beside the file and in the packages of the bundled sets. Raises BadSet, MissingPart.
    """
    given: list[Place] = [Folder(folder)] if folder else []
    if name in BUNDLED:
        return EvaluationSet(name, bundled(name), Pictures([*given, packages.of_set(name)]))
    path = Path(name)
    references = read_references(path)
    last: list[Place] = [Lazily(packages.stamps), Lazily(packages.gcompris)]
    return EvaluationSet(name, references, Pictures([*given, Folder(path.parent), *last]))


def read_references(path: Path) -> list[Reference]:
    """Raises BadSet."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as unreadable:
        why = getattr(unreadable, "strerror", None) or "not a text in UTF-8"
        raise BadSet(f"{path}: {why}. Sets are {', '.join(BUNDLED)}, or a file.") from None
    references = of_text(text, path)
    if not references:
        raise BadSet(f"{path}: there is no picture in it")
    return references


def of_text(text: str, path: Path) -> list[Reference]:
    """By the layout that the text itself shows; its name tells nothing. Raises BadSet."""
    read = layout_of(text)
    if read is None:
        raise BadSet("\n  · ".join([f"{path}: no layout that is known here. These are:", *LAYOUTS]))
    try:
        return read(text)
    except ValidationError as bad:
        first = bad.errors(include_url=False, include_input=False)[0]
        raise BadSet(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (KeyError, TypeError, ValueError, IndexError) as bad:
        raise BadSet(f"{path}: a part is missing or of another kind: {bad!r}") from None


def layout_of(text: str) -> Callable[[str], list[Reference]] | None:
    first = text.lstrip().split("\n", 1)[0]
    if first.startswith(("{", "[")):
        return _json_layout(text, first)
    if "|" in first and first.replace(" ", "").lower().startswith("image_name|"):
        return _flickr_csv
    return _flickr_token if "\t" in first and "#" in first.split("\t")[0] else None


def _json_layout(text: str, first: str) -> Callable[[str], list[Reference]] | None:
    if isinstance(line := _json(first), dict) and "file" in line:
        return _json_lines
    told = _json(text)
    if isinstance(told, list):
        flat = bool(told) and isinstance(told[0], dict) and {"image", "caption"} <= told[0].keys()
        return _flattened if flat else None
    if not isinstance(told, dict) or not isinstance(told.get("images"), list):
        return None
    if isinstance(told.get("annotations"), list):
        return _coco
    return _karpathy if any("sentences" in image for image in told["images"]) else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# ---------------------------------------------------------------- the layouts


def _json_lines(text: str) -> list[Reference]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            reference = Reference.model_validate(json.loads(line))
            if not reference.subject and not reference.captions:
                raise ValueError(f"line {number} has neither subject nor captions")
            found.append(reference)
    return found


def _coco(text: str) -> list[Reference]:
    told = json.loads(text)
    names = {image["id"]: image["file_name"] for image in told["images"]}
    return _gathered((names[each["image_id"]], each["caption"]) for each in told["annotations"])


def _karpathy(text: str) -> list[Reference]:
    images: Sequence[Mapping[str, Any]] = json.loads(text)["images"]
    test = [image for image in images if image.get("split") == "test"]
    return _gathered(
        ("/".join(filter(None, [image.get("filepath"), image["filename"]])), sentence["raw"])
        for image in test or images
        for sentence in image["sentences"]
    )


def _flattened(text: str) -> list[Reference]:
    pairs: list[tuple[str, str]] = []
    for each in json.loads(text):
        sentences = each["caption"] if isinstance(each["caption"], list) else [each["caption"]]
        pairs += [(each["image"], sentence) for sentence in sentences]
    return _gathered(pairs)


def _flickr_token(text: str) -> list[Reference]:
    rows = (line.split("\t", 1) for line in text.splitlines() if line.strip())
    return _gathered((name.rsplit("#", 1)[0], sentence) for name, sentence in rows)


def _flickr_csv(text: str) -> list[Reference]:
    rows = list(csv.reader(text.splitlines()[1:], delimiter="|", quoting=csv.QUOTE_NONE))
    # one line of the published file lacks its second bar
    return _gathered((row[0].strip(), row[-1].strip().removeprefix("4   ")) for row in rows if row)


def _gathered(pairs: Iterable[tuple[str, str]]) -> list[Reference]:
    """One reference a picture, with all its sentences."""
    found: dict[str, list[str]] = {}
    for file, sentence in pairs:
        found.setdefault(file, []).append(" ".join(sentence.split()))
    return [Reference(file=file, captions=tuple(sentences)) for file, sentences in found.items()]
