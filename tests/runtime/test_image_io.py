"""Pictures are read as a viewer shows them; files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from picture_files import GREY, png
from PIL import Image

from glesam_runtime import ImageError, OutputError, output, read_image, read_mask
from glesam_runtime.image_io import read_numbers


def saved(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


def ramp(dtype: type[np.generic], top: int) -> np.ndarray:
    return np.linspace(0, top, 40 * 30).reshape(40, 30).astype(dtype)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    for name in ("ramp.png", "ramp.tif"):
        image = read_image(saved(tmp_path / name, Image.fromarray(ramp(np.uint16, 65535))))
        assert image.dtype == np.uint8
        np.testing.assert_allclose(image[..., 1], ramp(np.float64, 255), atol=0.51)


def test_grey_is_repeated_in_three_channels(tmp_path: Path) -> None:
    image = read_image(saved(tmp_path / "grey.png", Image.fromarray(ramp(np.uint8, 255))))
    np.testing.assert_array_equal(image, np.repeat(ramp(np.uint8, 255)[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 2, 2))
    image = read_image(saved(tmp_path / "alpha.png", picture.convert(mode)))
    np.testing.assert_array_equal(image[:, :2], 0)
    np.testing.assert_array_equal(image[:, 2:], 255)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image = read_image(saved(tmp_path / "cmyk.jpg", cyan))
    np.testing.assert_allclose(image[8, 8], [0, 255, 255], atol=6)


def test_a_picture_is_turned_upright_by_its_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise to show
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste((255, 255, 255), (0, 0, 20, 20))  # its left half ends on top
    image = read_image(saved(tmp_path / "turned.jpg", picture, exif=exif, quality=95))
    assert image.shape == (40, 20, 3)
    assert image[:16].min() > 200
    assert image[24:].max() < 50


def test_an_animation_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "two.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(path)[0, 0], [255, 0, 0])


@pytest.mark.parametrize("picture", ["float", "wide"])
def test_pixels_without_a_white_level_are_refused(tmp_path: Path, picture: str) -> None:
    values = np.full((4, 4), 1e6, np.float32 if picture == "float" else np.int32)
    with pytest.raises(ImageError, match="no white level; save it with 8 or 16 bits"):
        read_image(saved(tmp_path / "deep.tif", Image.fromarray(values)))


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "bomb.png", Image.new("1", (3000, 1000)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    with pytest.raises(ImageError, match=r"at most 0\.5 megapixels, found 3; make the picture smaller"):
        read_image(path, 500_000)


def test_a_large_camera_picture_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "large.png", Image.new("L", (3000, 500)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)  # PIL would warn here
    assert read_image(path).shape == (500, 3000, 3)


def test_a_mask_is_one_channel(tmp_path: Path) -> None:
    mask = read_mask(saved(tmp_path / "mask.png", Image.new("1", (4, 2), 1)))
    np.testing.assert_array_equal(mask, np.full((2, 4), 255, np.uint8))


def test_what_is_transparent_in_a_mask_is_no_object(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    picture.paste((255, 255, 255, 255), (0, 0, 2, 2))
    mask = read_mask(saved(tmp_path / "mask.png", picture))
    np.testing.assert_array_equal(mask, [[255, 255, 0, 0]] * 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_a_label_map_is_the_numbers_that_it_stores(tmp_path: Path, dtype: type[np.generic]) -> None:
    numbers = np.array([[0, 1, 2], [7, 200, 255]], dtype)
    path = saved(tmp_path / "labels.tif", Image.fromarray(numbers))
    np.testing.assert_array_equal(read_numbers(path), numbers)


def test_a_label_map_of_either_byte_order_is_of_this_machines(tmp_path: Path) -> None:
    numbers = np.array([[0, 1, 2], [7, 200, 65535]], ">u2")
    read = read_numbers(saved(tmp_path / "labels.tif", Image.fromarray(numbers)))
    np.testing.assert_array_equal(read, numbers)
    assert read.dtype == np.uint16


@pytest.mark.parametrize("bits", [2, 4])
def test_greys_of_few_bits_are_the_numbers_that_are_stored(tmp_path: Path, bits: int) -> None:
    """Pillow multiplies them to fill 8 bits: class 3 of 2 bits would be 255, which means void."""
    numbers = np.arange(2**bits, dtype=np.uint8)[None].repeat(3, 0)
    places = np.unpackbits(numbers[..., None], axis=-1)[..., -bits:]
    path = tmp_path / "labels.png"
    path.write_bytes(png(np.packbits(places.reshape(3, -1), axis=1), GREY, bits))
    np.testing.assert_array_equal(read_numbers(path), numbers)


def test_a_palette_gives_its_indices(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    picture.putpalette([255, 0, 0] * 4)
    np.testing.assert_array_equal(read_numbers(saved(tmp_path / "p.png", picture)), [[0, 1], [2, 3]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_equal_channels_are_one_grey(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.array([[0, 9], [255, 3]], np.uint8)).convert(mode)
    np.testing.assert_array_equal(read_numbers(saved(tmp_path / "g.png", picture)), [[0, 9], [255, 3]])


@pytest.mark.parametrize("picture", [Image.new("RGB", (4, 2), "red"), Image.new("F", (4, 2))])
def test_colours_and_floats_are_no_label_map(tmp_path: Path, picture: Image.Image) -> None:
    with pytest.raises(ImageError, match=r"expected a label map of whole numbers .H, W., found"):
        read_numbers(saved(tmp_path / "labels.tif", picture))


def test_files_appear_in_folders_made_for_them(tmp_path: Path) -> None:
    output.write_files({tmp_path / "new/a": b"1", tmp_path / "new/b": b"2"})
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "b"]


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match=r"cannot write .*pipe .it is no file.; choose another"):
        output.write_files({tmp_path / "pipe": b"1"})
    assert not (tmp_path / "pipe").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_folder_in_the_way_stops_all_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputError, match="Is a directory"):
        output.write_files({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="choose another folder"):
        output.write_files({tmp_path / "a": b"1", tmp_path / "file/b": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
