"""What --target changes: unsigned steps, who reads them, and who refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper, parser
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from small_graph import NAMES, constants, observed, relative_error, run, small_graph, tokens

from glesam_calib import CalibrationError, Policy, Quantization, layer_times
from glesam_calib.layer_times import weighted
from glesam_calib.observation.threshold import mse
from glesam_calib.quantization import targets
from glesam_calib.quantization.layers import layers_of
from glesam_calib.quantization.qdq import insert_qdq, never_negative
from glesam_calib.quantization.quantize import quantize
from glesam_calib.quantization.targets import TARGETS, backend_for
from glesam_runtime.bundle.spec import GraphSpec
from glesam_runtime.errors import BackendError

ONNXRUNTIME = Quantization(method="absmax", high_precision="fp32", target="onnxruntime")
OPENVINO = Quantization(method="absmax", high_precision="fp32", target="openvino", bias_correction=False)


def test_for_openvino_what_is_never_negative_is_unsigned_with_twice_the_steps() -> None:
    model = small_graph()
    statistics = observed(model)
    quantize(model.graph, statistics, OPENVINO)
    after = constants(model)
    np.testing.assert_allclose(after["r1_scale"], statistics["r1"].absmax / 255, rtol=1e-6)
    np.testing.assert_allclose(after["grid_scale"], statistics["grid"].absmax / 127, rtol=1e-6)
    points = {
        node.inputs[0].name: node.inputs[2].name for node in model.graph if node.op_type == "QuantizeLinear"
    }
    assert points["r1"] == "uint8_zero_point"
    assert points["grid"] == "int8_zero_point"
    assert (after["uint8_zero_point"].dtype, after["int8_zero_point"].dtype) == (np.uint8, np.int8)


def test_the_threshold_of_an_unsigned_tensor_is_chosen_for_its_steps() -> None:
    model = small_graph()
    statistics = observed(model)
    quantize(model.graph, statistics, replace(OPENVINO, method="mse"))
    after = constants(model)
    np.testing.assert_allclose(after["r1_scale"], mse(statistics["r1"], 255) / 255, rtol=1e-6)
    np.testing.assert_allclose(after["grid_scale"], mse(statistics["grid"], 127) / 127, rtol=1e-6)
    assert mse(statistics["r1"], 255) != mse(statistics["r1"], 127)


def test_unsigned_steps_make_the_answer_better() -> None:
    expected = run(small_graph(), tokens(9))[0]
    errors = []
    for target in ("any", "openvino"):
        model, only = small_graph(), NAMES[5]
        layers = [layer for layer in layers_of(model.graph) if layer.name == only]
        amax = {"r1": observed(model)["r1"].absmax}
        insert_qdq(model.graph, layers, amax, np.float32, TARGETS[target])
        errors.append(relative_error(run(model, tokens(9))[0], expected))
    assert errors[1] < errors[0]


def test_for_onnxruntime_a_convolution_stands_between_pairs_of_unsigned_steps() -> None:
    """And everything behind reads what the pairs restore."""
    model = small_graph()
    statistics = observed(model)
    quantize(model.graph, statistics, ONNXRUNTIME)
    points = {}
    for node in model.graph:
        if node.op_type == "QuantizeLinear":
            point = node.inputs[2].const_value
            assert point is not None
            points[node.inputs[0].name] = point.numpy()
            assert [use.node for use in node.inputs[0].uses()] == [node]
    assert {name: int(point) for name, point in points.items()} == {
        **dict.fromkeys(("normed", "attended", "grid"), 128),
        "r1": 0,  # behind a Relu
        "c2": 128,  # a convolution's answer that a float layer reads
    }
    assert {point.dtype for point in points.values()} == {np.dtype(np.uint8)}
    expected = run(small_graph(), tokens(9))[0]
    assert relative_error(run(model, tokens(9))[0], expected) < 0.1


def test_no_step_of_what_a_clip_bounds_passes_the_bound() -> None:
    """Else ONNX Runtime keeps the Clip, and the convolution before it in float."""
    model = small_graph()
    amax = dict.fromkeys(("r1", "grid", "c2", "c1"), 6.0)
    layers = [layer for layer in layers_of(model.graph) if layer.name in NAMES[4:6]]
    insert_qdq(model.graph, layers, amax, np.float32, TARGETS["onnxruntime"])
    assert np.float32(255) * constants(model)["r1_scale"] <= np.float32(6)


def test_a_table_without_convolutions_answers_serves_every_target_but_onnxruntime() -> None:
    """Tables of earlier versions."""
    model = small_graph()
    statistics = {name: one for name, one in observed(model).items() if name != "c2"}
    with pytest.raises(CalibrationError, match="run glesam-calibrate again"):
        quantize(model.graph, statistics, ONNXRUNTIME)
    assert quantize(small_graph().graph, statistics, OPENVINO).layers


def test_targets_that_tensorrt_may_build_keep_to_int8() -> None:
    for target in set(TARGETS) - {"openvino", "onnxruntime"}:
        model = small_graph()
        quantize(model.graph, observed(model), Quantization(target=target))
        kinds = {np.dtype(array.dtype) for name, array in constants(model).items() if "zero_point" in name}
        assert kinds == {np.dtype(np.int8)}, target


def test_a_pool_reads_what_a_convolution_beside_it_reads() -> None:
    """nano's stem and the mean colours behind it: quantized once, and both in int8."""
    weight = numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "weight")
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weight"], ["y"], "stem/Conv", pads=[1, 1, 1, 1]),
            helper.make_node("AveragePool", ["x"], ["z"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Sigmoid", ["x"], ["s"], "other"),
        ],
        "pooled",
        [tensor("x", 1, [1, 3, 8, 8])],
        [tensor("y", 1, [1, 2, 8, 8]), tensor("z", 1, [1, 3, 4, 4]), tensor("s", 1, [1, 3, 8, 8])],
        [weight],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    for target, source in (("any", "x"), ("openvino", "x_dequantized")):
        model = ir.from_proto(proto)
        insert_qdq(model.graph, layers_of(model.graph), {"x": 1.0}, np.float32, TARGETS[target])
        readers = {node.name: node.inputs[0].name for node in model.graph if node.name}
        assert (readers["stem/Conv"], readers["pool"], readers["other"]) == ("x_dequantized", source, "x")


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Relu (x)", True),
        ("low = Constant <value_float = 0.0> () y = Clip (x, low)", True),
        ("y = Clip (x)", False),
        ("r = Relu (x) y = Transpose <perm = [1, 0]> (r)", True),
        ("r = Relu (x) y = Neg (r)", False),
        ("y = Tanh (x)", False),
    ],
)
def test_only_an_operator_that_says_so_makes_a_tensor_never_negative(nodes: str, expected: bool) -> None:
    text = f'<ir_version: 9, opset_import: ["" : 19]> g (float[2,2] x) => (float[2,2] y) {{ {nodes} }}'
    model = ir.from_proto(parser.parse_model(text))
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    assert never_negative(model.graph.outputs[0]) is expected
    assert not never_negative(model.graph.inputs[0])


def timed(monkeypatch: pytest.MonkeyPatch, *names: str, policy: Policy) -> list[str]:
    """Which layers of the small graph are timed, where these are measured; no engine is opened."""
    opened: list[Quantization] = []

    @contextmanager
    def engine(*arguments: Any) -> Iterator[None]:  # noqa: ANN401
        opened.append(arguments[3])
        yield

    monkeypatch.setattr(layer_times, "_int8_engine", engine)
    monkeypatch.setattr(layer_times, "milliseconds", lambda *_: [2.0, 3.0])
    options, errors = replace(OPENVINO, policy=policy), dict.fromkeys(names, 0.1)
    spec = GraphSpec("gle", (), ())
    saved = layer_times.saved_by_layers(Path("gle.onnx"), spec, {}, errors, options, {})
    assert len(opened) == (1 + len(saved) if saved else 0)
    assert set(saved.values()) <= {1.0}
    return list(saved)


def test_only_layers_that_the_search_decides_about_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = NAMES[3:6]
    assert timed(monkeypatch, *names, policy=Policy()) == list(names)
    chosen = Policy(exclude=[names[0]], include=[names[1]])
    assert timed(monkeypatch, *names, policy=chosen) == [names[2]]
    assert timed(monkeypatch, *names, policy=Policy(exclude=["*"])) == []


def test_a_targets_backend_that_is_missing_is_an_error_unless_no_gate_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [backend_for(target, True) for target in ("any", "openvino")] == ["auto", "openvino"]
    monkeypatch.setattr(targets, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"openvino is not installed.*pip install .*--no-speed-gate"):
        backend_for("openvino", True)
    assert backend_for("openvino", False) == "auto"


def test_what_a_layer_costs_is_weighed_by_what_it_saves() -> None:
    """e / sqrt(t / mean t): four times the saving allows twice the error; an unknown saving is the mean."""
    saved = {"gle": {"a": 4.0, "b": 1.0, "c": -1.0, "d": 3.0}}
    errors = {"gle": {"a": 0.2, "b": 0.1, "c": 0.1, "unknown": 0.1}}
    actual = weighted(errors, saved)["gle"]
    assert actual["a"] == pytest.approx(actual["b"])
    assert actual["unknown"] == pytest.approx(0.1)
    assert actual["c"] == pytest.approx(0.1 / 0.1**0.5)
