"""From the bytes of an image to its one normal form. Runs in the decoder's child only.

The normal form is sRGB, upright, opaque (on white), 8 bits a channel, with a bounded long side.
Everything else that a file may hold (profiles, trailing bytes, further frames) ends here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO

# Importing a plugin registers its format: these seven and no others can be opened.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageCms,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from services.ingest.metadata import Fields, supplied_fields

PLUGINS = (
    JpegImagePlugin, PngImagePlugin, WebPImagePlugin, GifImagePlugin, BmpImagePlugin, TiffImagePlugin,
    AvifImagePlugin,
)  # fmt: skip
MEDIA_TYPES = {
    "JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp",
    "GIF": "image/gif", "BMP": "image/bmp", "TIFF": "image/tiff", "AVIF": "image/avif",
}  # fmt: skip
OPTIONAL = {"WEBP": "webp", "AVIF": "avif"}  # a Pillow may be built without them
ORIENTATION = 0x0112
SIDEWAYS = {5, 6, 7, 8}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """`max_pixels` of the original (width times height); `long_side` of the result, in pixels."""

    max_pixels: int
    long_side: int


@dataclass(frozen=True, slots=True)
class NormalForm:
    """`pixels` is uint8, height x width x 3, row by row. The original's size is that of its upright form."""

    pixels: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    media_type: str
    notes: tuple[str, ...]
    supplied: Fields


class Undecodable(Exception):
    """Not an image that we read. The text is for the publisher."""


class TooManyPixels(Exception):
    """More pixels than the limit. The text is for the publisher."""


@dataclass(slots=True)
class Picture:
    """An image on its way to the normal form, and what was settled so far."""

    image: Image.Image
    notes: list[str] = field(default_factory=list)

    def become(self, image: Image.Image, note: str | None = None) -> None:
        self.image = image
        if note:
            self.notes.append(note)


def normal_form(data: bytes, limits: PictureLimits) -> NormalForm:
    """The normal form of an encoded image. Raises Undecodable, TooManyPixels, MemoryError."""
    try:
        with bombs_are_errors(limits.max_pixels), opened(data) as source:
            return of_source(source, limits.long_side)
    except (Undecodable, TooManyPixels, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooManyPixels(f"more than {limits.max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise Undecodable(what_it_is(data)) from None
    except Exception as broken:  # parsers of hostile bytes raise anything, SyntaxError included
        raise Undecodable(what_is_broken(broken)) from None


@contextmanager
def bombs_are_errors(max_pixels: int) -> Iterator[None]:
    """Pillow counts the pixels of every picture, frame and tile before it takes memory for them."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def opened(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise Undecodable("empty")
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return Image.open(BytesIO(data), formats=readable_formats())


def readable_formats() -> list[str]:
    """Of the formats we read, those that this Pillow was built with."""
    wanted = [plugin.__name__.rpartition(".")[2].removesuffix("ImagePlugin").upper() for plugin in PLUGINS]
    return [name for name in wanted if name not in OPTIONAL or features.check(OPTIONAL[name])]


def of_source(source: ImageFile.ImageFile, long_side: int) -> NormalForm:
    media_type, (width, height) = MEDIA_TYPES[source.format or ""], upright_size(source)
    supplied, profile, turned = supplied_fields(source), source.info.get("icc_profile"), orientation(source)
    picture = Picture(source)
    note_frames(picture, source)
    load(picture, source, long_side)
    settle_mode(picture)
    shrink(picture, long_side)
    settle_colour(picture, profile)
    settle_alpha(picture)
    settle_orientation(picture, 1 if source.format == "TIFF" else turned)
    image = picture.image
    return NormalForm(
        pixels=image.tobytes(), width=image.width, height=image.height, original_width=width,
        original_height=height, media_type=media_type, notes=tuple(picture.notes), supplied=supplied,
    )  # fmt: skip


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) if there is none or it is broken."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken metadata never fails an image
        return 1
    return value if value in UPRIGHT else 1


def upright_size(source: ImageFile.ImageFile) -> tuple[int, int]:
    """Width and height as a viewer sees them. Pillow turns TIFF files itself."""
    turned = source.format != "TIFF" and orientation(source) in SIDEWAYS
    return (source.height, source.width) if turned else source.size


def note_frames(picture: Picture, source: ImageFile.ImageFile) -> None:
    """Only the first frame is ever read, so the number of frames costs nothing."""
    try:
        animated = bool(getattr(source, "is_animated", False))
    except Exception:  # a broken second frame does no harm to the first
        animated = True
    if animated:
        picture.notes.append("first frame")


def load(picture: Picture, source: ImageFile.ImageFile, long_side: int) -> None:
    """Decode. A JPEG is decoded at a half, quarter or eighth where that is still at or above the target."""
    source.draft(None, target_size(source.size, long_side))
    source.load()
    picture.become(source)


def target_size(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    scale = min(1.0, long_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def settle_mode(picture: Picture) -> None:
    """To a mode that can be resized and has 8 bits a channel: L, LA, RGB, RGBA, CMYK or LAB."""
    image = picture.image
    if image.mode.startswith(("I", "F")):
        settle_depth(picture)
    elif image.mode == "PA" or (image.mode != "RGBA" and image.has_transparency_data):
        picture.become(image.convert("RGBA"))
    elif image.mode == "1":
        picture.become(image.convert("L"))
    elif image.mode not in {"L", "LA", "RGB", "RGBA", "CMYK", "LAB"}:
        picture.become(image.convert("RGB"))


def settle_depth(picture: Picture) -> None:
    """16 and 32 bits, integer or float, to 8: scaled by what the samples mean, never clipped."""
    image = picture.image
    short = image.mode.startswith("I;16")
    samples = image.convert("I") if short else image
    samples.info.pop("transparency", None)  # a colour key in the old depth means nothing now
    low, high = sample_range(samples, short)
    factor = 255.0 / ((high - low) or 1.0)
    offset = -low * factor + (0.5 if samples.mode == "I" else 0.0)
    wide = samples.convert("F").point(lambda value: value * factor + offset)
    eight = wide.convert("L")
    if white_is_zero(image):
        eight = ImageOps.invert(eight)
    picture.become(eight, f"depth {image.mode}: {low:g} to {high:g}")


def sample_range(samples: Image.Image, short: bool) -> tuple[float, float]:
    """What is black and what is white.

    16 bits: the full range, or 12 bits where nothing is brighter, as cameras write it.
    Floats within 0 to 1: that range. Other floats and 32 bits have no agreed range: their own is used.
    """
    low, high = (float(value) for value in samples.getextrema())  # type: ignore[arg-type]
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Undecodable("samples that are not finite")
    if short:
        return 0.0, 4095.0 if high <= 4095 else 65535.0
    return (0.0, 1.0) if samples.mode == "F" and low >= 0 and high <= 1 else (low, high)


def white_is_zero(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1) == 0)


def shrink(picture: Picture, long_side: int) -> None:
    """To the long side, by Lanczos; large factors in two steps, which looks the same and costs less.

    Pillow weighs colours by their alpha here, so what is transparent does not bleed in.
    """
    image = picture.image
    size = target_size(image.size, long_side)
    if size != image.size:
        picture.become(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def settle_colour(picture: Picture, profile: bytes | None) -> None:
    """To RGB or RGBA in sRGB, by the file's own profile where it has a usable one."""
    image = picture.image
    alpha = image.getchannel("A") if image.mode in {"LA", "RGBA"} else None
    colours = image.convert(image.mode.removesuffix("A")) if alpha else image
    rgb, note = in_srgb(colours, profile)
    if alpha:
        rgb.putalpha(alpha)
    picture.become(rgb, note)


def in_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str | None]:
    """`image` (L, RGB, CMYK or LAB) as RGB, and how it came there."""
    kind = image.mode.lower()
    if not profile and image.mode != "LAB":
        return image.convert("RGB"), "cmyk without profile" if kind == "cmyk" else None
    try:
        transform = transform_to_srgb(profile, image.mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image.convert("RGB"), f"{kind} profile ignored"
    if transform is None:
        return image, None
    return transformed(image, transform), f"{kind} profile to srgb"


@lru_cache(maxsize=8)  # cameras use few profiles
def transform_to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile (None for the one Lab space) to sRGB; None if it changes nothing. Raises PyCMSError."""
    own = ImageCms.ImageCmsProfile(BytesIO(profile) if profile else ImageCms.createProfile("LAB"))
    transform = ImageCms.buildTransform(
        own, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.PERCEPTUAL
    )
    return None if mode == "RGB" and changes_nothing(transform) else transform


def changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Most profiles say sRGB in other words: seen by what they do to a sample of all colours."""
    steps = bytes(range(0, 256, 15))
    colours = bytes(
        channel for red in steps for green in steps for blue in steps for channel in (red, green, blue)
    )
    sample = Image.frombytes("RGB", (len(steps), len(steps) ** 2), colours)
    difference = ImageChops.difference(sample, transformed(sample, transform)).getextrema()
    return all(high <= 1 for _, high in difference)  # type: ignore[misc]


def transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    turned = ImageCms.applyTransform(image, transform)
    assert turned is not None  # only None when asked to work in place
    return turned


def settle_alpha(picture: Picture) -> None:
    """On white, as a page would show it."""
    image = picture.image
    if image.mode != "RGBA":
        return
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    opaque = image.getchannel("A").getextrema() == (255, 255)
    picture.become(page, None if opaque else "alpha on white")


def settle_orientation(picture: Picture, turned: int) -> None:
    if turned in UPRIGHT:
        picture.become(picture.image.transpose(UPRIGHT[turned]), f"orientation {turned}")


SIGNS = {  # what publishers send by mistake, by its first bytes
    b"<svg": "SVG", b"<!doctype html": "HTML", b"<html": "HTML", b"<?xml": "XML", b"%pdf": "PDF",
    b"8bps": "PSD", b"%!ps": "PostScript", b"ftypheic": "HEIC", b"ftypmif1": "HEIF", b"ftypmp42": "MP4",
    b"ftypisom": "MP4", b"{": "JSON",
}  # fmt: skip


def what_it_is(data: bytes) -> str:
    """Of bytes that could not be opened: damaged, or something else altogether."""
    if any(has_signature(name, data) for name in readable_formats()):
        return "broken image data"
    head = data[:64].lstrip(b"\xef\xbb\xbf \r\n\t\0").lower()
    starts = (head, head[1:])  # of an ISO media file, the name follows its length
    found = [name for sign, name in SIGNS.items() if any(start.startswith(sign) for start in starts)]
    return f"not an image that is read{f': it looks like {found[0]}' if found else ''}"


def has_signature(name: str, data: bytes) -> bool:
    accepts = Image.OPEN[name][1]
    return accepts is not None and accepts(data[:16]) is True


def what_is_broken(problem: Exception) -> str:
    """For the publisher, from the kind of the exception: its text may hold anything."""
    text = str(problem).lower()
    truncated = isinstance(problem, OSError) and ("truncated" in text or "end of file" in text)
    return "truncated" if truncated else f"broken image data ({type(problem).__name__})"
