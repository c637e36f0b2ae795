"""Overlays for people and RLE for programs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from glesam_runtime import ImageError, Prompt, draw_overlay
from glesam_runtime.automatic.rle import rle_from_mask
from glesam_runtime.tools import overlay


def test_masks_are_tinted_in_distinct_colours_and_the_rest_is_untouched() -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    masks = np.zeros((2, 200, 300), bool)
    masks[0, 40:80, 40:80] = True
    masks[1, 120:180, 200:280] = True
    drawn = np.asarray(draw_overlay(image, masks))
    first, second = drawn[60, 60], drawn[150, 240]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, image[0, 0])
    np.testing.assert_array_equal(drawn[:20], image[:20])
    np.testing.assert_array_equal(drawn[:, 120:160], image[:, 120:160])


def test_a_part_stays_visible_on_the_whole_it_belongs_to() -> None:
    masks = np.zeros((2, 200, 300), bool)
    masks[0, 80:120, 100:160] = True
    masks[1, 10:190, 10:290] = True
    drawn = np.asarray(draw_overlay(np.full((200, 300, 3), 90, np.uint8), masks))
    assert not np.array_equal(drawn[100, 130], drawn[150, 250])


@pytest.mark.parametrize("shape", [(5, 5), (3, 20, 30)])
def test_masks_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"expected \[H,W\] = \[20, 30\] like the picture, found \["):
        draw_overlay(np.zeros((20, 30, 3), np.uint8), [np.ones(shape, bool)])


@pytest.mark.parametrize(
    ("rows", "columns"), [((0, 9), (0, 40)), ((90, 140), (130, 170)), ((195, 200), (299, 300))]
)
def test_only_the_masks_surroundings_are_drawn_and_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (200, 300, 3), np.uint8), np.zeros((200, 300), bool)
    mask[slice(*rows), slice(*columns)] = rng.random((rows[1] - rows[0], columns[1] - columns[0])) > 0.3
    mask[rows[0], columns[0]] = True
    actual = np.asarray(draw_overlay(image, [mask]))
    assert not np.array_equal(actual, image)
    monkeypatch.setattr(overlay, "_window", lambda mask, margin: (0, 0, 300, 200))
    np.testing.assert_array_equal(actual, np.asarray(draw_overlay(image, [mask])))


@pytest.mark.parametrize("tile_px", [1, 16, 50, 256])
def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch, tile_px: int) -> None:
    rng = np.random.default_rng(1)
    image, masks = rng.integers(0, 256, (120, 170, 3), np.uint8), np.zeros((3, 120, 170), bool)
    masks[0, 20:, 30:150] = True  # down to the picture's edge, and with tiles that it fills
    masks[1, 5:60, 5:60] = rng.random((55, 55)) > 0.5
    masks[2] = True
    monkeypatch.setattr(overlay, "_TILE_PX", 1000)
    whole = np.asarray(draw_overlay(image, masks))
    monkeypatch.setattr(overlay, "_TILE_PX", tile_px)
    np.testing.assert_array_equal(np.asarray(draw_overlay(image, masks)), whole)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (20000, 10)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    height, width = size
    prompt = Prompt((0, 0, width, height), [(0, 0)], [(width - 1, height - 1)])
    image = np.zeros((*size, 3), np.uint8)
    assert draw_overlay(image, [np.ones(size, bool)], [prompt]).size == (width, height)


@pytest.mark.parametrize(("size", "suffix", "most"), [((300, 200), ".jpg", 12), ((65_501, 2), ".png", 0)])
def test_an_overlay_is_a_jpeg_where_jpeg_has_room_for_it(
    tmp_path: Path, size: tuple[int, int], suffix: str, most: int
) -> None:
    """`most`: largest difference of a channel on smooth ground."""
    drawn = Image.radial_gradient("L").resize(size).convert("RGB")
    path, content = overlay.overlay_file(tmp_path, "photo", drawn)
    assert path == tmp_path / f"photo.overlay{suffix}"
    with Image.open(io.BytesIO(content)) as read:
        difference = np.abs(np.asarray(read.convert("RGB"), int) - np.asarray(drawn, int))
    assert difference.shape[:2] == size[::-1] and difference.max() <= most


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("fill", ["random", "empty", "full"])
def test_rle_decodes_to_the_mask(fill: str) -> None:
    mask = np.full((31, 17), fill == "full")
    if fill == "random":
        mask = np.random.default_rng(3).random((31, 17)) > 0.5
    rle = rle_from_mask(mask)
    assert isinstance(rle["counts"], str)
    assert rle["size"] == [31, 17]
    theirs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    assert rle["counts"] == theirs["counts"].decode()
    np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), mask)
