"""Every readable image has one normal form; everything else has a typed refusal."""

from __future__ import annotations

import struct

import pytest
from PIL import Image, ImageCms, ImageDraw

from services.ingest.normal_form import NormalForm, PictureLimits, TooManyPixels, Undecodable, normal_form
from tests.unit.ingest.images import (
    BLUE,
    GREEN,
    GREY,
    RED,
    WHITE,
    all_near,
    corners,
    deep_quarters,
    encoded,
    near,
    pixel,
    png,
    quarters,
    srgb_profile,
)

LIMITS = PictureLimits(max_pixels=1_000_000, long_side=256)
UPRIGHT = [RED, GREEN, BLUE, GREY]


def form_of(data: bytes, limits: PictureLimits = LIMITS) -> NormalForm:
    return normal_form(data, limits)


@pytest.mark.parametrize(
    ("kind", "options", "media_type", "tolerance"),
    [
        ("PNG", {}, "image/png", 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, "image/jpeg", 6),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, "image/jpeg", 6),
        ("WEBP", {"lossless": True}, "image/webp", 0),
        ("BMP", {}, "image/bmp", 0),
        ("TIFF", {}, "image/tiff", 0),
        ("TIFF", {"compression": "tiff_lzw"}, "image/tiff", 0),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, "image/avif", 8),
        ("GIF", {}, "image/gif", 3),
    ],
)
def test_formats_of_the_web(kind: str, options: dict[str, object], media_type: str, tolerance: int) -> None:
    """Each format that is read comes out with its colours, its size and the type of its own bytes."""
    form = form_of(encoded(quarters(), kind, **options))
    assert (media_type, 64, 48, 64, 48) == (
        form.media_type, form.width, form.height, form.original_width, form.original_height,
    )  # fmt: skip
    assert len(form.pixels) == 64 * 48 * 3
    assert all_near(UPRIGHT, corners(form), tolerance)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(kind: str, orientation: int) -> None:
    """Whatever the EXIF orientation and format, the upright picture and its upright size come out."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = stored_turned(quarters(), orientation)
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "AVIF": {"quality": 95}}.get(kind, {})
    form = form_of(encoded(stored, kind, exif=exif, **lossless))
    assert (form.width, form.height, form.original_width, form.original_height) == (64, 48, 64, 48)
    assert all_near(UPRIGHT, corners(form), 10)


def stored_turned(upright: Image.Image, orientation: int) -> Image.Image:
    """As a camera stores it: where its row 0 and column 0 lie is what the EXIF standard's table says."""
    flip, turn = Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose
    ways: dict[int, tuple[Image.Transpose, ...]] = {
        1: (), 2: (flip,), 3: (turn.ROTATE_180,), 4: (turn.FLIP_TOP_BOTTOM,), 5: (flip, turn.ROTATE_90),
        6: (turn.ROTATE_90,), 7: (flip, turn.ROTATE_270), 8: (turn.ROTATE_270,),
    }  # fmt: skip
    for way in ways[orientation]:
        upright = upright.transpose(way)
    return upright


def test_a_broken_orientation_is_upright() -> None:
    """An orientation that does not exist changes nothing."""
    exif = Image.Exif()
    exif[0x0112] = 77
    assert corners(form_of(encoded(quarters(), "PNG", exif=exif))) == UPRIGHT


def test_large_pictures_are_shrunk_and_small_ones_left_alone() -> None:
    """The long side is bounded, the shape kept, nothing enlarged, no side vanishes."""
    sizes = {(512, 384): (256, 192), (384, 512): (192, 256), (1, 1): (1, 1), (900, 1): (256, 1)}
    for size, expected in sizes.items():
        form = form_of(encoded(Image.new("RGB", size, RED)))
        assert expected == (form.width, form.height)
        assert size == (form.original_width, form.original_height)
        assert near(RED, pixel(form, 0.5, 0.5), 0)


@pytest.mark.parametrize("size", [(1000, 800), (511, 400)])
def test_a_scaled_jpeg_is_never_decoded_below_its_target(size: tuple[int, int]) -> None:
    """One-pixel lines of the target survive: they would be blurred if a smaller decode were enlarged."""
    image = Image.new("RGB", size, WHITE)
    for x in range(0, size[0], 8):
        ImageDraw.Draw(image).rectangle((x, 0, x + 3, size[1]), fill=(0, 0, 0))
    form = form_of(encoded(image, "JPEG", quality=95))
    row = [form.pixels[3 * (form.width * 50 + x)] for x in range(form.width)]
    assert max(row) - min(row) > 100


def test_transparent_parts_are_white() -> None:
    """Alpha is composed on white, and what lies hidden under it does not bleed in."""
    image = Image.new("RGBA", (600, 600), (*RED, 255))
    image.paste((0, 0, 0, 0), (300, 0, 600, 600))
    for form in (form_of(encoded(image)), form_of(encoded(image, "WEBP", lossless=True))):
        assert near(RED, pixel(form, 0.45, 0.5), 2)
        assert near(WHITE, pixel(form, 0.55, 0.5), 2)
        assert "alpha on white" in form.notes


def test_half_transparent_parts_are_mixed_with_white() -> None:
    """Half of black on white is grey."""
    form = form_of(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128))))
    assert near((127, 127, 127), pixel(form, 0.5, 0.5), 1)


def test_a_fully_opaque_alpha_channel_is_no_event() -> None:
    """An alpha channel that hides nothing leaves the colours as they are, without a note."""
    form = form_of(encoded(quarters().convert("RGBA")))
    assert (corners(form), form.notes) == (UPRIGHT, ())


def test_palettes_with_a_transparent_colour() -> None:
    """A transparent palette entry is white, the others keep their colour."""
    image = Image.new("P", (8, 8), 1)
    image.putpalette([*RED, *GREEN])
    image.paste(0, (0, 0, 4, 8))
    form = form_of(encoded(image, "PNG", transparency=0))
    assert [pixel(form, 0.25, 0.5), pixel(form, 0.75, 0.5)] == [WHITE, GREEN]


def test_a_colour_key_is_transparent() -> None:
    """A PNG may name one plain colour as transparent."""
    form = form_of(encoded(quarters(), "PNG", transparency=RED))
    assert corners(form) == [WHITE, GREEN, BLUE, GREY]


def test_one_bit_pictures() -> None:
    """Black and white are black and white, as PNG and as fax."""
    image = quarters((0, 1, 1, 0), "1")
    for data in (encoded(image), encoded(image, "TIFF", compression="group4")):
        assert corners(form_of(data)) == [(0, 0, 0), WHITE, WHITE, (0, 0, 0)]


def test_grey_with_alpha() -> None:
    """Grey with alpha is composed like colour with alpha."""
    image = Image.new("LA", (8, 8), (100, 255))
    image.paste((0, 0), (0, 0, 4, 8))
    form = form_of(encoded(image))
    assert [pixel(form, 0.25, 0.5), pixel(form, 0.75, 0.5)] == [WHITE, (100, 100, 100)]


def test_ink_becomes_light() -> None:
    """CMYK without a profile, as JPEG (where Adobe inverts it) and as TIFF: ink darkens, none is white."""
    inks = quarters(((0, 0, 0, 0), (0, 255, 255, 0), (255, 0, 255, 0), (0, 0, 0, 255)), "CMYK")
    expected = [WHITE, (255, 0, 0), (0, 255, 0), (0, 0, 0)]
    jpeg, tiff = encoded(inks, "JPEG", quality=95), encoded(inks, "TIFF")
    assert b"Adobe" in jpeg
    assert all_near(expected, corners(form_of(jpeg)), 12)
    assert all_near(expected, corners(form_of(tiff)), 0)
    assert "cmyk without profile" in form_of(tiff).notes


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    """The levels of a 16-bit grey picture keep their proportions."""
    image = deep_quarters((0, 16384, 32768, 65535))
    seen = corners(form_of(encoded(image, kind)))
    assert all_near([(0,) * 3, (64,) * 3, (128,) * 3, (255,) * 3], seen, 1)


def test_sixteen_bits_in_big_endian_tiff() -> None:
    """Byte order changes nothing."""
    data = encoded(deep_quarters((0, 16384, 32768, 65535), "I;16B"), "TIFF")
    assert data[:2] == b"MM"
    assert all_near([(0,) * 3, (64,) * 3, (128,) * 3, (255,) * 3], corners(form_of(data)), 1)


def test_twelve_bits_in_sixteen_are_not_black() -> None:
    """Cameras of 12 bits write files of 16: their white is 4095."""
    seen = corners(form_of(encoded(deep_quarters((0, 1024, 2048, 4095)))))
    assert all_near([(0,) * 3, (64,) * 3, (128,) * 3, (255,) * 3], seen, 1)


def test_sixteen_bits_with_white_at_zero() -> None:
    """A TIFF may count darkness instead of light."""
    data = encoded(deep_quarters((0, 16384, 32768, 65535)), "TIFF", tiffinfo={262: 0})
    assert all_near([(255,) * 3, (191,) * 3, (127,) * 3, (0,) * 3], corners(form_of(data)), 1)


def test_sixteen_bits_a_channel() -> None:
    """A PNG of 3 x 16 bits keeps its colours."""
    rows = b"".join(b"\0" + struct.pack(">3H", 51400, 7710, 10280) * 8 for _ in range(8))
    assert near(RED, pixel(form_of(png(8, 8, 16, 2, rows)), 0.5, 0.5), 1)


def test_floats_and_32_bits_are_scaled() -> None:
    """Floats from 0 to 1 mean black to white; wider ranges are stretched to what they hold."""
    expected = [(0,) * 3, (64,) * 3, (128,) * 3, (255,) * 3]
    unit = form_of(encoded(quarters((0.0, 0.25, 0.5, 1.0), "F"), "TIFF"))
    wide = form_of(encoded(quarters((-1000.0, -500.0, 0.0, 1000.0), "F"), "TIFF"))
    whole = form_of(encoded(quarters((0, 250_000, 500_000, 1_000_000), "I"), "TIFF"))
    for form in (unit, wide, whole):
        assert all_near(expected, corners(form), 1)
        assert form.notes[0].startswith("depth")


def test_floats_that_are_no_numbers_are_refused() -> None:
    """Infinity has no brightness."""
    with pytest.raises(Undecodable, match="not finite"):
        form_of(encoded(quarters((0.0, 1.0, float("inf"), 0.5), "F"), "TIFF"))


def test_a_flat_deep_picture_is_black() -> None:
    """One level only: nothing to stretch, and no division by zero."""
    assert corners(form_of(encoded(Image.new("I", (8, 8), 70_000), "TIFF"))) == [(0, 0, 0)] * 4


def test_only_the_first_frame_of_an_animation() -> None:
    """GIF, WebP, PNG and multi-page TIFF: the first picture, and a note that there are more."""
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN, BLUE)]
    options = {"GIF": {}, "WEBP": {"lossless": True}, "PNG": {}, "TIFF": {}}
    for kind, extra in options.items():
        form = form_of(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **extra))
        assert near(RED, pixel(form, 0.5, 0.5), 4)
        assert "first frame" in form.notes


def test_a_profile_is_obeyed() -> None:
    """The same numbers mean another colour in Lab-like wide spaces; sRGB's own profile changes nothing."""
    plain = form_of(encoded(quarters()))
    tagged = form_of(encoded(quarters(), icc_profile=srgb_profile()))
    assert (plain.pixels, ()) == (tagged.pixels, tagged.notes)
    swapped = swap_red_and_green(srgb_profile())
    turned = form_of(encoded(quarters(), icc_profile=swapped))
    assert turned.notes == ("rgb profile to srgb",)
    red = pixel(turned, 0.25, 0.25)
    assert red[1] > red[0], "the profile says that the first channel is green"


def swap_red_and_green(profile: bytes) -> bytes:
    """A valid matrix profile whose first channel is green: its tag table's rXYZ and gXYZ trade names."""
    return profile.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)


def test_a_profile_with_alpha_keeps_the_alpha() -> None:
    """Colour goes through the profile, transparency stays."""
    image = Image.new("RGBA", (8, 8), (*RED, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 8))
    form = form_of(encoded(image, icc_profile=swap_red_and_green(srgb_profile())))
    assert pixel(form, 0.25, 0.5) == WHITE
    assert form.notes == ("rgb profile to srgb", "alpha on white")


def test_lab_pictures() -> None:
    """A TIFF in Lab comes out in its own colours."""
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(quarters(), transform)
    assert lab is not None
    assert all_near(UPRIGHT, corners(form_of(encoded(lab, "TIFF"))), 4)


@pytest.mark.parametrize("profile", [b"not a profile", b"\0" * 128])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    """The colours are read as sRGB, with a note."""
    form = form_of(encoded(quarters(), icc_profile=profile))
    assert (corners(form), form.notes) == (UPRIGHT, ("rgb profile ignored",))


def test_a_profile_of_another_kind_is_ignored() -> None:
    """A grey profile says nothing about a colour picture."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    form = form_of(encoded(quarters(), icc_profile=lab))
    assert (corners(form), form.notes) == (UPRIGHT, ("rgb profile ignored",))


def test_nothing_of_the_file_survives_but_pixels() -> None:
    """Comments, EXIF and bytes after the end leave no trace in the pixels."""
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    plain = encoded(quarters(), "JPEG", quality=95)
    decorated = encoded(quarters(), "JPEG", quality=95, exif=exif, comment=b"a secret") + b"<script>trailing"
    assert form_of(plain).pixels == form_of(decorated).pixels


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_truncated_files_are_refused(kind: str) -> None:
    """Half a file is not an image, in any format."""
    whole = encoded(Image.effect_noise((200, 200), 80).convert("RGB"), kind)
    with pytest.raises(Undecodable):
        form_of(whole[: len(whole) // 2])


def test_a_truncated_jpeg_says_so() -> None:
    """The most common damage has a clear reason."""
    whole = encoded(Image.effect_noise((200, 200), 80), "JPEG")
    with pytest.raises(Undecodable, match=r"^truncated$"):
        form_of(whole[: len(whole) // 2])


def test_nothing_at_all_is_refused() -> None:
    """Zero bytes are not an image."""
    with pytest.raises(Undecodable, match=r"^empty$"):
        form_of(b"")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"\xef\xbb\xbf\n<HTML>", "HTML"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<?xml version="1.0"?><svg/>', "XML"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"8BPS\0\x01", "PSD"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, name: str) -> None:
    """A publisher who sends a web page is told that it is one."""
    with pytest.raises(Undecodable, match=f"^not an image that is read: it looks like {name}$"):
        form_of(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_a_damaged_head_is_told_from_another_kind_of_file(kind: str) -> None:
    """A file that begins like an image and goes on like none is broken, not of an unknown kind."""
    with pytest.raises(Undecodable, match=r"^(broken image data|truncated)"):
        form_of(encoded(quarters(), kind)[:16] + bytes(200))


@pytest.mark.parametrize("kind", ["ICO", "PPM", "PCX", "TGA", "ICNS", "EPS", "PDF", "JPEG2000"])
def test_formats_that_pillow_reads_and_we_do_not(kind: str) -> None:
    """Only the formats of the web are opened, however the file is named."""
    with pytest.raises(Undecodable, match=r"^not an image"):
        form_of(encoded(Image.new("RGB", (64, 64), RED), kind))


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    """A bomb is known by its header: 64 bytes that claim a gigapixel, and one pixel over the limit."""
    for data in (png(40_000, 40_000, 8, 2, b""), png(1001, 1000, 8, 0, b"")):
        with pytest.raises(TooManyPixels):
            form_of(data)
    at_the_limit = encoded(Image.new("L", (1000, 1000)))
    assert form_of(at_the_limit).width == 256


def test_a_palette_bomb_is_refused() -> None:
    """A GIF whose frame is larger than its canvas does not get past the limit."""
    header = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02D\x01\0;"
    with pytest.raises((TooManyPixels, Undecodable)):
        form_of(header + frame)


def test_a_syntax_error_inside_a_decoder_is_a_refusal() -> None:
    """Whatever a parser raises, its publisher gets a reason without paths or memory addresses."""
    broken = bytearray(encoded(quarters()))
    broken[broken.index(b"IDAT") + 6] ^= 0xFF
    broken[29:33] = b"\0\0\0\0"  # the checksum of the header
    with pytest.raises(Undecodable) as refused:
        form_of(bytes(broken))
    assert "0x" not in str(refused.value) and "/" not in str(refused.value)
