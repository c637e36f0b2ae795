"""Automatic masks against the original implementation's helpers, which need torch but not torchvision."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from glesam_runtime import AutomaticOptions
from glesam_runtime.automatic.boxes import box_of, is_cut_off
from glesam_runtime.automatic.grid import crops_of, point_grid
from glesam_runtime.automatic.rle import rle_from_window
from glesam_runtime.automatic.stability import resize_and_rate
from glesam_runtime.postprocess import MaskResizer
from glesam_runtime.preprocess import longest_side

if TYPE_CHECKING:
    from segment_anything.modeling import Sam


@pytest.fixture(scope="module")
def amg(sam: Sam) -> ModuleType:
    """segment_anything.utils.amg; the `sam` fixture has made its package importable."""
    return importlib.import_module("segment_anything.utils.amg")


@pytest.mark.parametrize("per_side", [1, 2, 7, 32])
def test_points_are_sams(amg: ModuleType, per_side: int) -> None:
    np.testing.assert_allclose(point_grid(per_side), amg.build_point_grid(per_side), atol=1e-12)


def test_a_layers_points_are_sams(amg: ModuleType) -> None:
    options = AutomaticOptions(crop_n_layers=3, crop_n_points_downscale_factor=2)
    expected = [len(grid) for grid in amg.build_all_layer_point_grids(32, 3, 2)]
    assert [options.points_in_layer(layer) ** 2 for layer in range(4)] == expected


@pytest.mark.parametrize("size", [(480, 640), (683, 1024), (333, 97), (64, 64)])
def test_crops_are_sams(amg: ModuleType, size: tuple[int, int]) -> None:
    boxes, layers = amg.generate_crop_boxes(size, 3, 512 / 1500)
    crops = list(crops_of(size, 3, 512 / 1500))
    assert [list(crop.box) for crop in crops] == boxes
    assert [crop.layer for crop in crops] == layers


@pytest.mark.parametrize("seed", range(10))
def test_masks_stability_boxes_and_rle_are_sams(amg: ModuleType, sam: Sam, seed: int) -> None:
    size, input_size = (96, 128), (48, 64)
    low_res_mask = 4 * np.random.default_rng(seed).normal(size=(16, 16)).astype(np.float32)
    low_res_mask[10:] -= 20
    logits = sam.postprocess_masks(torch.from_numpy(low_res_mask)[None, None], input_size, size)[0]
    resizer = MaskResizer.for_geometry(longest_side(size, 64))
    mask, stability = resize_and_rate(resizer.window(low_res_mask, -1.0), 0.0, 1.0)
    assert stability == pytest.approx(amg.calculate_stability_score(logits, 0.0, 1.0).item(), abs=1e-3)
    # The two resizings round differently, so a pixel on the border may differ; RLE and box may not.
    rle = rle_from_window(mask.pixels, mask.top, mask.left, size)
    whole = np.zeros((1, *size), bool)
    height, width = mask.pixels.shape
    whole[0, mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    assert (whole != (logits > 0).numpy()).sum() <= 2
    (uncompressed,) = amg.mask_to_rle_pytorch(torch.from_numpy(whole))
    assert rle == amg.coco_encode_rle(uncompressed)
    x0, y0, x1, y1 = box_of(whole[0])
    assert [x0, y0, x1 - 1, y1 - 1] == amg.batched_mask_to_box(torch.from_numpy(whole))[0].tolist()


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_is_cut_off_where_sam_says_so(amg: ModuleType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (200, 300)
    crop_box = (0, 40, 160, 200) if seed % 2 else (100, 0, 300, 120)
    for _ in range(50):
        x = np.sort(rng.integers(crop_box[0], crop_box[2], 2))
        y = np.sort(rng.integers(crop_box[1], crop_box[3], 2))
        box = (int(x[0]), int(y[0]), int(x[1]) + 1, int(y[1]) + 1)
        in_crop = torch.tensor([box]) - torch.tensor([crop_box[0], crop_box[1]] * 2)
        expected = amg.is_box_near_crop_edge(in_crop, list(crop_box), [0, 0, size[1], size[0]])
        assert is_cut_off(box, crop_box, size) == bool(expected)
