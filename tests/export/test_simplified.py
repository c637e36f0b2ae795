"""onnxsim finds nothing left to simplify in an exported graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxsim
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator
from tiny_model import random_model

from glesam_calib.graph.precision import lower_precision
from glesam_export.graphs import graphs
from glesam_export.simplify import simplify
from glesam_export.to_onnx import onnx_from_graph

LEFT_ALONE = ["fuse_qkv", "fuse_matmul_add_bias_into_gemm", "fuse_matmul_add_bias_into_gemm_batched"]
"""Layers that onnxsim makes of others: int8 knows the products by their names, and their sums stay float.
Every engine joins them by itself."""
HALVES_OF_GELUS = {("sam", "mask_decoder"): {"Mul": 2}, ("sam2", "mask_decoder"): {"Mul": 2}}
"""Factors of 1/2 that onnxsim takes from GELUs into the next convolution: ONNX Runtime would no longer run
them as one operator."""
GRAPHS = [
    ("sam", "image_encoder"),
    ("sam", "gle"),
    ("sam", "mask_decoder"),
    ("nano", "image_encoder"),
    ("nano", "mask_decoder"),
    ("sam2", "image_encoder"),
    ("sam2", "mask_decoder"),
]
CHAINS = """
<ir_version: 10, opset_import: ["" : 18]>
chains (float[n,p] x, float[1,4,2] y, float[1,3,5] z) => (
  float[n,p,1,1] a, float[2,2,2] b, float[4,1,2] c, float[n,1,p] d, float[1,2,2] e, float[1,3,1] f,
  float[1,12,5] g, float[1,6,5] h, float[1,6,10] i, float[1,3,5] j
) {
  last = Constant <value = int64[1] {2}> ()
  end = Constant <value = int64[1] {3}> ()
  first = Constant <value = int64[1] {0}> ()
  one = Constant <value = int64[1] {1}> ()
  zero = Constant <value = int64[1] {0}> ()
  two = Constant <value = int64[1] {2}> ()
  cube = Constant <value = int64[3] {2,2,2}> ()
  x1 = Unsqueeze (x, last)
  a = Unsqueeze (x1, end)
  y1 = Squeeze (y, first)
  b = Reshape (y1, cube)
  y2 = Transpose <perm = [1,0,2]> (y)
  y3 = Transpose <perm = [1,2,0]> (y2)
  c = Transpose <perm = [2,0,1]> (y3)
  d = Unsqueeze (x, one)
  s1 = Slice (z, zero, two, one, one)
  e = Slice (s1, zero, two, last, one)
  twice = Slice (z, zero, two, last, one)
  f = Slice (twice, one, two, last, one)
  zzz = Concat <axis = 1> (z, z, z)
  g = Concat <axis = 1> (zzz, z)
  h = Concat <axis = 1> (z, z)
  i = Concat <axis = 2> (h, h)
  n1 = Neg (z)
  n2 = Squeeze (n1, zero)
  n3 = Unsqueeze (n2, zero)
  j = Abs (n3)
}
"""


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.fixture(scope="module")
def exported(sam2_bundle: Path, fp32_graphs: Callable[..., Path]) -> dict[tuple[str, str], onnx.ModelProto]:
    """The graphs of a model like SAM's, large enough for windows and two tokens, of nano and of SAM 2."""
    made = {
        ("sam", graph.name): ir.to_proto(onnx_from_graph(graph))
        for graph in graphs(random_model("sd15", image_size=128))
        if ("sam", graph.name) in GRAPHS
    }
    nano = fp32_graphs("nano", *(name for kind, name in GRAPHS if kind == "nano"))
    folders = {"nano": nano, "sam2": sam2_bundle}
    return made | {
        (kind, name): onnx.load(folders[kind] / f"{name}.onnx") for kind, name in GRAPHS if kind in folders
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("graph", GRAPHS, ids="-".join)
def test_nothing_is_left_to_simplify(
    exported: dict[tuple[str, str], onnx.ModelProto], graph: tuple[str, str], precision: str
) -> None:
    model = ir.from_proto(exported[graph])
    if precision == "fp16":
        lower_precision(model, precision)
    gone, new = simplified_by_onnxsim(ir.to_proto(model))
    assert (gone, new) == (HALVES_OF_GELUS.get(graph, {}), {})


@pytest.mark.parametrize("name", ["image_encoder", "gle", "mask_decoder"])
def test_nothing_is_left_in_the_shipped_models_graphs(nano_fp32: Path, name: str) -> None:
    assert simplified_by_onnxsim(onnx.load(nano_fp32 / f"{name}.onnx")) == ({}, {})


def simplified_by_onnxsim(model: onnx.ModelProto) -> tuple[Counter[str], Counter[str]]:
    """How many nodes of each kind onnxsim takes away, and adds."""
    proto = onnx.shape_inference.infer_shapes(model)
    simpler, holds = onnxsim.simplify(proto, skipped_optimizers=LEFT_ALONE)
    assert holds
    return kinds(proto) - kinds(simpler), kinds(simpler) - kinds(proto)


def test_chains_become_one_step_and_compute_the_same() -> None:
    model = parser.parse_model(CHAINS)
    rng = np.random.default_rng(0)
    feeds = {"x": rng.random((2, 3), np.float32), "y": rng.random((1, 4, 2), np.float32)}
    feeds["z"] = rng.random((1, 3, 5), np.float32)
    expected = ReferenceEvaluator(model).run(None, feeds)
    shorter = ir.to_proto(simplify(ir.from_proto(onnx.shape_inference.infer_shapes(model))))
    onnx.checker.check_model(shorter, full_check=True)
    assert kinds(shorter) == {
        "Unsqueeze": 2,
        "Reshape": 1,
        "Transpose": 1,
        "Slice": 3,
        "Concat": 3,
        "Neg": 1,
        "Abs": 1,
    }
    for a, b in zip(ReferenceEvaluator(shorter).run(None, feeds), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_value_that_others_read_keeps_its_step() -> None:
    text = CHAINS.replace("float[n,p,1,1] a,", "float[n,p,1,1] a, float[n,p,1] x1,")
    shorter = ir.to_proto(
        simplify(ir.from_proto(onnx.shape_inference.infer_shapes(parser.parse_model(text))))
    )
    assert kinds(shorter)["Unsqueeze"] == 3
