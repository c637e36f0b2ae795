"""Pictures with label maps: splits, objects, boxes, and prompts drawn from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from glesam.data.label_maps import (
    TRAIN_SETS,
    DatasetDescription,
    load_samples,
    mask_box,
    objects,
    read_sample,
)
from glesam.data.prompts import box_prompt, point_prompt, random_prompt


def names(root: Path, *, dev: bool) -> list[tuple[str, str]]:
    samples = load_samples(root, TRAIN_SETS, dev=dev)
    return [(sample.description.name, sample.stem) for sample in samples]


def test_the_splits_are_disjoint_and_cover_everything(data: Path) -> None:
    training, dev = names(data, dev=False), names(data, dev=True)
    assert len(set(training)) == len(training)
    assert not set(training) & set(dev)
    everything = {(path.parent.name, path.stem) for path in data.rglob("*.jpg")}
    assert set(training) | set(dev) == everything


def test_camvid_is_split_by_sequence(data: Path) -> None:
    training = {stem.split("_")[0] for name, stem in names(data, dev=False) if name == "camvid"}
    dev = {stem.split("_")[0] for name, stem in names(data, dev=True) if name == "camvid"}
    assert training == {"0001TP"}
    assert dev == {"0006R0", "0016E5", "Seq05VD"}


def test_about_a_tenth_of_the_other_sets_is_for_development_and_not_the_same_tenth() -> None:
    chosen = []
    for name in ("ccp", "human"):
        description = DatasetDescription(name)
        chosen.append({stem for stem in map(str, range(2000)) if description.is_dev(stem)})
        assert 140 < len(chosen[-1]) < 260
    assert len(chosen[0] & chosen[1]) < 60


def test_pictures_are_rgb_and_labels_are_as_stored(data: Path) -> None:
    sample = next(load_samples(data, TRAIN_SETS[:1], dev=False))
    assert sample.image.shape == (80, 96, 3)
    assert sample.image.dtype == sample.labels.dtype == np.uint8
    assert np.unique(sample.labels).tolist() == [0, 1, 2]
    # conftest wrote blue, green, red of about 40, 120, 210 plus noise, label by label
    assert abs(float(sample.image[40, 70].astype(float).mean()) - 225) < 15
    assert abs(float(sample.image[20, 20].astype(float).mean()) - 135) < 15


def test_red_comes_first(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 2] = 255  # red, in OpenCV's order
    cv2.imwrite(str(tmp_path / "set/a.jpg"), image)
    cv2.imwrite(str(tmp_path / "set/a.png"), image[..., 0])
    description = DatasetDescription("set")
    (sample,) = [s for dev in (True, False) for s in load_samples(tmp_path, (description,), dev=dev)]
    assert sample.image[4, 4, 0] > 240
    assert sample.image[4, 4, 2] < 15


def test_a_missing_folder_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no \*.jpg in {tmp_path / 'bsds500'}"):
        list(load_samples(tmp_path, TRAIN_SETS, dev=False))


@pytest.mark.parametrize("damage", ["missing", "another size", "no picture"])
def test_a_picture_without_its_label_map_is_named(data: Path, tmp_path: Path, damage: str) -> None:
    root = Path(shutil.copytree(data, tmp_path / "data"))
    stem = next(load_samples(data, TRAIN_SETS[:1], dev=False)).stem
    label_map = root / "bsds500" / f"{stem}.png"
    if damage == "missing":
        label_map.unlink()
    elif damage == "another size":
        cv2.imwrite(str(label_map), np.zeros((80, 95), np.uint8))
    else:
        (root / "bsds500" / f"{stem}.jpg").write_text("not a picture")
    with pytest.raises(ValueError, match=rf"{stem}\.jpg: .*expected a .*label map"):
        list(load_samples(root, TRAIN_SETS[:1], dev=False))


def test_label_maps_of_16_bits_and_palettes_are_the_numbers_they_hold(tmp_path: Path) -> None:
    labels = np.zeros((8, 8), np.uint16)
    labels[2:, 3:] = 200
    palette = Image.fromarray(labels.astype(np.uint8)).convert("P")
    palette.putpalette([255 - i // 3 for i in range(768)])
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.jpg")
    for label_map in (Image.fromarray(labels), palette):
        label_map.save(tmp_path / "a.png")
        assert label_map.mode in ("I;16", "P")
        sample = read_sample(tmp_path / "a.jpg", DatasetDescription("set"))
        np.testing.assert_array_equal(sample.labels, labels)
        assert sample.labels.dtype == np.uint8


def test_labels_that_do_not_fit_are_refused_instead_of_wrapped(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.jpg")
    Image.fromarray(np.full((8, 8), 256, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"labels up to 255, found .* up to 256"):
        read_sample(tmp_path / "a.jpg", DatasetDescription("set"))


def test_objects_are_connected_parts_largest_first() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[2:12, 2:12] = 3  # two parts of one label
    labels[20:38, 2:20] = 3
    labels[5:8, 30:33] = 3  # too small
    labels[15:30, 40:55] = 11
    found = objects(labels, (0,), min_px=50)
    assert [int(mask.sum()) for mask in found] == [18 * 18, 15 * 15, 100]
    assert found[0][25, 5]
    assert not found[0][5, 5]
    assert [int(mask.sum()) for mask in objects(labels, (0, 11), min_px=50)] == [18 * 18, 100]
    assert objects(labels, (0, 3, 11), min_px=50) == []


def test_an_object_of_exactly_the_least_size_counts() -> None:
    labels = np.zeros((30, 30), np.uint8)
    labels[:20, :20] = 1
    assert len(objects(labels, (0,))) == 1
    labels[0, 0] = 0
    assert objects(labels, (0,)) == []


def test_the_box_of_a_mask_ends_after_its_last_pixel() -> None:
    mask = np.zeros((10, 20), bool)
    mask[3, 7] = True
    assert mask_box(mask) == (7, 3, 8, 4)
    mask[8, 2] = mask[9, 19] = True
    assert mask_box(mask) == (2, 3, 20, 10)


def random_mask(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((48, 64), bool)
    y, x = rng.integers(0, 40), rng.integers(0, 56)
    mask[y : y + int(rng.integers(1, 30)), x : x + int(rng.integers(1, 40))] = True
    return mask


def test_points_lie_on_the_mask_and_end_in_the_padding_point() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 3) * 20:
        mask = random_mask(rng)
        prompt = point_prompt(mask, rng, count)
        x, y = prompt.coords[:count].astype(int).T
        assert mask[y, x].all()
        assert prompt.labels.tolist() == [1] * count + [-1]
        assert prompt.coords[count].tolist() == [0, 0]


def test_every_pixel_of_a_mask_may_become_a_point() -> None:
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:4] = True
    drawn = point_prompt(mask, np.random.default_rng(0), 200).coords[:-1]
    assert {(int(x), int(y)) for x, y in drawn} == {(x, y) for y in (1, 2) for x in (1, 2, 3)}


def test_a_box_without_chance_is_the_masks_own() -> None:
    mask = np.zeros((48, 64), bool)
    mask[10:20, 5:40] = True
    prompt = box_prompt(mask)
    assert prompt.coords.tolist() == [[5, 10], [40, 20]]
    assert prompt.labels.tolist() == [2, 3]


def test_a_jittered_box_moves_stays_in_the_picture_and_is_never_empty() -> None:
    rng = np.random.default_rng(0)
    moves = []
    for _ in range(500):
        mask = random_mask(rng)
        x0, y0, x1, y1 = mask_box(mask)
        coords = box_prompt(mask, rng).coords
        assert (coords >= 0).all()
        assert (coords <= [64, 48]).all()
        assert (coords[1] > coords[0]).all()
        moves.append((coords - [[x0, y0], [x1, y1]]) / [x1 - x0, y1 - y0])
    assert 0.05 < np.std(moves) < 0.15


def test_a_large_boxs_jitter_is_at_most_20_px() -> None:
    mask = np.zeros((2000, 2000), bool)
    mask[500:1500, 500:1500] = True
    rng = np.random.default_rng(0)
    moves = np.array([box_prompt(mask, rng).coords - [[500, 500], [1500, 1500]] for _ in range(50)])
    assert np.abs(moves).max() == 20


def test_random_prompts_are_boxes_and_points_that_fit_the_batchs_four_tokens() -> None:
    rng = np.random.default_rng(0)
    kinds = {tuple(random_prompt(random_mask(rng), rng).padded(4).labels.tolist()) for _ in range(100)}
    assert kinds == {(2, 3, -1, -1), (1, -1, -1, -1), (1, 1, -1, -1), (1, 1, 1, -1)}
