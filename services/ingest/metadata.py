"""What people wrote into the file: XMP before IPTC before EXIF. Runs in the decoder's child only.

These words are kept apart from what is seen. They are data from strangers: plain text, bounded, never obeyed.
Field ids follow the IPTC Photo Metadata Standard and the Metadata Working Group's guidelines.
Broken metadata is no metadata; it never fails an image.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from PIL import ImageFile, IptcImagePlugin

Texts = list[str]
Fields = dict[str, str | Texts]

XMP_LIMIT = 1024 * 1024  # bytes; a packet in a JPEG has at most 64 KiB
TEXT_LIMITS = {
    "alt_text": 2000, "description": 5000, "title": 500, "people": 200, "keywords": 200, "credit": 500,
    "captured_at": 40, "digital_source_type": 200,
}  # fmt: skip
LIST_LIMITS = {"people": 50, "keywords": 100}

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
DC = "{http://purl.org/dc/elements/1.1/}"
PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
XMP = "{http://ns.adobe.com/xap/1.0/}"
EXIF = "{http://ns.adobe.com/exif/1.0/}"
IPTC_CORE = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
IPTC_EXTENSION = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"

XMP_PROPERTIES = {
    "alt_text": (f"{IPTC_CORE}AltTextAccessibility",),
    "description": (f"{DC}description",),
    "title": (f"{DC}title", f"{PHOTOSHOP}Headline"),
    "people": (f"{IPTC_EXTENSION}PersonInImage",),
    "keywords": (f"{DC}subject",),
    "credit": (f"{PHOTOSHOP}Credit",),
    "captured_at": (f"{EXIF}DateTimeOriginal", f"{PHOTOSHOP}DateCreated", f"{XMP}CreateDate"),
    "digital_source_type": (f"{IPTC_EXTENSION}DigitalSourceType",),
}  # fmt: skip
IPTC_DATASETS = {"description": (2, 120), "title": (2, 5), "keywords": (2, 25), "credit": (2, 110)}
IPTC_CHARSET, IPTC_DATE, IPTC_TIME = (1, 90), (2, 55), (2, 60)
UTF_8 = b"\x1b%G"

IMAGE_DESCRIPTION, EXIF_IFD = 0x010E, 0x8769
DATE_TIME_ORIGINAL, OFFSET_TIME_ORIGINAL = 0x9003, 0x9011

INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}  # controls, bidi, tags, surrogates, private, unassigned
JOINERS = {"\u200c", "\u200d"}  # formats by category, but parts of words in Persian and Hindi, and of emoji
MOMENT = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?")


def supplied_fields(source: ImageFile.ImageFile) -> Fields:
    """The fields of `SuppliedMetadata` that the file has, cleaned and bounded. Never raises."""
    fields: Fields = {}
    for read in (exif_fields, iptc_fields, xmp_fields):
        found = without_failing(read, source)
        fields.update({name: value for name, given in found.items() if (value := bounded(name, given))})
    return fields


def without_failing(
    read: Callable[[ImageFile.ImageFile], dict[str, Texts]], source: ImageFile.ImageFile
) -> dict[str, Texts]:
    try:
        return read(source)
    except MemoryError:
        raise
    except Exception:  # parsers of hostile bytes raise anything
        return {}


def bounded(name: str, given: Iterable[str]) -> str | Texts | None:
    """The field's value: a list where it has many, else its first text. None if nothing is left of it."""
    texts = [text for value in given if (text := clean(value, TEXT_LIMITS[name]))]
    if name == "captured_at":
        texts = [text for text in texts if MOMENT.fullmatch(text)]
    if name in LIST_LIMITS:
        return list(dict.fromkeys(texts))[: LIST_LIMITS[name]]
    return texts[0] if texts else None


def clean(text: str, limit: int) -> str:
    """One line of visible NFC text of at most `limit` characters."""
    spaced = " ".join(text[: 4 * limit].split())
    visible = "".join(c for c in spaced if c in JOINERS or unicodedata.category(c) not in INVISIBLE)
    return unicodedata.normalize("NFC", visible)[:limit].strip()


def xmp_fields(source: ImageFile.ImageFile) -> dict[str, Texts]:
    packet = source.info.get("xmp")
    raw = packet.encode() if isinstance(packet, str) else packet
    if not isinstance(raw, bytes) or len(raw) > XMP_LIMIT:
        return {}
    try:
        root = ElementTree.fromstring(raw.strip(b"\x00 \r\n\t"))
    except (ParseError, DefusedXmlException, ValueError):
        return {}
    described = list(root.iter(f"{RDF}Description"))
    return {field: first_given(described, names) for field, names in XMP_PROPERTIES.items()}


def first_given(described: list[Element], names: tuple[str, ...]) -> Texts:
    """The values of the first of these properties that has any, written as attribute or element."""
    for name in names:
        for description in described:
            if texts := attribute_or_element(description, name):
                return texts
    return []


def attribute_or_element(description: Element, name: str) -> Texts:
    if (attribute := description.get(name)) is not None:
        return [attribute]
    element = description.find(name)
    if element is None:
        return []
    items = sorted(element.iter(f"{RDF}li"), key=by_language)
    return [item.text for item in items if item.text] or [element.text or element.get(f"{RDF}resource") or ""]


def by_language(item: Element) -> int:
    """The default language first, then English, then as written."""
    language = item.get(XML_LANG, "").lower()
    return 0 if language in {"", "x-default"} else 1 if language.startswith("en") else 2


def iptc_fields(source: ImageFile.ImageFile) -> dict[str, Texts]:
    datasets = IptcImagePlugin.getiptcinfo(source) or {}
    charset = "utf-8" if datasets.get(IPTC_CHARSET) == UTF_8 else None
    fields = {name: iptc_texts(datasets.get(key), charset) for name, key in IPTC_DATASETS.items()}
    date, time = (iptc_texts(datasets.get(key), charset) for key in (IPTC_DATE, IPTC_TIME))
    return {**fields, "captured_at": iptc_moment(date, time)}


def iptc_texts(value: bytes | list[bytes] | None, charset: str | None) -> Texts:
    values = value if isinstance(value, list) else [value]
    return [iptc_text(raw, charset) for raw in values if raw]


def iptc_text(raw: bytes, charset: str | None) -> str:
    """By the declared character set; without one, files hold UTF-8 or Latin-1."""
    try:
        return raw.decode(charset or "utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def iptc_moment(date: Texts, time: Texts) -> Texts:
    """20240501 and 101112+0200 as ISO 8601."""
    day = re.fullmatch(r"(\d{4})(\d\d)(\d\d)", date[0]) if date else None
    if day is None:
        return []
    hour = re.fullmatch(r"(\d\d)(\d\d)(\d\d)(?:([+-]\d\d)(\d\d))?", time[0]) if time else None
    if hour is None:
        return ["-".join(day.groups())]
    zone = f"{hour[4]}:{hour[5]}" if hour[4] else ""
    return [f"{'-'.join(day.groups())}T{hour[1]}:{hour[2]}:{hour[3]}{zone}"]


def exif_fields(source: ImageFile.ImageFile) -> dict[str, Texts]:
    exif = source.getexif()
    details = exif.get_ifd(EXIF_IFD)
    return {
        "description": exif_texts(exif.get(IMAGE_DESCRIPTION)),
        "captured_at": exif_moment(
            exif_texts(details.get(DATE_TIME_ORIGINAL)), exif_texts(details.get(OFFSET_TIME_ORIGINAL))
        ),
    }


def exif_texts(value: object) -> Texts:
    """EXIF says ASCII; files hold UTF-8, which Pillow hands over as Latin-1."""
    raw = value.encode("latin-1", "replace") if isinstance(value, str) else value
    return [iptc_text(raw, None).rstrip("\x00")] if isinstance(raw, bytes) else []


def exif_moment(date: Texts, offset: Texts) -> Texts:
    """2024:05:01 10:11:12 as ISO 8601, with its offset where the camera wrote one."""
    moment = re.fullmatch(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)", date[0].strip()) if date else None
    if moment is None or moment[1] == "0000":
        return []
    zone = offset[0].strip() if offset and re.fullmatch(r"[+-]\d\d:\d\d", offset[0].strip()) else ""
    return [f"{moment[1]}-{moment[2]}-{moment[3]}T{moment[4]}{zone}"]
