"""Files in the published layouts of captioning data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captionstream.evaluation.pictures import Packages
from captionstream.evaluation.references import Reference
from captionstream.evaluation.sets import LAYOUTS, BadSet, open_set, read_references

TWO = [
    Reference(file="a.jpg", captions=("A dog runs.", "A brown dog.")),
    Reference(file="b.jpg", captions=("A cat.",)),
]
COCO = {
    "info": {}, "licenses": [],
    "images": [{"id": 7, "file_name": "a.jpg", "height": 1, "width": 1}, {"id": 9, "file_name": "b.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 7, "caption": "A dog runs."}, {"id": 2, "image_id": 9, "caption": "A cat.\n"},
        {"id": 3, "image_id": 7, "caption": "A brown dog."},
    ],
}  # fmt: skip


def karpathy(file: str, sentences: list[str], split: str, folder: str = "") -> dict[str, object]:
    return {
        "filename": file, "split": split, "imgid": 0, "sentids": [0],
        "sentences": [{"raw": raw, "tokens": raw.lower().split()} for raw in sentences],
        **({"filepath": folder} if folder else {}),
    }  # fmt: skip


LAYOUT = {
    "JSON lines": "\n".join(json.dumps({"file": r.file, "captions": r.captions}) for r in TWO),
    "COCO": json.dumps(COCO),
    "COCO, indented": json.dumps(COCO, indent=2),
    "Karpathy": json.dumps(
        {"dataset": "flickr30k", "images": [
            karpathy("c.jpg", ["A bird."], "train"),
            karpathy("a.jpg", ["A dog runs.", "A brown dog."], "test"), karpathy("b.jpg", ["A cat."], "test"),
        ]}
    ),
    "flattened": json.dumps(
        [{"image": "a.jpg", "caption": ["A dog runs.", "A brown dog."]}, {"image": "b.jpg", "caption": "A cat."}]
    ),
    "Flickr30k token": "a.jpg#0\tA dog runs.\na.jpg#1\tA brown dog.\nb.jpg#0\tA cat.\n",
    "Flickr30k csv": "image_name| comment_number| comment\n"
    "a.jpg| 0| A dog runs.\na.jpg| 1| A brown dog.\nb.jpg| 0| A cat.\n",
}  # fmt: skip


@pytest.mark.parametrize("text", LAYOUT.values(), ids=LAYOUT)
def test_every_published_layout_is_read(tmp_path: Path, text: str) -> None:
    """By what stands in the file; its name tells nothing. All sentences of a picture come together."""
    path = tmp_path / "set.dat"
    path.write_text(text)
    assert TWO == read_references(path)


def test_the_folder_of_a_split_is_part_of_the_path(tmp_path: Path) -> None:
    """COCO's Karpathy split names the folder of the year beside the file."""
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps({"images": [karpathy("a.jpg", ["A dog."], "val", "val2014")]}))
    assert [Reference(file="val2014/a.jpg", captions=("A dog.",))] == read_references(path)


def test_a_line_of_flickr30k_that_lacks_its_second_bar_is_read(tmp_path: Path) -> None:
    """The published file has one such line."""
    path = tmp_path / "results.csv"
    path.write_text("image_name| comment_number| comment\na.jpg| 4   A dog runs across the grass .\n")
    assert ("A dog runs across the grass .",) == read_references(path)[0].captions


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("no layout", "hello"),
        ("no layout", '{"pictures": []}'),
        ("no layout", "[1, 2]"),
        ("no picture", json.dumps({"images": [], "annotations": []})),
        ("a part is missing", json.dumps({"images": [], "annotations": [{"image_id": 2, "caption": "A."}]})),
        ("line 2 has neither", '{"file": "a", "subject": ["dog"]}\n{"file": "b"}'),
        ("subject", '{"file": "a", "subject": "dog"}'),
    ],
)  # fmt: skip
def test_another_file_is_refused_with_a_reason(tmp_path: Path, told: str, text: str) -> None:
    """A file in no known layout is told which layouts there are."""
    path = tmp_path / "set.json"
    path.write_text(text)
    with pytest.raises(BadSet, match=told) as bad:
        read_references(path)
    if told == "no layout":
        assert all(layout in str(bad.value) for layout in LAYOUTS)


def test_a_set_that_is_not_there_says_which_there_are(tmp_path: Path) -> None:
    """A slip of the pen is told the names of the bundled sets."""
    with pytest.raises(BadSet, match="tuxpaint, gcompris"):
        open_set(str(tmp_path / "tuxpant"), Packages(tmp_path))


def test_pictures_of_a_file_lie_beside_it_or_where_one_says(tmp_path: Path) -> None:
    """The folder that is named comes first; no package is fetched for a picture that is found."""
    path = tmp_path / "set.jsonl"
    path.write_text('{"file": "a.png", "subject": ["dog"]}\n{"file": "b.png", "subject": ["dog"]}')
    (tmp_path / "named").mkdir()
    for name in ("a.png", "b.png", "named/b.png"):
        (tmp_path / name).write_bytes(name.encode())
    opened = open_set(str(path), Packages(tmp_path / "packages"), tmp_path / "named")
    assert [b"a.png", b"named/b.png"] == [opened.pictures.read(r.file) for r in opened.references]
    assert not (tmp_path / "packages").exists()
