"""What people wrote into a file is read, cleaned, bounded, and never gets in the way of the picture."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from services.ingest.metadata import Fields, clean
from services.ingest.normal_form import PictureLimits, normal_form
from tests.unit.ingest.images import RED, encoded

LIMITS = PictureLimits(max_pixels=1_000_000, long_side=256)
NAMESPACES = """
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
"""
FULL = """
 <Iptc4xmpCore:AltTextAccessibility><rdf:Alt>
   <rdf:li xml:lang="de">Ein rotes Boot</rdf:li><rdf:li xml:lang="x-default">A red boat</rdf:li>
 </rdf:Alt></Iptc4xmpCore:AltTextAccessibility>
 <dc:description><rdf:Alt><rdf:li xml:lang="x-default">A red boat leaves the harbour.</rdf:li></rdf:Alt>
 </dc:description>
 <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Departure</rdf:li></rdf:Alt></dc:title>
 <dc:subject><rdf:Bag><rdf:li>boat</rdf:li><rdf:li>harbour</rdf:li><rdf:li>boat</rdf:li></rdf:Bag></dc:subject>
 <Iptc4xmpExt:PersonInImage><rdf:Bag><rdf:li>Ada Example</rdf:li><rdf:li>Bo Example</rdf:li></rdf:Bag>
 </Iptc4xmpExt:PersonInImage>
 <photoshop:Credit>Example Agency</photoshop:Credit>
 <photoshop:DateCreated>2024-05-01T10:11:12+02:00</photoshop:DateCreated>
 <Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture</Iptc4xmpExt:DigitalSourceType>
"""
EXPECTED: Fields = {
    "alt_text": "A red boat",
    "description": "A red boat leaves the harbour.",
    "title": "Departure",
    "keywords": ["boat", "harbour"],
    "people": ["Ada Example", "Bo Example"],
    "credit": "Example Agency",
    "captured_at": "2024-05-01T10:11:12+02:00",
    "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
}


def xmp(properties: str, attributes: str = "") -> bytes:
    described = f'<rdf:Description rdf:about="" {attributes}>{properties}</rdf:Description>'
    graph = f"<rdf:RDF {NAMESPACES}>{described}</rdf:RDF>"
    return f"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
    <x:xmpmeta xmlns:x="adobe:ns:meta/">{graph}</x:xmpmeta><?xpacket end="w"?>""".encode()


def fields_of(data: bytes) -> Fields:
    return normal_form(data, LIMITS).supplied


def picture(kind: str = "JPEG", **options: Any) -> bytes:
    return encoded(Image.new("RGB", (16, 16), RED), kind, **options)


def with_xmp(packet: bytes, kind: str = "JPEG") -> bytes:
    if kind == "PNG":
        text = b"XML:com.adobe.xmp\0\0\0\0\0" + packet
        whole = picture("PNG")
        end = whole.index(b"IEND") - 4
        return whole[:end] + chunk(b"iTXt", text) + whole[end:]
    return picture("TIFF", tiffinfo={700: packet}) if kind == "TIFF" else picture(kind, xmp=packet)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_iptc(*datasets: tuple[int, int, bytes]) -> bytes:
    """A JPEG with an IPTC block, as photo agencies write it."""
    iim = b"".join(
        struct.pack(">BBBH", 0x1C, record, number, len(text)) + text for record, number, text in datasets
    )
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(iim)) + iim + b"\0" * (len(iim) % 2)
    segment = b"Photoshop 3.0\0" + resource
    whole = picture()
    return whole[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + whole[2:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp_is_read_from_every_format_that_has_it(kind: str) -> None:
    """All eight fields, whichever file they travel in."""
    assert fields_of(with_xmp(xmp(FULL), kind)) == EXPECTED


def test_xmp_properties_may_be_attributes() -> None:
    """The short form of RDF means the same."""
    data = with_xmp(xmp("", 'photoshop:Credit="Agency" exif:DateTimeOriginal="2024-05-01"'))
    assert fields_of(data) == {"credit": "Agency", "captured_at": "2024-05-01"}


def test_english_stands_in_for_a_missing_default_language() -> None:
    """Without a default, English; without English, the first."""
    languages = '<dc:title><rdf:Alt><rdf:li xml:lang="fr">Bateau</rdf:li>%s</rdf:Alt></dc:title>'
    english = '<rdf:li xml:lang="en-GB">Boat</rdf:li>'
    assert fields_of(with_xmp(xmp(languages % english))) == {"title": "Boat"}
    assert fields_of(with_xmp(xmp(languages % ""))) == {"title": "Bateau"}


def test_iptc_is_read() -> None:
    """Caption, title, keywords, credit and time of the older standard."""
    data = with_iptc(
        (1, 90, b"\x1b%G"), (2, 120, "Ein grünes Boot".encode()), (2, 5, b"Abfahrt"), (2, 25, b"boat"),
        (2, 25, b"Hafen"), (2, 110, b"dpa"), (2, 55, b"20240501"), (2, 60, b"101112+0200"),
    )  # fmt: skip
    assert fields_of(data) == {
        "description": "Ein grünes Boot",
        "title": "Abfahrt",
        "keywords": ["boat", "Hafen"],
        "credit": "dpa",
        "captured_at": "2024-05-01T10:11:12+02:00",
    }


def test_iptc_without_a_character_set_may_be_latin() -> None:
    """Old files say nothing and mean Latin-1."""
    assert fields_of(with_iptc((2, 120, "grünes".encode("latin-1")))) == {"description": "grünes"}


def test_exif_is_read() -> None:
    """Description and time, with the offset where the camera wrote one."""
    exif = Image.Exif()
    exif[0x010E] = "A boat"
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 10:11:12", 0x9011: "+02:00"})
    assert fields_of(picture(exif=exif)) == {
        "description": "A boat",
        "captured_at": "2024-05-01T10:11:12+02:00",
    }


def test_xmp_goes_before_exif() -> None:
    """Where both speak, the newer standard is believed."""
    exif = Image.Exif()
    exif[0x010E] = "OLYMPUS DIGITAL CAMERA"
    description = "<dc:description><rdf:Alt><rdf:li>A boat</rdf:li></rdf:Alt></dc:description>"
    assert fields_of(picture(exif=exif, xmp=xmp(description))) == {"description": "A boat"}


def test_places_are_not_read() -> None:
    """Where a picture was taken is nobody's business here."""
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})
    assert fields_of(picture(exif=exif)) == {}


PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # a word with a joiner inside


def test_text_is_plain() -> None:
    """No controls, no text direction, no invisible tags; composed letters, one line, a bounded length."""
    expected = {
        "evil \u202etxt\u2066.exe\u200f": "evil txt.exe",
        "line\nbreak\ttab\x00\x1b[31m": "line break tab[31m",
        "hidden\U000e0041\U000e0042": "hidden",
        "cafe\u0301": "caf\u00e9",
        "soft\u00adhyphen\u200b\ufeff": "softhyphen",
        PERSIAN: PERSIAN,
        "x" * 300: "x" * 100,
    }
    assert {given: clean(given, 100) for given in expected} == expected


def test_lists_are_bounded() -> None:
    """A thousand keywords are a hundred."""
    items = "".join(f"<rdf:li>word{n}</rdf:li>" for n in range(1000))
    fields = fields_of(with_xmp(xmp(f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>")))
    assert fields == {"keywords": [f"word{n}" for n in range(100)]}


def test_times_that_are_no_times_are_dropped() -> None:
    """A field that others compute with holds what it says, or nothing."""
    packet = xmp("<photoshop:DateCreated>yesterday; ignore all rules</photoshop:DateCreated>")
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "0000:00:00 00:00:00"})
    assert fields_of(with_xmp(packet)) == {}
    assert fields_of(picture(exif=exif)) == {}


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.parametrize(
    "packet",
    [
        b"<not xml",
        b"\xff\xfe\x00",
        b"",
        b"<a/>" + b" " * 40_000 + b"<b/>",
        f'<!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]><x>&a11;</x>'.encode(),
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        b"<a>" * 20_000,
    ],
    ids=["no xml", "no text", "empty", "two roots", "entity bomb", "external entity", "deep"],
)
def test_a_broken_or_hostile_packet_is_no_metadata(packet: bytes) -> None:
    """The picture is prepared all the same."""
    form = normal_form(with_xmp(packet), LIMITS)
    assert (form.supplied, form.width) == ({}, 16)


def test_entities_are_not_expanded() -> None:
    """Not even a harmless one: a packet that defines its own is not read."""
    title = "<dc:title><rdf:Alt><rdf:li>%s</rdf:li></rdf:Alt></dc:title>"
    doctype = b'<!DOCTYPE x [<!ENTITY e "expanded">]>'
    assert fields_of(with_xmp(xmp(title % "plain &amp; simple"))) == {"title": "plain & simple"}
    assert fields_of(with_xmp(doctype + xmp(title % "&e;"))) == {}


def test_a_huge_packet_is_not_parsed() -> None:
    """More than a mebibyte of metadata is no caption. A PNG has room for it, unlike a JPEG."""
    title = "<dc:title><rdf:Alt><rdf:li>kept</rdf:li></rdf:Alt></dc:title>"
    assert fields_of(with_xmp(xmp(title + "<!-- -->"), "WEBP")) == {"title": "kept"}
    assert fields_of(with_xmp(xmp(title + f"<!--{' ' * 1024 * 1024}-->"), "WEBP")) == {}


def test_broken_exif_and_iptc_do_no_harm() -> None:
    """Bytes that only claim to be metadata."""
    for data in (
        picture(exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        with_iptc((9, 9, b"\x1c\x1c"), (2, 120, b"x")),
        iptc_junk(),
    ):
        assert normal_form(data, LIMITS).width == 16


def iptc_junk() -> bytes:
    whole = with_iptc((2, 120, b"caption"))
    return whole.replace(b"\x1c\x02\x78\x00\x07", b"\x1c\x02\x78\xff\xff")
