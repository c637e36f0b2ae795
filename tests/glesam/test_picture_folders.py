"""Folders of pictures with masks or label maps: every layout and bit depth, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from numpy.typing import NDArray
from PIL import Image

from glesam.data.descriptions import DatasetDescription
from glesam.data.picture_folders import PictureFolder, find_pairs, picture_folder
from glesam.data.pictures import read_binary_mask, read_label_map
from glesam_runtime import read_image

LABEL_MAPS = DatasetDescription("set", "label_maps", path=".")
PAIRS = DatasetDescription("set", "pairs", path=".")
HEIGHT, WIDTH = 48, 60


def label_map() -> NDArray[np.uint8]:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[2:42, 2:32] = 1
    labels[4:44, 36:58] = 2
    return labels


def save(path: Path, numbers: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers).save(path)
    return path


def save_picture(path: Path) -> Path:
    return save(path, np.full((HEIGHT, WIDTH, 3), (200, 90, 20), np.uint8))


def folder_of(root: Path, description: DatasetDescription) -> PictureFolder:
    return picture_folder(description, find_pairs(root, description))


def pairs(root: Path, description: DatasetDescription = PAIRS) -> list[tuple[str, str]]:
    actual = find_pairs(root, description)
    return [tuple(str(p.relative_to(root)) for p in (pair.image, pair.mask)) for pair in actual]  # type: ignore[misc]


# --- layouts


@pytest.mark.parametrize(
    ("files", "expected", "description"),
    [
        (["b.jpg", "b.png", "a.JPEG", "a.png"], [("a.JPEG", "a.png"), ("b.jpg", "b.png")], PAIRS),
        (
            ["images/a.jpg", "masks/a.png", "images/b.png", "masks/b.tif"],
            [("images/a.jpg", "masks/a.png"), ("images/b.png", "masks/b.tif")],
            PAIRS,
        ),
        (
            ["a.png", "a_mask.png", "b.jpg", "b_mask.jpg"],
            [("a.png", "a_mask.png"), ("b.jpg", "b_mask.jpg")],
            PAIRS,
        ),
        (
            ["photo/a.jpg", "truth/a_gt.png"],
            [("photo/a.jpg", "truth/a_gt.png")],
            DatasetDescription("set", "pairs", images="photo", masks="truth", mask_suffix="_gt"),
        ),
        (
            ["images/day1/a.jpg", "masks/day1/a.png", "images/day2/a.jpg", "masks/day2/a.png"],
            [
                ("images/day1/a.jpg", "masks/day1/a.png"),
                ("images/day2/a.jpg", "masks/day2/a.png"),
            ],
            PAIRS,
        ),
        (["a.jpg", "a.png", "._a.jpg", "._a.png", "._b.jpg"], [("a.jpg", "a.png")], PAIRS),
        (["a.jpg", "a.tif", "b.webp", "b.png"], [("a.jpg", "a.tif"), ("b.webp", "b.png")], PAIRS),
        (
            ["a.png", "a_gt.png"],
            [("a.png", "a_gt.png")],
            DatasetDescription("set", "pairs", mask_suffix="_gt"),
        ),
    ],
)
def test_pictures_find_their_masks(
    tmp_path: Path, files: list[str], expected: list[tuple[str, str]], description: DatasetDescription
) -> None:
    for file in [*files, "notes.txt"]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert pairs(tmp_path, description) == expected


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ([], FileNotFoundError, "no pictures in "),
        (["a.png"], FileNotFoundError, "no pictures in "),
        (["a.jpg"], FileNotFoundError, r"a\.jpg: it has no mask; expected .*a\.png"),
        (["a.jpg", "b_mask.png"], FileNotFoundError, r"a\.jpg: it has no mask; expected .*a_mask\.png"),
        (["images/a.jpg", "masks/b.png"], FileNotFoundError, r"expected .*masks/a\.png"),
        (["images/a.jpg", "images/a.png", "masks/a.png"], ValueError, r"a\.png and a\.jpg share one stem"),
        (["a.jpg", "a.jpeg", "a.png"], ValueError, r"a\.jpg and a\.jpeg share one stem"),
    ],
)
def test_a_picture_without_a_mask_of_its_own_is_named(
    tmp_path: Path, files: list[str], error: type[Exception], message: str
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises(error, match=message):
        find_pairs(tmp_path, PAIRS)


def test_a_described_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    description = DatasetDescription("set", "pairs", images="photo", masks="truth")
    (tmp_path / "photo").mkdir()
    with pytest.raises(FileNotFoundError, match=r"truth: no such folder; expected the pictures of set"):
        find_pairs(tmp_path, description)


# --- label maps


def test_every_connected_part_of_a_label_is_an_object(tmp_path: Path) -> None:
    labels = label_map()
    labels[20:22, 2:32] = 0  # cuts label 1 in two, 540 and 600 px
    save_picture(tmp_path / "a.jpg")
    save(tmp_path / "a.png", labels)
    (sample,) = folder_of(tmp_path, LABEL_MAPS)
    assert sample.image.shape == (HEIGHT, WIDTH, 3)
    assert [int(mask.sum()) for mask in sample.masks] == [40 * 22, 20 * 30, 18 * 30]
    assert abs(sample.image[5, 5].astype(int) - (200, 90, 20)).max() < 8, "red comes first"


def test_ignored_labels_are_no_objects_and_the_background_may_be_one(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg")
    save(tmp_path / "a.png", label_map())
    camvids = DatasetDescription("set", "label_maps", ignored_labels=(2,))
    (sample,) = folder_of(tmp_path, camvids)
    assert len(sample.masks) == 2, "label 0, which is the sky there, and label 1"
    assert not any(bool((mask & (label_map() == 2)).any()) for mask in sample.masks)


def test_more_objects_than_a_byte_counts_are_all_there(tmp_path: Path) -> None:
    """A label map of 16 bits, as instance segmentations are saved."""
    side, across = 21, 17
    labels = np.kron(np.arange(across * across).reshape(across, across) + 700, np.ones((side, side), int))
    save(tmp_path / "a.jpg", np.zeros((*labels.shape, 3), np.uint8))
    save(tmp_path / "a.png", labels.astype(np.uint16))
    (sample,) = folder_of(tmp_path, LABEL_MAPS)
    assert len(sample.masks) == across * across
    assert sum(int(mask.sum()) for mask in sample.masks) == labels.size
    assert len({int(labels[mask].max()) for mask in sample.masks}) == across * across


def save_palette(path: Path, labels: NDArray[np.uint8]) -> None:
    image = Image.fromarray(labels).convert("P")
    image.putpalette([255 - i // 3 for i in range(768)])
    image.save(path)


@pytest.mark.parametrize(
    "mode", ["8 bits", "16 bits", "32 bits", "palette", "1 bit", "grey RGB", "grey RGBA"]
)
def test_label_maps_are_the_numbers_they_hold(tmp_path: Path, mode: str) -> None:
    labels, path = label_map(), tmp_path / ("a.tif" if mode == "32 bits" else "a.png")
    expected = labels.astype(np.int64)
    if mode == "8 bits":
        save(path, labels)
    elif mode in ("16 bits", "32 bits"):
        expected = 1000 * expected
        save(path, expected.astype(np.uint16 if mode == "16 bits" else np.int32))
    elif mode == "palette":
        save_palette(path, labels)
    elif mode == "1 bit":
        expected = (labels > 0).astype(np.int64)
        Image.fromarray(labels > 0).save(path)
    else:
        grey = np.repeat(labels[..., None], 3, axis=2)
        alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
        save(path, grey if mode == "grey RGB" else np.concatenate([grey, alpha], axis=2))
    np.testing.assert_array_equal(read_label_map(path), expected)


@pytest.mark.parametrize("kind", ["colours", "fractions", "text"])
def test_what_is_no_label_map_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("a.tif" if kind == "fractions" else "a.png")
    if kind == "colours":
        save_picture(path)
    elif kind == "fractions":
        save(path, np.full((HEIGHT, WIDTH), 0.5, np.float32))
    else:
        path.write_text("not a picture")
    with pytest.raises(
        ValueError, match=rf"{path}: expected a (label map|picture, found an unknown format)"
    ) as caught:
        read_label_map(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("others", [[1], [1, 15], [33]])
def test_a_void_border_that_is_not_ignored_is_refused(tmp_path: Path, others: list[int]) -> None:
    save_picture(tmp_path / "a.jpg")
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for i, label in enumerate(others):
        labels[:, 10 * i : 10 * i + 10] = label
    labels[:, 40:] = 255
    save(tmp_path / "a.png", labels)
    with pytest.raises(
        ValueError, match=r"a\.png: found 255 beside labels up to .*; add 255 to .* ignored_labels"
    ):
        folder_of(tmp_path, LABEL_MAPS)[0]
    ignoring = DatasetDescription("set", "label_maps", ignored_labels=(0, 255))
    (sample,) = folder_of(tmp_path, ignoring)
    assert len(sample.masks) == len(others)


@pytest.mark.parametrize(("void", "dtype"), [(65535, np.uint16), (-1, np.int32)])
def test_void_in_deeper_label_maps_is_refused_too(tmp_path: Path, void: int, dtype: type) -> None:
    save_picture(tmp_path / "a.jpg")
    labels = np.zeros((HEIGHT, WIDTH), dtype)
    labels[:, :10], labels[:, 40:] = 3, void
    path = tmp_path / "a_mask.tif"
    Image.fromarray(labels).save(path)
    with pytest.raises(ValueError, match=rf"found {void} beside labels up to 3.*add {void} to"):
        folder_of(tmp_path, LABEL_MAPS)[0]
    ignoring = DatasetDescription("set", "label_maps", ignored_labels=(0, void))
    (sample,) = folder_of(tmp_path, ignoring)
    assert len(sample.masks) == 1


@pytest.mark.parametrize("labels", [[255], [254, 255], [255, 256], [1, 255, 300]])
def test_255_among_other_numbers_is_a_label(tmp_path: Path, labels: list[int]) -> None:
    save_picture(tmp_path / "a.jpg")
    numbers = np.zeros((HEIGHT, WIDTH), np.uint16)
    for i, label in enumerate(labels):
        numbers[:, 20 * i : 20 * i + 20] = label
    save(tmp_path / "a.png", numbers)
    (sample,) = folder_of(tmp_path, LABEL_MAPS)
    assert len(sample.masks) == len(labels)


# --- black and white masks


@pytest.mark.parametrize("white", [1, 128, 200, 255])
def test_white_is_the_object_from_half_of_full_scale_on(tmp_path: Path, white: int) -> None:
    mask = label_map() == 1
    path = save(tmp_path / "a.png", (mask * white).astype(np.uint8))
    np.testing.assert_array_equal(read_binary_mask(path), mask)
    path = save(tmp_path / "b.png", (mask * 65535).astype(np.uint16))
    np.testing.assert_array_equal(read_binary_mask(path), mask)


def test_soft_edges_and_jpegs_noise_are_cut_at_half(tmp_path: Path) -> None:
    mask = label_map() == 1
    path = tmp_path / "a.jpg"
    Image.fromarray((mask * 255).astype(np.uint8)).save(path, quality=60)
    assert len(np.unique(np.asarray(Image.open(path)))) > 2
    np.testing.assert_array_equal(read_binary_mask(path), mask)


def test_an_empty_mask_is_no_object_and_a_label_map_is_recognized(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg")
    save(tmp_path / "a.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (sample,) = folder_of(tmp_path, PAIRS)
    assert len(sample.masks) == 0
    save(tmp_path / "a.png", label_map())
    with pytest.raises(ValueError, match=r"found numbers up to 2; if it is a label map, describe its set"):
        folder_of(tmp_path, PAIRS)[0]


def test_both_parts_of_a_white_mask_are_one_object(tmp_path: Path) -> None:
    """Something may lie across it; the paper's sets have one object a picture."""
    save_picture(tmp_path / "a.jpg")
    save(tmp_path / "a.png", (label_map() > 0).astype(np.uint8) * np.uint8(255))
    (sample,) = folder_of(tmp_path, PAIRS)
    assert [int(mask.sum()) for mask in sample.masks] == [40 * 30 + 40 * 22]


# --- pictures


def test_a_picture_and_its_mask_must_have_one_size(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg")
    save(tmp_path / "a.png", label_map()[:, 1:])
    with pytest.raises(ValueError, match=r"a\.png: expected the size of its picture, 60 x 48, found 59 x 48"):
        folder_of(tmp_path, LABEL_MAPS)[0]


def test_what_is_no_picture_is_named_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not a picture")
    save(tmp_path / "a.png", label_map())
    with pytest.raises(
        ValueError, match=rf"{tmp_path / 'a.jpg'}: expected a picture, found an unknown format"
    ) as caught:
        folder_of(tmp_path, LABEL_MAPS)[0]
    assert "\n" not in str(caught.value)


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 12 * 16).reshape(12, 16).astype(np.uint16)
    save(tmp_path / "deep.png", ramp)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[..., 0], np.round(ramp / 257))


@pytest.mark.parametrize(("dtype", "highest"), [(np.float32, 0.5), (np.int32, 70_000)])
def test_pixels_without_a_white_level_are_refused(
    tmp_path: Path, dtype: npt.DTypeLike, highest: float
) -> None:
    Image.fromarray(np.full((4, 4), highest, dtype)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"a.tiff: .* have no white level; save it"):
        read_image(tmp_path / "a.tiff")


def test_a_truncated_picture_is_refused_instead_of_being_grey_below(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    save(path, noise)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"a\.jpg: cannot read the picture to its end"):
        read_image(path)


def test_pictures_and_masks_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    image = Image.fromarray(np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    image.save(tmp_path / "a.jpg", exif=exif, quality=100)
    image.save(tmp_path / "a.png", exif=exif)
    picture, mask = read_image(tmp_path / "a.jpg"), read_label_map(tmp_path / "a.png")
    assert picture.shape == (WIDTH, HEIGHT, 3)
    assert picture[0, 0, 0] < 5 < WIDTH - 5 < picture[-1, 0, 0]
    np.testing.assert_array_equal(mask, np.tile(np.arange(WIDTH)[:, None], (1, HEIGHT)))
