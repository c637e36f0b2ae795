"""The objects of a label map, and their boxes."""

from __future__ import annotations

import numpy as np
import pytest

from glesam.data.label_maps import mask_box, objects


def test_objects_are_connected_parts_largest_first() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[2:12, 2:12] = 3  # two parts of one label
    labels[20:38, 2:20] = 3
    labels[5:8, 30:33] = 3  # too small
    labels[15:30, 40:55] = 11
    actual = objects(labels, (0,), min_px=50)
    assert [int(mask.sum()) for mask in actual] == [18 * 18, 15 * 15, 100]
    assert actual[0][25, 5]
    assert not actual[0][5, 5]
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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_labels_of_every_integer_type_are_distinguished(dtype: type) -> None:
    labels = np.zeros((30, 60), dtype)
    labels[:, 30:] = np.iinfo(dtype).max
    (right,) = objects(labels, (0,))
    assert right[:, 30:].all()
    assert not right[:, :30].any()
