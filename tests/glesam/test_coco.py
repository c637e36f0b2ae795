"""Annotation files of COCO and LVIS: polygons and run lengths become masks, all else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as pycocotools

from glesam.data.coco import CocoInstances, coco_instances, decode, expand_counts, mask_of_runs
from glesam.data.datasets import load_datasets
from glesam.data.descriptions import DatasetDescription
from glesam_runtime import ImageError

WIDTH, HEIGHT = 60, 40
DESCRIPTION = DatasetDescription("set", "coco", annotations="instances.json", images="images")
RECTANGLE = [10, 5, 40, 5, 40, 35, 10, 35]
"""30 x 30 px from (10, 5) on."""

Json = dict[str, Any]
BoolMask = NDArray[np.bool_]


def rectangle() -> BoolMask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:35, 10:40] = True
    return mask


def run_lengths(mask: BoolMask) -> list[int]:
    flat = mask.T.reshape(-1).astype(int)
    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    return [0] * int(flat[0]) + [int(length) for length in np.diff(edges)]


def compressed(mask: BoolMask) -> str:
    counts: bytes = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts.decode()


def annotations(*segmentations: object, **extra: object) -> Json:
    """One picture with these instances, in COCO's layout."""
    return {
        "images": [{"id": 7, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}],
        "annotations": [
            {"id": i, "image_id": 7, "iscrowd": 0, "segmentation": segmentation} | extra
            for i, segmentation in enumerate(segmentations)
        ],
    }


def load(root: Path, contents: Json) -> CocoInstances:
    for entry in contents["images"] if isinstance(contents.get("images"), list) else []:
        path = root / "set/images" / (entry.get("file_name") or "train2017/b.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (200, 40, 10)).save(path)
    (root / "set/images").mkdir(parents=True, exist_ok=True)
    (root / "instances.json").write_text(json.dumps(contents))
    return coco_instances(root, DESCRIPTION)


def test_polygons_and_both_kinds_of_run_lengths_give_one_mask(tmp_path: Path) -> None:
    size = [HEIGHT, WIDTH]
    segmentations = (
        [RECTANGLE],
        {"size": size, "counts": run_lengths(rectangle())},
        {"size": size, "counts": compressed(rectangle())},
    )
    (sample,) = load(tmp_path, annotations(*segmentations))
    assert sample.name == "a"
    assert sample.dataset == "set"
    assert abs(sample.image[20, 20].astype(int) - (200, 40, 10)).max() < 8
    assert len(sample.masks) == 3
    for mask in sample.masks:
        np.testing.assert_array_equal(mask, rectangle())


def test_polygons_of_one_instance_are_one_mask_and_instances_overlap(tmp_path: Path) -> None:
    halves = [[0, 0, 20, 0, 20, 40, 0, 40], [30, 0, 50, 0, 50, 40, 30, 40]]
    (sample,) = load(tmp_path, annotations([RECTANGLE], halves))
    assert [int(mask.sum()) for mask in sample.masks] == [1600, 900], "largest first"
    assert not sample.masks[0][:, 20:30].any()
    assert (sample.masks[0] & sample.masks[1]).sum() == 30 * 20


def test_crowds_small_and_empty_instances_are_no_objects(tmp_path: Path) -> None:
    contents = annotations([RECTANGLE], [[0, 0, 5, 0, 5, 5, 0, 5]], [], [[3, 3, 9, 9]])
    crowd = {"size": [HEIGHT, WIDTH], "counts": run_lengths(~rectangle())}
    contents["annotations"].append({"image_id": 7, "iscrowd": 1, "segmentation": crowd})
    (sample,) = load(tmp_path, contents)
    assert len(sample.masks) == 1


def test_pictures_without_instances_are_left_out(tmp_path: Path) -> None:
    contents = annotations([RECTANGLE])
    contents["images"].append({"id": 8, "file_name": "z.jpg", "width": WIDTH, "height": HEIGHT})
    assert load(tmp_path, contents).names == ("a",)


def test_lvis_names_pictures_by_their_address_and_has_no_crowds(tmp_path: Path) -> None:
    contents = annotations([RECTANGLE])
    contents["images"][0] = {
        "id": 7,
        "coco_url": "http://images.example.org/train2017/b.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "neg_category_ids": [4],
    }
    del contents["annotations"][0]["iscrowd"]
    dataset = load(tmp_path, contents)
    assert dataset.names == ("b",)
    np.testing.assert_array_equal(dataset[0].masks[0], rectangle())


def test_a_description_loads_the_set_and_the_splits_share_no_picture(tmp_path: Path) -> None:
    pictures = [{"id": i, "file_name": f"p{i}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(60)]
    instances = [{"image_id": i, "segmentation": [RECTANGLE]} for i in range(60)]
    load(tmp_path, {"images": pictures, "annotations": instances})
    sets = tmp_path / "sets.json"
    sets.write_text(
        json.dumps([{"name": "set", "kind": "coco", "annotations": "instances.json", "images": "images"}])
    )
    (train,), (dev,), (everything,) = (load_datasets(tmp_path, sets, s) for s in ("train", "dev", "all"))
    assert 1 <= len(dev) <= 15
    assert sorted([*train.names, *dev.names]) == sorted(everything.names)
    assert not set(train.names) & set(dev.names)


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_read_as_pycocotools_writes_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 90)), int(rng.integers(1, 90))
    mask = rng.random(shape) < rng.choice([0.0, 0.01, 0.5, 1.0])
    assert expand_counts(compressed(mask)) == run_lengths(mask)
    np.testing.assert_array_equal(mask_of_runs(run_lengths(mask), shape), mask)


BAD_CODES = {
    "too few pixels": ([100, 300], "2400 in sum"),
    "too many": ([2400, 5000], "2400 in sum"),
    "a negative run": ([2500, -100], "from 0 on"),
    "no runs": ([], "2400 in sum"),
    "cut short": (compressed(rectangle())[:-3], "2400 in sum"),
    "no code": ("no code", "holds ' '"),
}


@pytest.mark.parametrize("damage", BAD_CODES)
def test_a_damaged_run_length_code_is_refused_with_its_picture(tmp_path: Path, damage: str) -> None:
    counts, named = BAD_CODES[damage]
    dataset = load(tmp_path, annotations({"size": [HEIGHT, WIDTH], "counts": counts}))
    with pytest.raises(ValueError, match=rf"images/a\.jpg: in its annotations .*{named}") as caught:
        dataset[0]
    assert "\n" not in str(caught.value)


def test_a_code_for_another_picture_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has size \[60, 40\], its picture \[40, 60\]"):
        decode({"size": [60, 40], "counts": [2400]}, (40, 60))


def set_image(**changes: object) -> Callable[[Json], None]:
    return lambda contents: contents["images"][0].update(changes)


def set_segmentation(segmentation: object) -> Callable[[Json], None]:
    return lambda contents: contents["annotations"][0].update(segmentation=segmentation)


def without(key: str, of: str) -> Callable[[Json], None]:
    def change(contents: Json) -> None:
        del contents[of][0][key]

    return change


BAD_FILES: dict[str, tuple[Callable[[Json], object], str]] = {
    "no images": (lambda c: c.pop("images"), "no 'images'"),
    "no annotations": (lambda c: c.pop("annotations"), "no 'annotations'"),
    "no segmentation": (without("segmentation", "annotations"), "no 'segmentation'"),
    "no size": (without("width", "images"), "no 'width'"),
    "neither name nor address": (without("file_name", "images"), "no 'coco_url'"),
    "a way out": (set_image(file_name="../a.jpg"), "leaves the pictures' folder"),
    "an absolute path": (set_image(file_name="/etc/a.jpg"), "leaves the pictures' folder"),
    "a polygon of text": (set_segmentation([["a"] * 6]), "could not convert"),
    "half a point": (set_segmentation([[1, 2, 3, 4, 5, 6, 7]]), "expected polygons"),
    "not a number": (set_segmentation([[float("nan")] * 6]), "expected polygons"),
    "far away": (set_segmentation([[1e9, 0, 0, 1e9, 5, 5]]), "expected polygons"),
    "runs of text": (set_segmentation({"size": [40, 60], "counts": ["a"]}), "expected run lengths"),
    "images are numbers": (lambda c: c.update(images=3), "int"),
}


@pytest.mark.parametrize("damage", BAD_FILES)
def test_a_file_that_is_neither_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    change, named = BAD_FILES[damage]
    contents = annotations([RECTANGLE])
    load(tmp_path, contents)
    change(contents)
    (tmp_path / "instances.json").write_text(json.dumps(contents))
    with pytest.raises(ValueError, match=rf"instances\.json: expected annotations .*{named}") as caught:
        coco_instances(tmp_path, DESCRIPTION)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "3"])
def test_a_file_without_an_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "set/images").mkdir(parents=True)
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(ValueError, match=r"instances\.json: expected annotations of COCO or LVIS"):
        coco_instances(tmp_path, DESCRIPTION)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"set/images: no such folder"):
        coco_instances(tmp_path, DESCRIPTION)
    (tmp_path / "set/images").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"instances\.json"):
        coco_instances(tmp_path, DESCRIPTION)


def test_two_pictures_of_one_name_are_refused(tmp_path: Path) -> None:
    contents = annotations([RECTANGLE])
    contents["images"].append({"id": 8, "file_name": "more/a.jpg", "width": WIDTH, "height": HEIGHT})
    contents["annotations"].append({"image_id": 8, "segmentation": [RECTANGLE]})
    with pytest.raises(ValueError, match=r"two pictures are named a; give"):
        load(tmp_path, contents)


def test_a_picture_of_another_size_or_a_missing_one_is_named(tmp_path: Path) -> None:
    dataset = load(tmp_path, annotations([RECTANGLE]))
    path = tmp_path / "set/images/a.jpg"
    Image.new("RGB", (HEIGHT, WIDTH)).save(path)
    with pytest.raises(ValueError, match=r"a\.jpg: expected 60 x 40 as annotated, found 40 x 60"):
        dataset[0]
    path.unlink()
    with pytest.raises(ImageError, match=r"a\.jpg: expected a picture, found nothing"):
        dataset[0]


# --- annotations that cannot be used, and other writers' habits


def test_an_id_used_twice_is_refused_with_both_files(tmp_path: Path) -> None:
    contents = annotations([RECTANGLE])
    for id_ in (7, "7", 7.0):
        contents["images"][1:] = [{"id": id_, "file_name": "street.jpg", "width": WIDTH, "height": HEIGHT}]
        with pytest.raises(
            ValueError, match=r"instances\.json: .*a\.jpg and street\.jpg have one id, 7, .*own"
        ):
            load(tmp_path, contents)


@pytest.mark.parametrize(
    ("image_id", "annotation_id"), [("7", 7), (7, "7"), ("7", "7"), (7, 7.0), ("x7", "x7")]
)
def test_ids_may_be_text(tmp_path: Path, image_id: object, annotation_id: object) -> None:
    contents = annotations([RECTANGLE])
    contents["images"][0]["id"], contents["annotations"][0]["image_id"] = image_id, annotation_id
    (sample,) = load(tmp_path, contents)
    np.testing.assert_array_equal(sample.masks[0], rectangle())


@pytest.mark.parametrize("id_", [None, True, 7.5, [7], {}])
def test_what_is_no_id_is_refused(tmp_path: Path, id_: object) -> None:
    contents = annotations([RECTANGLE])
    contents["annotations"][0]["image_id"] = id_
    with pytest.raises(ValueError, match=r"instances\.json: expected annotations "):
        load(tmp_path, contents)


PAIRS = [RECTANGLE[i : i + 2] for i in range(0, len(RECTANGLE), 2)]
SIZE = [HEIGHT, WIDTH]
LEFT, RIGHT = rectangle().copy(), rectangle().copy()
LEFT[:, 25:], RIGHT[:, :25] = False, False
NESTINGS: dict[str, object] = {
    "polygons of pairs": [PAIRS],
    "one polygon of pairs": PAIRS,
    "one polygon": RECTANGLE,
    "a list of one code": [{"size": SIZE, "counts": compressed(rectangle())}],
    "a list of two codes": [
        {"size": SIZE, "counts": run_lengths(LEFT)},
        {"size": SIZE, "counts": compressed(RIGHT)},
    ],
    "a polygon and a code": [[10, 5, 25, 5, 25, 35, 10, 35], {"size": SIZE, "counts": compressed(RIGHT)}],
}


@pytest.mark.parametrize("nesting", NESTINGS)
def test_other_nestings_are_read(tmp_path: Path, nesting: str) -> None:
    (sample,) = load(tmp_path, annotations(NESTINGS[nesting]))
    np.testing.assert_array_equal(sample.masks[0], rectangle())


@pytest.mark.parametrize("segmentation", ["text", 5, [{"x": 1, "y": 2}] * 3, [[[1, 2, 3]] * 3]])
def test_unknown_nestings_are_refused(tmp_path: Path, segmentation: object) -> None:
    with pytest.raises(ValueError, match=r"instances\.json: expected annotations .*segmentations: "):
        load(tmp_path, annotations(segmentation))


def test_annotations_that_cannot_be_used_are_counted_and_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = annotations([RECTANGLE], [], [[3, 3, 9, 9]], None, [RECTANGLE, [1, 2]])
    contents["annotations"].append({"id": 99, "image_id": 12345, "segmentation": [RECTANGLE]})
    (sample,) = load(tmp_path, contents)
    assert len(sample.masks) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "instances.json: left out annotations: 2 without a segmentation (first " in said
    assert "2 with a polygon of fewer than 3 points (first " in said
    assert "1 of a picture that is not listed (first id 99)" in said


def test_polygons_that_cover_nothing_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    normalised = [[0.2, 0.1, 0.6, 0.1, 0.6, 0.8, 0.2, 0.8]]
    outside = [[[100, 5, 130, 5, 130, 35]], [[-30, -5, -1, -5, -1, 0]], [[3, 40, 9, 40, 9, 70]]]
    (sample,) = load(tmp_path, annotations([RECTANGLE], normalised, *outside))
    assert len(sample.masks) == 1
    said = capsys.readouterr().err
    assert "1 with a polygon in numbers from 0 to 1 instead of px (first id 1)" in said
    assert "3 with a polygon outside the picture (first id 2)" in said


def test_a_polygon_that_reaches_over_the_border_is_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sample,) = load(tmp_path, annotations([[-5, -5, 30, -5, 30, 30, -5, 30]]))
    assert int(sample.masks[0].sum()) == 30 * 30
    assert capsys.readouterr().err == ""


def test_boxes_among_instances_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = annotations([RECTANGLE])
    contents["annotations"].append({"id": 5, "image_id": 7, "bbox": [1, 2, 30, 30]})
    (sample,) = load(tmp_path, contents)
    assert len(sample.masks) == 1
    assert "1 without a segmentation (first id 5)" in capsys.readouterr().err


@pytest.mark.parametrize(("iscrowd", "objects"), [("0", 1), (False, 1), ("false", 1), ("1", 0), (True, 0)])
def test_crowds_may_be_marked_by_text(tmp_path: Path, iscrowd: object, objects: int) -> None:
    assert len(load(tmp_path, annotations([RECTANGLE], iscrowd=iscrowd))) == objects


def test_a_bad_segmentation_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"instances\.json: .*annotation id 1: expected polygons"):
        load(tmp_path, annotations([RECTANGLE], [[1, 2, 3, 4, 5, 6, 7]]))


def test_a_byte_order_mark_and_endless_numbers_are_no_traceback(tmp_path: Path) -> None:
    contents = annotations([RECTANGLE])
    load(tmp_path, contents)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(contents), encoding="utf-8-sig")
    assert len(coco_instances(tmp_path, DESCRIPTION)) == 1
    path.write_text(json.dumps(contents).replace('"image_id": 7', '"image_id": 1e999'))
    with pytest.raises(ValueError, match=r"instances\.json: expected annotations "):
        coco_instances(tmp_path, DESCRIPTION)


def test_a_file_whose_annotations_can_all_be_used_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, annotations([RECTANGLE]))
    assert capsys.readouterr().err == ""


def test_a_pointer_in_place_of_annotations_is_named(tmp_path: Path) -> None:
    (tmp_path / "set/images").mkdir(parents=True)
    (tmp_path / "instances.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match="found a Git LFS pointer in its place; run git lfs pull"):
        coco_instances(tmp_path, DESCRIPTION)
