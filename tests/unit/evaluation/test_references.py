"""The labelled pictures, their halves, and where their pictures lie."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from captionstream.evaluation.pictures import Collections, Folder, MissingPicture, Package, Pictures
from captionstream.evaluation.rcc import BadResources, Resources
from captionstream.evaluation.references import BUNDLED, Half, Reference, bundled, chosen
from captionstream.local.installed import MissingPart

ZLIB, FOLDER, ZSTD = 1, 2, 4


def test_the_bundled_sets_are_whole() -> None:
    """263 pictures of Tux Paint and 210 of GCompris, each with at least one accepted sense."""
    assert {"tuxpaint": 263, "gcompris": 210} == {name: len(bundled(name)) for name in BUNDLED}
    assert all(reference.subject for name in BUNDLED for reference in bundled(name))


def test_the_halves_share_nothing_and_lack_nothing() -> None:
    """Every picture is in exactly one half, whatever else is in the set."""
    for name in BUNDLED:
        everything = bundled(name)
        tune, held_out = chosen(everything, Half.TUNE), chosen(everything, Half.HELD_OUT)
        assert len(everything) == len(tune) + len(held_out)
        assert not {r.file for r in tune} & {r.file for r in held_out}
        assert 0.4 < len(tune) / len(everything) < 0.6
        assert tune == [r for r in everything if r in tune]
    assert chosen(bundled("tuxpaint")[:20], Half.TUNE) == [
        r for r in chosen(bundled("tuxpaint"), Half.TUNE) if r in bundled("tuxpaint")[:20]
    ]


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    """Two runs with one seed judge the same pictures; another seed, others."""
    everything = bundled("tuxpaint")
    assert chosen(everything, limit=20, seed=1) == chosen(everything, limit=20, seed=1)
    assert chosen(everything, limit=20, seed=1) != chosen(everything, limit=20, seed=2)
    assert 20 == len({r.file for r in chosen(everything, limit=20)})


def collection(version: int, files: dict[str, tuple[int, bytes]]) -> bytes:
    """A resource collection with one folder `gcompris`, one `src` below it, and the files in that."""
    names, name_places = b"", {}
    for name in ("gcompris", "src", *files):
        name_places[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    data, data_places = b"", {}
    for name, (_, content) in files.items():
        data_places[name] = len(data)
        data += struct.pack(">I", len(content)) + content
    time = b"\0" * 8 if version >= 2 else b""
    nodes = [
        struct.pack(">IHII", 0, FOLDER, 1, 1) + time,
        struct.pack(">IHII", name_places["gcompris"], FOLDER, 1, 2) + time,
        struct.pack(">IHII", name_places["src"], FOLDER, len(files), 3) + time,
        *(struct.pack(">IHHHI", name_places[n], flags, 0, 1, data_places[n]) + time for n, (flags, _) in files.items()),
    ]  # fmt: skip
    header = 20 if version < 3 else 24
    places = (header + len(data) + len(names), header, header + len(data))
    head = b"qres" + struct.pack(">IIII", version, *places) + (b"\0\0\0\1" if version >= 3 else b"")
    return head + data + names + b"".join(nodes)


def packed(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + zlib.compress(content)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_inside_a_resource_collection_are_read(version: int) -> None:
    """Stored and packed files come out as they went in, with their whole path."""
    made = collection(version, {"ä.webp": (0, b"picture"), "b.png": (ZLIB, packed(b"other" * 99))})
    expected = {"gcompris/src/ä.webp": b"picture", "gcompris/src/b.png": b"other" * 99}
    assert expected == dict(Resources(made).files())


@pytest.mark.parametrize(
    ("told", "made"),
    [
        ("no Qt resource", b"PK\3\4" + b"\0" * 40),
        ("no Qt resource", collection(3, {"a": (0, b"x")}).replace(b"qres\0\0\0\3", b"qres\0\0\0\7")),
        ("Zstandard", collection(3, {"a": (ZSTD, b"x")})),
        ("damaged", collection(3, {"a": (ZLIB, b"\0\0\0\1nonsense")})),
        ("another size", collection(3, {"a": (ZLIB, struct.pack(">I", 7) + zlib.compress(b"x"))})),
        ("damaged", collection(3, {"a": (0, b"x")})[:-9]),
        ("within itself", collection(3, {"a": (0, b"x")}).replace(struct.pack(">II", 1, 2), struct.pack(">II", 1, 0))),
    ],
)  # fmt: skip
def test_a_damaged_collection_is_refused_with_a_reason(told: str, made: bytes) -> None:
    """No crash, no loop, no nonsense: BadResources says what is wrong."""
    with pytest.raises(BadResources, match=told):
        dict(Resources(made).files())


def test_pictures_of_collections_are_found_by_their_path_below_the_sources(tmp_path: Path) -> None:
    """The labels name paths without what all of them share; files that are no collection do not disturb."""
    (tmp_path / "one.rcc").write_bytes(collection(3, {"a.webp": (0, b"A")}))
    (tmp_path / "other.rcc").write_bytes(b"nonsense")
    assert b"A" == Collections(tmp_path).find("a.webp")
    assert Collections(tmp_path).find("b.webp") is None


def test_pictures_come_from_the_first_place_that_has_them(tmp_path: Path) -> None:
    """A folder first, then the next; nothing outside a folder is read."""
    for name, data in {"one/a.png": b"1", "two/a.png": b"2", "two/b.png": b"b", "secret.png": b"s"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    pictures = Pictures([Folder(tmp_path / "one"), Folder(tmp_path / "two")])
    found = [data for _, data in pictures.of([Reference(file="a.png"), Reference(file="b.png")])]
    assert [b"1", b"b"] == found
    assert b"1" == pictures.read("val2014/a.png")
    with pytest.raises(MissingPicture, match=r"secret\.png"):
        pictures.read("../secret.png")


def test_a_package_that_cannot_be_fetched_is_a_sentence_with_what_to_do(tmp_path: Path) -> None:
    """Neither a traceback nor half a package stays behind."""
    package = Package("captionstream-has-no-such-package", tmp_path / "evaluation")
    with pytest.raises(MissingPart, match="apt-get update"):
        _ = package.data
    assert [] == list((tmp_path / "evaluation").iterdir())
