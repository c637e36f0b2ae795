"""The figures that decide whether a bundle is handed over."""

from __future__ import annotations

import numpy as np
import pytest

from glesam_runtime import ParityError
from glesam_runtime.preprocess import Geometry
from glesam_runtime.prompts import encode_prompts
from glesam_runtime.tools.measure import fixed_prompts
from glesam_runtime.tools.parity import (
    MIN_IOU,
    GraphParity,
    MaskParity,
    Parity,
    check,
    compare,
    mask_iou,
    table,
)

GOOD = GraphParity(1e-5, 1e-6, 0.9999)


def parity(graph: GraphParity = GOOD, mean: float = 1.0) -> Parity:
    graphs = {"image_encoder": GOOD, "gle": graph, "mask_decoder": GOOD}
    return Parity(graphs, {"clean": MaskParity(1.0, 1.0, 12), "lq3": MaskParity(mean, 0.5, 12)})


def test_the_defaults_are_those_of_the_design() -> None:
    assert MIN_IOU == {"fp32": 0.999, "fp16": 0.99, "bf16": 0.99, "int8": 0.97}


def test_a_mean_at_the_limit_passes_whatever_its_worst_mask() -> None:
    check(parity(mean=0.99), 0.99)


@pytest.mark.parametrize("mean", [0.98999, 0.0, float("nan")])
def test_a_mean_below_the_limit_names_its_set_and_both_numbers(mean: float) -> None:
    with pytest.raises(ParityError, match=rf"masks of lq3: .* {mean:.4f}, expected at least 0.99"):
        check(parity(mean=mean), 0.99)


def test_a_bundle_may_be_measured_against_another_one() -> None:
    with pytest.raises(ParityError, match=r"masks of lq3: mean IoU against the float bundle 0\.5000"):
        check(parity(mean=0.5), 0.97, reference="the float bundle")


@pytest.mark.parametrize("field", [0, 1, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_graph_that_gives_nan_or_infinity_is_named(field: int, value: float) -> None:
    figures = [1e-5, 1e-6, 0.9999]
    figures[field] = value
    with pytest.raises(ParityError, match=r"gle: .* NaN or infinite"):
        check(parity(GraphParity(*figures)), 0.0)


def test_the_comparison_measures_the_whole_tensor() -> None:
    expected = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)
    actual = np.array([[3.0, 0.0], [0.5, 4.0]], np.float32)
    result = compare(actual, expected)
    assert result.max_abs == 0.5
    assert result.relative == pytest.approx(0.1)
    assert result.cosine == pytest.approx(25 / (5 * np.hypot(5, 0.5)))


def test_the_comparison_is_done_in_float64() -> None:
    expected = np.full(4, 1000, np.float16)
    actual = expected + np.float16(1)
    assert compare(actual, expected).relative == pytest.approx(1e-3)


def test_zeros_agree_with_zeros_only() -> None:
    zeros = np.zeros(4, np.float32)
    assert compare(zeros, zeros) == GraphParity(0, 0, 1)
    assert compare(zeros + 1, zeros) == GraphParity(1, 2, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_survive_a_comparison_and_the_worst_of_many(value: float) -> None:
    actual = np.array([1, value], np.float32)
    with np.errstate(invalid="ignore"):
        bad = compare(actual, np.ones(2, np.float32))
    for worst in (GOOD.worst(bad), bad.worst(GOOD)):
        with pytest.raises(ParityError):
            check(parity(worst), 0.0)


def test_the_worst_of_two_takes_each_figures_worse() -> None:
    assert GraphParity(1, 2, 0.9).worst(GraphParity(2, 1, 0.8)) == GraphParity(2, 2, 0.8)


def test_mask_iou_counts_pixels_and_two_empty_masks_agree() -> None:
    a, b = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    assert mask_iou(a, b) == 1
    a[0, :3] = True
    assert mask_iou(a, b) == 0
    b[0, 1:] = True
    assert mask_iou(a, b) == 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 3), (600, 800)])
def test_the_fixed_prompts_fit_any_picture(shape: tuple[int, int]) -> None:
    prompts = fixed_prompts(np.zeros((*shape, 3), np.uint8))
    tensors = encode_prompts(prompts, Geometry(shape, shape, 1024))
    assert np.isfinite(tensors.point_coords).all()
    assert [prompt.box is None for prompt in prompts] == [False] * 3 + [True] * 3


def test_the_table_shows_every_graph_and_every_set() -> None:
    text = table(parity(mean=0.98765))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["gle"] == ["1.00e-05", "1.00e-06", "0.99990000"]
    assert {"image_encoder", "mask_decoder", "clean"} <= rows.keys()
    assert rows["lq3"] == ["0.98765", "0.50000", "12"]
