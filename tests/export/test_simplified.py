"""onnxsim finds nothing left to simplify in an exported graph."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxsim
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

from glesam_export.simplify import simplify

LEFT_ALONE = ["fuse_qkv", "fuse_matmul_add_bias_into_gemm", "fuse_matmul_add_bias_into_gemm_batched"]
"""Layers that onnxsim makes of others: int8 knows the products by their names, and their sums stay float.
Every engine joins them by itself."""
CHAINS = """
<ir_version: 10, opset_import: ["" : 18]>
chains (float[n,p] x, float[1,4,2] y) => (float[n,p,1,1] a, float[2,2,2] b, float[4,1,2] c, float[n,1,p] d) {
  last = Constant <value = int64[1] {2}> ()
  end = Constant <value = int64[1] {3}> ()
  first = Constant <value = int64[1] {0}> ()
  one = Constant <value = int64[1] {1}> ()
  cube = Constant <value = int64[3] {2,2,2}> ()
  x1 = Unsqueeze (x, last)
  a = Unsqueeze (x1, end)
  y1 = Squeeze (y, first)
  b = Reshape (y1, cube)
  y2 = Transpose <perm = [1,0,2]> (y)
  y3 = Transpose <perm = [1,2,0]> (y2)
  c = Transpose <perm = [2,0,1]> (y3)
  d = Unsqueeze (x, one)
}
"""


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def simplified(model: onnx.ModelProto, folds_constants: bool = True) -> Counter[str]:
    """Returns onnxsim's number of nodes of each kind."""
    answer, holds = onnxsim.simplify(
        model, skipped_optimizers=LEFT_ALONE, skip_constant_folding=not folds_constants
    )
    assert holds
    return kinds(answer)


def test_nothing_is_left_to_simplify_in_a_float_graph(onnx_graph: onnx.ModelProto) -> None:
    assert simplified(onnx_graph) == kinds(onnx_graph)


@pytest.mark.parametrize("name", ["image_encoder", "gle", "mask_decoder"])
def test_nothing_is_left_to_simplify_in_an_int8_graph(int8_bundle: Path, name: str) -> None:
    """But its int8 weights, which folding would turn into float ones."""
    graph = onnx.load(int8_bundle / f"{name}.onnx")
    assert simplified(graph, folds_constants=False) == kinds(graph)


def test_chains_become_one_step_and_compute_the_same() -> None:
    model = parser.parse_model(CHAINS)
    rng = np.random.default_rng(0)
    feeds = {"x": rng.random((2, 3), np.float32), "y": rng.random((1, 4, 2), np.float32)}
    expected = ReferenceEvaluator(model).run(None, feeds)
    shorter = ir.to_proto(simplify(ir.from_proto(onnx.shape_inference.infer_shapes(model))))
    onnx.checker.check_model(shorter, full_check=True)
    assert kinds(shorter) == {"Unsqueeze": 2, "Reshape": 1, "Transpose": 1}
    for a, b in zip(ReferenceEvaluator(shorter).run(None, feeds), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_value_that_others_read_keeps_its_step() -> None:
    text = CHAINS.replace("float[n,p,1,1] a,", "float[n,p,1,1] a, float[n,p,1] x1,")
    shorter = ir.to_proto(
        simplify(ir.from_proto(onnx.shape_inference.infer_shapes(parser.parse_model(text))))
    )
    assert kinds(shorter)["Unsqueeze"] == 3
