"""A mask is the object that a viewer shows; what may be a label map is refused with the cure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_files import tiff, write
from PIL import Image, ImageFilter

from glesam_runtime import ImageError, Prompt, PromptError, read_mask
from glesam_runtime.preprocess import longest_side
from glesam_runtime.prompts import encode_prompts

HEIGHT, WIDTH = 120, 160
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
RADIUS = np.hypot(COLUMNS - 55, ROWS - 60)
DISC = RADIUS < 30
BORDER = (RADIUS > 28) & (RADIUS < 31)
WHITE = np.uint8(DISC * 255)


def palette(indices: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8))
    table = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        table[index] = colour
    picture.putpalette(table.reshape(-1).tolist())
    return picture


def rgba(grey: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([grey, grey, grey, alpha]).astype(np.uint8))


def transparent(picture: Image.Image) -> Image.Image:
    picture.info["transparency"] = 0
    return picture


ALL_WHITE, ALL_BLACK = np.full_like(WHITE, 255), np.zeros_like(WHITE)
SHOWN: dict[str, Callable[[], Image.Image]] = {
    "white": lambda: Image.fromarray(WHITE),
    "one bit": lambda: Image.fromarray(DISC),
    "0 and 1": lambda: Image.fromarray(np.uint8(DISC)),
    "16 bits": lambda: Image.fromarray(np.uint16(DISC * 65535)),
    "16 bits of 0 and 1": lambda: Image.fromarray(np.uint16(DISC)),
    "equal channels": lambda: Image.fromarray(WHITE).convert("RGB"),
    "palette whose white is 0": lambda: palette(~DISC, {0: (255, 255, 255)}),
    "palette whose white is 100": lambda: palette(np.where(DISC, 100, 200), {100: (255, 255, 255)}),
    "white with alpha": lambda: rgba(ALL_WHITE, WHITE),
    "black with alpha": lambda: rgba(ALL_BLACK, WHITE),
    "white on black, opaque": lambda: rgba(WHITE, ALL_WHITE),
    "grey with alpha": lambda: rgba(WHITE, WHITE).convert("LA"),
    "black with alpha, in grey": lambda: Image.merge("LA", [Image.fromarray(a) for a in (ALL_BLACK, WHITE)]),
    "palette with a transparent ground": lambda: transparent(palette(DISC, {1: (9, 9, 9)})),
    "one bit, white is 0": lambda: palette(~DISC, {0: (255, 255, 255)}).convert("1"),
    "soft edges": lambda: Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(2)),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_the_object_is_what_a_viewer_shows(tmp_path: Path, kind: str) -> None:
    SHOWN[kind]().save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png") >= 128
    assert (mask & DISC).sum() / (mask | DISC).sum() > (0.98 if kind == "soft edges" else 0.999999)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_white_is_zero_in_masks_too(tmp_path: Path, bits: int) -> None:
    rows = {
        1: np.packbits(~DISC, axis=1).tobytes(),
        8: np.uint8(~DISC * 255).tobytes(),
        16: np.uint16(~DISC * 65535).astype("<u2").tobytes(),
    }[bits]
    path = write(tmp_path / "mask.tif", tiff(rows, (WIDTH, HEIGHT), bits, 0))
    np.testing.assert_array_equal(read_mask(path) == 255, DISC)


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_lossy_compression_leaves_a_mask_a_mask(tmp_path: Path, quality: int) -> None:
    for name in ("a.jpg", "a.webp"):
        Image.fromarray(WHITE).convert("RGB").save(tmp_path / name, quality=quality)
        mask = read_mask(tmp_path / name) >= 128
        assert (mask & DISC).sum() / (mask | DISC).sum() > 0.97, name
    Image.open(tmp_path / "a.jpg").save(tmp_path / "again.png")
    assert (read_mask(tmp_path / "again.png") >= 128).any()


VOID = {0: (0, 0, 0), 15: (192, 128, 128), 255: (224, 224, 192)}
REFUSED: dict[str, Callable[[], Image.Image]] = {
    "class 15 with a void border, in colours": lambda: palette(np.where(BORDER, 255, DISC * 15), VOID),
    "class 15 with a void border": lambda: Image.fromarray(np.where(BORDER, 255, DISC * 15).astype(np.uint8)),
    "0 and 1 with a void border": lambda: Image.fromarray(np.where(BORDER, 255, DISC).astype(np.uint8)),
    "classes": lambda: Image.fromarray(np.where(DISC, 26, 7).astype(np.uint8)),
    "a trimap": lambda: Image.fromarray(np.where(BORDER, 128, WHITE).astype(np.uint8)),
    "a class of 200 with a void border": lambda: Image.fromarray(
        np.where(BORDER, 255, DISC * 200).astype(np.uint8)
    ),
    "red on black": lambda: palette(DISC, {1: (128, 0, 0)}),
    "255 in 16 bits": lambda: Image.fromarray(np.uint16(WHITE)),
    "127 at most": lambda: Image.fromarray(np.uint8(DISC * 127)),
    "0 and 1 with a void border, in 16 bits": lambda: Image.fromarray(
        np.where(BORDER, 65535, DISC).astype(np.uint16)
    ),
    "classes in grey, alpha and all": lambda: rgba(np.where(BORDER, 255, DISC * 15), ALL_WHITE),
    "1 and 2": lambda: Image.fromarray(np.uint8(DISC) + np.uint8(1)),
    "a cut-out photograph": lambda: Image.fromarray(np.dstack([ROWS, COLUMNS, ROWS, WHITE]).astype(np.uint8)),
    "two colours": lambda: palette(DISC, {0: (0, 0, 128), 1: (255, 255, 0)}),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_may_be_a_label_map_is_refused_with_the_cure(tmp_path: Path, kind: str) -> None:
    REFUSED[kind]().save(tmp_path / "mask.png")
    with pytest.raises(
        ImageError, match=r"expected a black and white mask.*kind label_maps.*255 on 0"
    ) as caught:
        read_mask(tmp_path / "mask.png")
    assert "\n" not in str(caught.value)


def test_a_picture_that_is_transparent_all_over_is_no_mask(tmp_path: Path) -> None:
    rgba(WHITE, ALL_BLACK).save(tmp_path / "mask.png")
    with pytest.raises(ImageError, match="transparent all over"):
        read_mask(tmp_path / "mask.png")


@pytest.mark.parametrize(
    "mask",
    [
        np.eye(16, dtype=np.uint8),
        np.eye(16, dtype=np.float32),
        255 * np.eye(16, dtype=np.float32),
        np.ones((16, 16), np.int64),
        np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16),
        np.full((16, 16), 7, np.uint16),
    ],
)
def test_numbers_that_can_only_be_a_mask_are_no_logits(mask: np.ndarray) -> None:
    with pytest.raises(
        PromptError, match=r"found a mask of .*; logits_from_mask\(mask, predictor.geometry\)"
    ):
        encode_prompts([Prompt(mask_input=mask)], longest_side((96, 128), 64))


@pytest.mark.parametrize("logits", [np.full((16, 16), 3.0), np.zeros((16, 16)), np.eye(16) - 0.5])
def test_other_numbers_are_logits(logits: np.ndarray) -> None:
    tensors = encode_prompts([Prompt(mask_input=logits)], longest_side((96, 128), 64))
    np.testing.assert_array_equal(tensors.mask_input[0, 0], logits.astype(np.float32))
