"""The data sets in a folder; no picture is in both splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glesam.data.datasets import Split, load_datasets
from glesam.data.in_memory import in_memory

TRAIN_SETS = ["bsds500", "ccp", "camvid", "human", "bags"]


def names(root: Path, split: Split) -> list[tuple[str, str]]:
    return [(dataset.name, name) for dataset in load_datasets(root, split=split) for name in dataset.names]


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 24), (90, 120, 150)).save(path)


def write_mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((24, 30), np.uint8)
    mask[2:23, 3:28] = 255
    Image.fromarray(mask).save(path)


def test_the_splits_share_no_picture_and_leave_none_out(data: Path) -> None:
    training, dev, everything = (names(data, split) for split in ("train", "dev", "all"))  # type: ignore[arg-type]
    assert len(set(training)) == len(training)
    assert not set(training) & set(dev)
    assert sorted(training + dev) == sorted(everything)
    assert set(everything) == {(path.parent.name, path.stem) for path in data.rglob("*.jpg")}


def test_camvid_is_split_by_sequence(data: Path) -> None:
    training = {stem.split("_")[0] for name, stem in names(data, "train") if name == "camvid"}
    dev = {stem.split("_")[0] for name, stem in names(data, "dev") if name == "camvid"}
    assert training == {"0001TP"}
    assert dev == {"0006R0", "0016E5", "Seq05VD"}


def test_the_shipped_sets_are_known_by_their_folders_with_their_weights(data: Path) -> None:
    loaded = load_datasets(data)
    assert [dataset.name for dataset in loaded] == TRAIN_SETS
    assert [dataset.weight for dataset in loaded] == [0.35, 0.2, 0.15, 0.15, 0.15]
    sample = loaded[0][0]
    assert (sample.dataset, sample.name) == ("bsds500", loaded[0].names[0])
    assert [mask.shape for mask in sample.masks] == [(80, 96)] * len(sample.masks)


def test_the_folder_of_one_set_is_split_too(data: Path) -> None:
    alone = load_datasets(data / "camvid", split="dev")
    assert [(d.name, n) for d in alone for n in d.names] == [
        pair for pair in names(data, "dev") if pair[0] == "camvid"
    ]


def test_a_folder_with_its_own_sets_json_is_read_by_it(data: Path, tmp_path: Path) -> None:
    for i in range(3):
        write_picture(tmp_path / f"mine/images/{i}.jpg")
        write_mask(tmp_path / f"mine/masks/{i}.png")
    description = {"name": "own", "kind": "pairs", "path": "mine", "dev": "none", "weight": 2}
    (tmp_path / "sets.json").write_text(json.dumps([description]))
    (dataset,) = load_datasets(tmp_path)
    assert (dataset.name, dataset.weight, dataset.names) == ("own", 2, ("0", "1", "2"))


def test_separate_descriptions_count_before_those_in_the_folder(data: Path, tmp_path: Path) -> None:
    sets = tmp_path / "sets.json"
    sets.write_text(json.dumps([{"name": "bags", "kind": "label_maps", "dev": "none"}]))
    (dataset,) = load_datasets(data, sets)
    assert len(dataset) == 12


def test_a_folder_without_any_description_is_pictures_with_masks(tmp_path: Path) -> None:
    for i in range(4):
        write_picture(tmp_path / f"photos/{i}.jpg")
        write_mask(tmp_path / f"photos/{i}.png")
    (dataset,) = load_datasets(tmp_path / "photos", split="all")
    assert (dataset.name, len(dataset)) == ("photos", 4)
    assert [int(mask.sum()) for mask in dataset[0].masks] == [21 * 25]


def test_sets_without_a_picture_in_a_split_are_left_out(tmp_path: Path) -> None:
    for name in "ab":
        write_picture(tmp_path / f"{name}/1.jpg")
        write_mask(tmp_path / f"{name}/1.png")
    entries = [{"name": "a", "kind": "pairs", "dev": "all"}, {"name": "b", "kind": "pairs", "dev": "none"}]
    (tmp_path / "sets.json").write_text(json.dumps(entries))
    assert [dataset.name for dataset in load_datasets(tmp_path, split="train")] == ["b"]
    assert [dataset.name for dataset in load_datasets(tmp_path, split="dev")] == ["a"]
    (tmp_path / "sets.json").write_text(json.dumps(entries[:1]))
    with pytest.raises(ValueError, match="no picture of its sets is in the split 'train'"):
        load_datasets(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent: no such folder; expected one of data sets"):
        load_datasets(tmp_path / "absent")
    (tmp_path / "sets.json").write_text(json.dumps([{"name": "a", "kind": "pairs"}]))
    with pytest.raises(FileNotFoundError, match=r"a: no such folder; expected the pictures of a"):
        load_datasets(tmp_path)


def test_pictures_in_memory_are_the_same_and_read_once(data: Path) -> None:
    plain = load_datasets(data)
    kept = in_memory(plain)
    for one, other in zip(plain, kept, strict=True):
        assert (one.name, one.weight, list(one.names), len(one)) == (
            other.name,
            other.weight,
            list(other.names),
            len(other),
        )
    sample, again = kept[1][3], kept[1][3]
    assert again is sample
    np.testing.assert_array_equal(sample.image, plain[1][3].image)
    assert all(map(np.array_equal, sample.masks, plain[1][3].masks))


def test_memory_is_bounded_over_all_sets(data: Path) -> None:
    one_picture = 80 * 96 * 4  # RGB and one layer of masks
    first, second, *_ = in_memory(load_datasets(data), max_bytes=one_picture + 1)
    assert first[0] is first[0]
    assert first[1] is not first[1]
    assert second[0] is not second[0]
