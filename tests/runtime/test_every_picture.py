"""Pictures of every depth, profile and orientation are read as a viewer shows them."""

from __future__ import annotations

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from every_picture import png_files
from picture_files import (
    GREY,
    ODD_FIELDS,
    RGB,
    TURN,
    exif,
    gama,
    iccp,
    jpeg_of,
    png,
    profile,
    tiff,
    with_segment,
    write,
)
from PIL import Image, ImageCms

from glesam_runtime import ImageError, read_image
from glesam_runtime.preprocess import Pixels

RAMP = np.arange(256, dtype=np.uint8)[None].repeat(4, axis=0)


def greys(path: Path) -> Pixels:
    """The grey of every pixel of the first row."""
    pixels = read_image(path)
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0]


def srgb(light: np.ndarray) -> np.ndarray:
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.floor(255 * encoded + 0.5)


def test_sixteen_bits_are_the_eight_they_stand_for(tmp_path: Path) -> None:
    """No viewer takes a PNG of 16 bits without gAMA for linear light, as libpng's simplified reader does."""
    path = write(tmp_path / "deep.png", png(RAMP.astype(np.uint16) * 257, GREY, 16))
    np.testing.assert_array_equal(greys(path), RAMP[0])


@pytest.mark.parametrize("gamma", [0.3, 0.6, 1.0, 2.2])
def test_gama_becomes_srgb(tmp_path: Path, gamma: float) -> None:
    path = write(tmp_path / "gama.png", png(RAMP, GREY, 8, [gama(gamma)]))
    np.testing.assert_array_equal(greys(path), srgb((RAMP[0] / 255) ** (1 / gamma)))
    deep = np.arange(65536, dtype=np.uint16)[None]
    path = write(tmp_path / "deep.png", png(deep, GREY, 16, [gama(gamma)]))
    np.testing.assert_array_equal(greys(path), srgb((deep[0] / 65535) ** (1 / gamma)))


@pytest.mark.parametrize("chunks", [[gama(0.45455)], [gama(0.00001)], [gama(1.0), (b"sRGB", b"\0")]])
def test_a_gama_of_srgb_none_or_one_that_is_overridden_changes_nothing(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]]
) -> None:
    np.testing.assert_array_equal(greys(write(tmp_path / "a.png", png(RAMP, GREY, 8, chunks))), RAMP[0])


def test_a_profile_becomes_srgb(tmp_path: Path) -> None:
    """Adobe RGB's full green lies outside sRGB; its greys, of gamma 2.2, are nearly sRGB's."""
    colours = np.array([[0, 255, 0, 128, 128, 128, 200, 100, 100]], np.uint8)
    pixels = read_image(write(tmp_path / "a.png", png(colours, RGB, 8, [iccp(profile(b"RGB ", 2.2))])))
    assert np.abs(pixels[0, 1].astype(int) - 128).max() <= 2
    assert pixels[0, 0].tolist() == [0, 255, 0]
    assert pixels[0, 2, 0] > 215, "a red of the wider gamut is stronger in sRGB"
    linear = read_image(write(tmp_path / "b.png", png(colours, RGB, 8, [iccp(profile(b"RGB ", 1.0))])))
    assert abs(int(linear[0, 1, 0]) - 188) <= 1


def test_a_grey_profile_becomes_srgb(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", png(RAMP, GREY, 8, [iccp(profile(b"GRAY", 1.8))]))
    np.testing.assert_allclose(greys(path)[8:], srgb((RAMP[0] / 255) ** 1.8)[8:], atol=2)


@pytest.mark.parametrize("name", ["sRGB profile", "a broken profile", "rgb"])
def test_srgb_and_broken_profiles_leave_the_bits(tmp_path: Path, name: str) -> None:
    files = png_files()
    plain = read_image(write(tmp_path / "plain.png", files["rgb"]))
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", files[name])), plain)


def test_profiles_of_other_formats_count_too(tmp_path: Path) -> None:
    adobe, red = profile(b"RGB ", 2.2), Image.new("RGB", (16, 16), (200, 100, 100))
    for name in ("a.jpg", "a.tif", "a.webp"):
        red.save(tmp_path / name, icc_profile=adobe, quality=95)
        assert read_image(tmp_path / name)[8, 8, 0] > 212, name


def test_cielab_is_shown_in_its_colours(tmp_path: Path) -> None:
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (4, 4), (200, 60, 40)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    lab.save(tmp_path / "lab.tif")
    assert np.abs(read_image(tmp_path / "lab.tif")[0, 0].astype(int) - (200, 60, 40)).max() <= 4


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_white_is_zero_where_a_tiff_says_so(tmp_path: Path, bits: int) -> None:
    rows = {1: b"\x0f", 8: RAMP[:1].tobytes(), 16: (RAMP[:1].astype("<u2") * 257).tobytes()}[bits]
    width = 8 if bits == 1 else 256
    black_is_zero = greys(write(tmp_path / "black.tif", tiff(rows, (width, 1), bits, 1)))
    white_is_zero = greys(write(tmp_path / "white.tif", tiff(rows, (width, 1), bits, 0)))
    np.testing.assert_allclose(white_is_zero.astype(int), 255 - black_is_zero.astype(int), atol=1)
    assert (black_is_zero[0], black_is_zero[-1]) == (0, 255)


def test_twelve_bits_have_their_own_white(tmp_path: Path) -> None:
    packed = bytes([0x00, 0x07, 0xFF, 0xFF, 0xF0, 0x00])  # 0, 2047, 4095, 0
    np.testing.assert_array_equal(
        greys(write(tmp_path / "a.tif", tiff(packed, (4, 1), 12, 1))), [0, 127, 255, 0]
    )


@pytest.mark.parametrize(("bits", "sample_format"), [(16, 2), (32, 1), (32, 2), (32, 3)])
def test_numbers_without_a_white_level_are_refused(tmp_path: Path, bits: int, sample_format: int) -> None:
    rows = np.full(4, 0.5, "<f4").tobytes() if sample_format == 3 else bytes(bits // 8 * 4)
    path = write(tmp_path / "a.tif", tiff(rows, (4, 1), bits, 1, sample_format))
    with pytest.raises(ImageError, match="have no white level; save it with 8 or 16 bits"):
        read_image(path)


@pytest.mark.parametrize(
    ("bits", "key", "expected"), [(2, 2, [0, 85, 255, 255]), (2, 0, [255, 85, 170, 255])]
)
def test_a_transparent_grey_of_few_bits_is_the_right_one(
    tmp_path: Path, bits: int, key: int, expected: list[int]
) -> None:
    content = png(np.array([[0b00011011]], np.uint8), GREY, bits, [(b"tRNS", bytes([0, key]))])
    np.testing.assert_array_equal(greys(write(tmp_path / "a.png", content)), expected)


def half_white() -> Image.Image:
    """40 x 20, its left half white: the camera was held upright, so that it ends on top."""
    picture = Image.new("RGB", (40, 20))
    picture.paste((255, 255, 255), (0, 0, 20, 20))
    return picture


@pytest.mark.parametrize("name", ODD_FIELDS)
@pytest.mark.parametrize("order", ["before", "behind"])
def test_an_odd_field_does_not_hide_the_orientation(tmp_path: Path, name: str, order: str) -> None:
    fields = (ODD_FIELDS[name], TURN) if order == "before" else (TURN, ODD_FIELDS[name])
    block = exif(*fields)
    jpeg = with_segment(jpeg_of(half_white()), 0xE1, b"Exif\0\0" + block)
    half_white().save(tmp_path / "a.webp", exif=b"Exif\0\0" + block, lossless=True)
    rows = np.asarray(half_white()).reshape(20, -1)
    write(tmp_path / "a.png", png(rows, RGB, before=[(b"eXIf", block)]))
    write(tmp_path / "b.png", png(rows, RGB, after=[(b"eXIf", block)]))
    write(tmp_path / "a.jpg", jpeg)
    for path in sorted(tmp_path.iterdir()):
        pixels = read_image(path)
        assert pixels.shape == (40, 20, 3), path
        assert pixels[:16].min() > 200 > 50 > pixels[24:].max(), path


def test_xmp_that_is_no_utf_8_is_no_ones_concern(tmp_path: Path) -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>\xa8\xff</x:xmpmeta>"
    path = write(tmp_path / "a.jpg", with_segment(jpeg_of(half_white()), 0xE1, xmp))
    assert read_image(path).shape == (20, 40, 3)


def test_a_container_of_several_photographs_shows_its_first(tmp_path: Path) -> None:
    for name, options in (
        ("a.mpo", {"quality": 95}),
        ("a.webp", {"lossless": True}),
        ("a.png", {}),
        ("a.tif", {}),
    ):
        first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
        first.save(tmp_path / name, save_all=True, append_images=[second], **options)
        assert np.abs(read_image(tmp_path / name)[4, 4].astype(int) - (255, 0, 0)).max() < 4, name


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(shutil, "which", lambda *_: "/bin/false")
    path = write(tmp_path / "photo.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ImageError, match="found an unknown format"):
        read_image(path)


@pytest.mark.parametrize("name", ["PCX", "ICO", "TGA", "SGI", "EPS", "PDF", "ICNS", "JPEG2000"])
def test_formats_that_no_photograph_comes_in_are_refused(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    try:
        Image.new("RGB", (32, 32)).save(buffer, name)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {name}")
    with pytest.raises(ImageError, match="expected a picture, found an unknown format"):
        read_image(write(tmp_path / "photo.png", buffer.getvalue()))


def test_the_limit_counts_before_pixels_are_decoded(tmp_path: Path) -> None:
    """A WebP and a BMP of which the header alone is there."""
    header = (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 30000, 30000, 1, 24, *[0] * 6)
    )
    with pytest.raises(ImageError, match="make the picture smaller"):
        read_image(write(tmp_path / "a.bmp", header))
