"""TensorRT 10.16.2 on Orin builds no fp16 scale of an fp32 tensor (issue 4832): --target orin has none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto
from small_graph import constants, observed, relative_error, run, small_graph, tokens
from typer.testing import CliRunner

from glesam_calib import Quantization
from glesam_calib.cli.quantize import app
from glesam_calib.graph.precision import QUANTIZED_ON_ORIN, lower_precision
from glesam_calib.quantization.quantize import quantize
from glesam_calib.quantization.targets import ANY
from glesam_runtime import Bundle
from glesam_runtime.cli.build import app as build_app

ORIN = "orin"

GRAPHS = ("image_encoder", "gle", "mask_decoder")
MOVES = {"Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat", "Pad", "Expand"}
"""Operators that an engine may join with a Q or DQ: they change no value, or its type alone."""


def mixed(model: onnx.ModelProto) -> list[str]:
    """Returns the Q and DQ with fp16 scales that stand beside an fp32 tensor, MOVES between them or not."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]}
    types |= {value.name: value.type.tensor_type.elem_type for value in graph.input}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}

    def before(name: str) -> Iterator[str]:
        yield name
        if name in makers and makers[name].op_type in MOVES:
            yield from before(makers[name].input[0])

    def after(name: str) -> Iterator[str]:
        yield name
        for node in graph.node:
            if name in node.input and node.op_type in MOVES:
                yield from after(node.output[0])

    found = []
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        is_q = node.op_type == "QuantizeLinear"
        if types[node.input[1]] != TensorProto.FLOAT16 or not (is_q or node.input[0] in makers):
            continue  # the latter: a constant weight, which the builder restores itself
        beside = before(node.input[0]) if is_q else after(node.output[0])
        if any(types[name] == TensorProto.FLOAT for name in beside):
            found.append(f"{node.op_type} {node.output[0]}")
    return found


def quantized(target: str) -> ir.Model:
    """Returns the small graph in int8 and fp16: Q, K and V read an fp32 LayerNorm."""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(small_graph())))  # with types
    quantize(model.graph, observed(model), Quantization(target=target, smoothing=False))
    islands = lower_precision(model, "fp16", for_orin=target == ORIN)
    assert (islands.get("int8") == QUANTIZED_ON_ORIN) == (target == ORIN)
    return model


def test_by_default_an_fp32_layer_norm_is_quantized_with_an_fp16_scale() -> None:
    """Without this the tests below would prove nothing."""
    assert "QuantizeLinear normed_int8" in mixed(ir.to_proto(quantized(ANY)))


def test_for_orin_scales_are_fp32_and_the_answer_is_as_close() -> None:
    model = quantized(ORIN)
    assert mixed(ir.to_proto(model)) == []
    scales = [array for name, array in constants(model).items() if name.endswith("_scale")]
    assert {array.dtype for array in scales} == {np.dtype(np.float32)}
    assert any((array.astype(np.float16).astype(np.float32) != array).any() for array in scales)
    expected = run(small_graph(), tokens(9))[0]
    errors = [relative_error(run(quantized(each), tokens(9))[0], expected) for each in (ANY, ORIN)]
    assert errors[1] < 1.1 * errors[0] < 0.1


@pytest.mark.parametrize("graph", GRAPHS)
def test_no_q_or_dq_of_a_bundle_reads_another_type_than_its_scale(int8_bundle: Path, graph: str) -> None:
    """That would be a form of opset 23, which most runtimes refuse."""
    model = onnx.load(int8_bundle / f"{graph}.onnx")
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert types[node.input[0]] == types[node.input[1]], node.name
        if node.op_type == "DequantizeLinear":
            assert types[node.output[0]] == types[node.input[1]], node.name


@pytest.fixture(scope="module")
def orin_bundle(fp32_bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by glesam-quantize --target orin."""
    out = tmp_path_factory.mktemp("orin") / "bundle"
    command = [str(fp32_bundle), "--target", "orin", "--out", str(out), "--images", str(photos)]
    command += ["--calib-images", str(photos), "--samples", "4", "--min-iou", "0.5", "--no-speed-gate"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return out


def test_a_bundle_for_orin_has_no_such_scale(orin_bundle: Path) -> None:
    manifest = Bundle.open(orin_bundle).manifest
    assert manifest.precision == "int8+fp16"
    for name in GRAPHS:
        assert mixed(onnx.load(orin_bundle / f"{name}.onnx")) == []
    assert manifest.graphs["gle"].fp32_islands["int8"] == QUANTIZED_ON_ORIN


def test_nor_have_the_shipped_models_graphs(nano_fp32: Path, nano_int8: Path, tmp_path: Path) -> None:
    """Without the target one would: the test knows the hazard when it sees it."""
    out = tmp_path / "orin"
    command = [str(nano_fp32), "--target", "orin", "--out", str(out), "--no-speed-gate"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = {
        folder: [each for name in GRAPHS for each in mixed(onnx.load(folder / f"{name}.onnx"))]
        for folder in (nano_int8, out)
    }
    assert found[nano_int8]
    assert found[out] == []


def test_its_engines_compute_in_int8_on_the_generation_of_orin(
    orin_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT for RTX builds for SM 8.6, Orin's neighbour, and not for its SM 8.7."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path))
    done = CliRunner().invoke(build_app, [str(orin_bundle), "--target", "sm86"])
    assert done.exit_code == 0, done.output
    assert [" int8" in line for line in done.stdout.splitlines()[:3]] == [True, True, False]


def test_an_unknown_target_is_refused(fp32_bundle: Path) -> None:
    done = CliRunner().invoke(app, [str(fp32_bundle), "--target", "thor"])
    assert done.exit_code == 2
    assert "target 'thor': expected one of any, onnxruntime, openvino, orin" in done.stderr
