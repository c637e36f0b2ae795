"""Masks held as label maps are the masks they were made of."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from glesam.data.masks import MaskLayers

SHAPE = (20, 30)


def rectangle(top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


A, B, C = rectangle(0, 0, 10, 10), rectangle(5, 5, 15, 15), rectangle(12, 20, 18, 28)


def equal(actual: MaskLayers, expected: list[NDArray[np.bool_]]) -> bool:
    return len(actual) == len(expected) and all(map(np.array_equal, actual, expected))


def test_overlapping_masks_come_back_and_the_others_share_a_layer() -> None:
    stacked = MaskLayers.stacked([A, B, C], SHAPE)
    assert equal(stacked, [A, B, C])
    assert len(stacked.layers) == 2, "A and C in one"
    assert stacked.areas() == [100, 100, 48]
    assert all(map(np.array_equal, stacked[1:], [B, C]))


def test_more_masks_than_a_byte_counts_need_a_second_layer() -> None:
    pixels = [rectangle(i // 30, i % 30, i // 30 + 1, i % 30 + 1) for i in range(300)]
    stacked = MaskLayers.stacked(pixels, SHAPE)
    assert len(stacked.layers) == 2
    assert equal(stacked, pixels)


def test_no_masks_are_an_empty_sequence() -> None:
    empty = MaskLayers.stacked([], SHAPE)
    assert len(empty) == 0
    assert empty.painted().shape == SHAPE
    assert not empty.at_least(1)
    assert equal(empty.with_mask(A), [A])


def test_layers_are_kept_and_lists_are_stacked() -> None:
    stacked = MaskLayers.stacked([A], SHAPE)
    assert MaskLayers.of(stacked, SHAPE) is stacked
    assert equal(MaskLayers.of([A, B], SHAPE), [A, B])


def test_small_masks_are_dropped_and_large_ones_come_first() -> None:
    stacked = MaskLayers.stacked([C, A, B], SHAPE)
    assert equal(stacked.at_least(48), [A, B, C])
    assert equal(stacked.at_least(49), [A, B])
    assert equal(stacked.at_least(1, at_most=1), [A])
    assert equal(MaskLayers.stacked([A, np.zeros(SHAPE, bool)], SHAPE).at_least(0), [A])


def test_cutting_takes_pixels_from_every_mask_and_leaves_the_source_alone() -> None:
    stacked = MaskLayers.stacked([A, B, C], SHAPE)
    hole = rectangle(0, 0, 8, 30)
    assert equal(stacked.cut(hole), [A & ~hole, B & ~hole, C])
    assert equal(stacked, [A, B, C])


def test_a_mask_is_added_at_the_end_wherever_it_lies() -> None:
    stacked = MaskLayers.stacked([A, B], SHAPE)
    assert equal(stacked.with_mask(C), [A, B, C])
    over_both = rectangle(0, 0, 20, 30)
    assert equal(stacked.with_mask(over_both), [A, B, over_both])
    assert equal(stacked, [A, B])


def test_a_dropped_label_does_not_mark_an_added_mask() -> None:
    """`at_least` drops a mask but leaves its pixels in the layer."""
    kept = MaskLayers.stacked([A, C], SHAPE).at_least(50)
    small = rectangle(18, 0, 19, 4)
    assert equal(kept.with_mask(small), [A, small])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_later_masks_are_painted_over_earlier_ones(order: tuple[int, ...]) -> None:
    masks = [(A, B, C)[i] for i in order]
    expected = np.zeros(SHAPE, np.uint8)
    for rank, mask in enumerate(masks, start=1):
        expected[mask] = rank
    np.testing.assert_array_equal(MaskLayers.stacked(masks, SHAPE).painted(), expected)


def test_more_masks_than_a_byte_counts_cannot_be_painted() -> None:
    pixels = [rectangle(i // 30, i % 30, i // 30 + 1, i % 30 + 1) for i in range(256)]
    with pytest.raises(ValueError, match="at most 255 masks fit"):
        MaskLayers.stacked(pixels, SHAPE).painted()
