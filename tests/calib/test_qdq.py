"""Q/DQ pairs: where they are, what their scales are, and that they compute what they promise."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from small_graph import NAMES, constants, observed, relative_error, run, small_graph, tokens

from glesam_calib import Policy, Quantization
from glesam_calib.quantization.layers import layers_of
from glesam_calib.quantization.qdq import SMALLEST_SCALE, insert_qdq
from glesam_calib.quantization.quantize import quantize

PLAIN = Quantization(method="absmax", high_precision="fp32", smoothing=False, bias_correction=False)


@pytest.fixture
def model() -> ir.Model:
    return small_graph()


def test_every_chosen_layer_reads_int8_on_both_sides_and_nothing_else_does(model: ir.Model) -> None:
    done = quantize(model.graph, observed(model), PLAIN)
    assert done.layers == [name for name in NAMES if "conv_out" not in name]
    assert done.left == [NAMES[-1]]
    for node in model.graph:
        sources = [value.producer() for value in node.inputs[:2] if value is not None]
        restored = [source is not None and source.op_type == "DequantizeLinear" for source in sources]
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            assert restored == ([True] * 2 if node.name in done.layers else [False] * len(sources)), node.name


def test_queries_keys_and_values_share_one_pair(model: ir.Model) -> None:
    quantize(model.graph, observed(model), PLAIN)
    of_norm = [
        node for node in model.graph if node.op_type == "QuantizeLinear" and node.inputs[0].name == "normed"
    ]
    assert len(of_norm) == 1


def test_zero_points_are_zero_and_weights_have_a_scale_per_output_channel(model: ir.Model) -> None:
    weights = dict(constants(model))
    quantize(model.graph, observed(model), PLAIN)
    after = constants(model)
    assert all((array == 0).all() for name, array in after.items() if "zero_point" in name)
    for name, axis in (("to_q", 1), ("conv", 0), ("grouped", 0)):
        others = tuple(i for i in range(weights[name].ndim) if i != axis)
        largest = np.abs(weights[name]).max(others)
        np.testing.assert_allclose(after[f"{name}_scale"], largest / 127, rtol=1e-6)
        steps = after[f"{name}_int8"]
        assert steps.dtype == np.int8
        assert np.abs(steps).max(others).tolist() == [127] * len(largest)


def test_it_computes_what_rounding_by_hand_does(model: ir.Model) -> None:
    """One layer, against numpy in float64."""
    statistics = observed(model)
    x = tokens(3)
    normed, weight = run(model, x, "normed")[1], constants(model)["to_v"].astype(np.float64)
    expected_v = run(model, x, "v")[1]
    quantize(model.graph, statistics, PLAIN)
    step = statistics["normed"].absmax / 127
    steps = np.abs(weight).max(0) / 127
    by_hand = (np.round(normed / step) * step) @ (np.round(weight / steps) * steps)
    actual = run(model, x, "v")[1]
    np.testing.assert_allclose(actual, by_hand, atol=1e-4)
    assert 1e-4 < relative_error(actual, expected_v) < 0.05


def test_the_answer_stays_close(model: ir.Model) -> None:
    expected, statistics = run(model, tokens(99))[0], observed(model)
    quantize(model.graph, statistics, PLAIN)
    assert relative_error(run(model, tokens(99))[0], expected) < 0.1


def test_scales_are_rounded_to_fp16_before_weights_are_divided_by_them(model: ir.Model) -> None:
    """Otherwise fp16's rounding of the scale would be a further error of the restored weights."""
    weight = constants(model)["to_q"]
    layers = [layer for layer in layers_of(model.graph) if layer.name == NAMES[0]]
    insert_qdq(model.graph, layers, {"normed": 3.3}, np.float16)
    after = constants(model)
    for name in ("normed_scale", "to_q_scale"):
        assert (after[name].astype(np.float16).astype(np.float32) == after[name]).all()
    scale = after["to_q_scale"]
    assert np.abs(after["to_q_int8"] * scale - weight).max() <= scale.max() * 0.51


@pytest.mark.parametrize("scale_type", [np.float16, np.float32])
def test_a_tensor_of_zeros_has_a_scale(model: ir.Model, scale_type: type[np.floating]) -> None:
    layers = [layer for layer in layers_of(model.graph) if layer.name == NAMES[0]]
    layers[0].weight.const_value = ir.Tensor(np.zeros((16, 16), np.float32), name="to_q")
    insert_qdq(model.graph, layers, {"normed": 0.0}, scale_type)
    after = constants(model)
    assert after["normed_scale"] == SMALLEST_SCALE
    assert (after["to_q_scale"].astype(scale_type) > 0).all()
    assert np.isfinite(run(model, tokens(0))[0]).all()


def test_a_layer_that_costs_more_than_the_tolerance_stays_in_float(model: ir.Model) -> None:
    errors = {NAMES[0]: 0.1, NAMES[1]: 0.001}
    done = quantize(model.graph, observed(model), PLAIN, errors)
    assert NAMES[0] in done.left
    assert NAMES[1] in done.layers


def test_nothing_chosen_changes_nothing(model: ir.Model) -> None:
    before = [node.op_type for node in model.graph]
    done = quantize(model.graph, observed(model), Quantization(policy=Policy(exclude=["*"])))
    assert done.layers == []
    assert [node.op_type for node in model.graph] == before
