"""The pixels of a picture are the same in running, training, degrading, evaluating and calibrating."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from glesam.data.datasets import load_datasets
from glesam.evaluation.prompts import PromptedPicture
from glesam.evaluation.selection import Library
from glesam_calib.observation.pictures import CalibrationPictures
from glesam_runtime import read_image
from glesam_runtime.degradation.files import degrade_file, plan_jobs
from glesam_runtime.degradation.lqseg import degrade_level

WIDTH, HEIGHT = 60, 40
Pixels = NDArray[np.uint8]
TURN_CLOCKWISE = 6
"""EXIF orientation of a camera held upright."""


def colours() -> Pixels:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows * 6, columns * 4, 255 - rows * 3], axis=-1).astype(np.uint8)


def half_transparent(folder: Path) -> tuple[Path, Pixels]:
    """An RGBA picture whose transparent right half hides black."""
    pixels, alpha = colours(), np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, : WIDTH // 2] = 255
    pixels[:, WIDTH // 2 :] = 0
    Image.fromarray(np.concatenate([pixels, alpha], axis=-1), "RGBA").save(folder / "rgba.png")
    pixels[:, WIDTH // 2 :] = 255
    return folder / "rgba.png", pixels


def palette(folder: Path) -> tuple[Path, Pixels]:
    """A picture of two colours, of which the second is transparent."""
    indices = (np.arange(WIDTH) >= WIDTH // 2).astype(np.uint8)[None].repeat(HEIGHT, axis=0)
    picture = Image.fromarray(indices, "P")
    picture.putpalette([200, 10, 30, 1, 2, 3])
    picture.save(folder / "palette.png", transparency=1)
    return folder / "palette.png", np.array([[200, 10, 30], [255, 255, 255]], np.uint8)[indices]


def sixteen_bits(folder: Path) -> tuple[Path, Pixels]:
    grey = colours()[..., 1]
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.png")
    return folder / "deep.png", grey[..., None].repeat(3, axis=-1)


def turned(folder: Path) -> tuple[Path, Pixels]:
    exif = Image.Exif()
    exif[0x0112] = TURN_CLOCKWISE
    Image.fromarray(colours()).save(folder / "turned.png", exif=exif)
    return folder / "turned.png", np.rot90(colours(), -1)


def cmyk(folder: Path) -> tuple[Path, Pixels]:
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., 0] = 255
    Image.fromarray(pixels, "CMYK").save(folder / "cmyk.tif")
    return folder / "cmyk.tif", np.full((HEIGHT, WIDTH, 3), (0, 255, 255), np.uint8)


def linear(folder: Path) -> tuple[Path, Pixels]:
    """A picture whose numbers are linear light, by its gAMA."""
    chunks = PngInfo()
    chunks.add(b"gAMA", (100_000).to_bytes(4, "big"))
    Image.fromarray(colours()).save(folder / "linear.png", pnginfo=chunks)
    light = colours() / 255
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return folder / "linear.png", np.floor(255 * encoded + 0.5).astype(np.uint8)


def odd_exif(folder: Path) -> tuple[Path, Pixels]:
    """A turned picture of which another field of its EXIF has a wrong type."""
    fields = [(0x0112, 3, b"\6\0\0\0"), (0x011A, 2, b"300\0")]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1 + 3 * (kind == 2)) + value for tag, kind, value in fields
    )
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4)
    Image.fromarray(colours()).save(folder / "odd.png", exif=block)
    return folder / "odd.png", np.rot90(colours(), -1)


Make = Callable[[Path], tuple[Path, Pixels]]
KINDS: list[Make] = [half_transparent, palette, sixteen_bits, turned, cmyk, linear, odd_exif]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_every_command_reads_the_same_pixels(tmp_path: Path, make: Make) -> None:
    path, expected = make(tmp_path)
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(trained(path), expected)
    np.testing.assert_array_equal(evaluated(path), expected)
    np.testing.assert_array_equal(degraded(path), degrade_level(expected, 1, 0, path.name))


def test_calibration_reads_the_same_pixels(tmp_path: Path) -> None:
    expected = {path.name: pixels for path, pixels in (make(tmp_path) for make in KINDS)}
    pictures = dict(CalibrationPictures(tmp_path, (0,), len(KINDS), pytest.fail))
    assert pictures.keys() == {f"{name} at LQ-0" for name in expected}
    for name, pixels in expected.items():
        np.testing.assert_array_equal(pictures[f"{name} at LQ-0"], pixels)


def data_of(path: Path) -> Path:
    """A data set of the picture alone, with a mask of its size."""
    data = path.parent / "data"
    (data / "set/images").mkdir(parents=True, exist_ok=True)
    (data / "set/masks").mkdir(exist_ok=True)
    (data / "set/images" / path.name).write_bytes(path.read_bytes())
    height, width = read_image(path).shape[:2]
    Image.new("L", (width, height), 255).save(data / "set/masks" / f"{path.stem}.png")
    (data / "sets.json").write_text(json.dumps([{"name": "set", "kind": "pairs"}]))
    return data


def trained(path: Path) -> Pixels:
    (dataset,) = load_datasets(data_of(path), split="all")
    return dataset[0].image


def evaluated(path: Path) -> Pixels:
    library = Library(load_datasets(data_of(path), split="all"))
    return library.read(PromptedPicture("set", path.stem, "", ())).image


def degraded(path: Path) -> Pixels:
    out = path.parent / "out"
    (job,) = plan_jobs([path], out)
    degrade_file(job, 1, 0)
    with Image.open(job.target) as picture:
        return np.asarray(picture)
