"""fp16 and bf16 bundles of a tiny SAM 2: 16 bits in Hiera's weights, fp32 where they break."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from test_precision import FLOAT, GRAPHS, HALF, load, manifest, types_of, upstream

HEAVY = ("Conv", "ConvTranspose", "MatMul", "Gemm")


@pytest.mark.parametrize("name", GRAPHS)
def test_every_weight_of_a_product_is_fp16_and_so_is_its_arithmetic(
    sam2_low_bundles: dict[str, Path], name: str
) -> None:
    model = load(sam2_low_bundles["fp16"], name)
    types = types_of(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    coordinates = {node.output[0] for node in upstream(model, ("Sin", "Cos"))}
    nodes = [n for n in model.graph.node if n.op_type in HEAVY and n.output[0] not in coordinates]
    weights = [name for node in nodes for name in node.input if name in stored]
    assert len(weights) > 20
    assert {types[name] for name in weights} == {HALF}
    assert {types[name] for node in nodes for name in [*node.input, *node.output] if name} == {HALF}
    elements = [
        sum(int(np.prod(t.dims)) for t in model.graph.initializer if types[t.name] == kind)
        for kind in (FLOAT, HALF)
    ]
    assert elements[0] < 0.02 * elements[1]


def test_norms_softmax_and_the_choice_of_mask_0_compute_in_fp32(sam2_low_bundles: dict[str, Path]) -> None:
    seen = set()
    for name in ("image_encoder", "mask_decoder"):
        model = load(sam2_low_bundles["fp16"], name)
        types = types_of(model)
        for node in model.graph.node:
            stable = node.name.startswith("stability/")
            if node.op_type in ("LayerNormalization", "Softmax") or stable:
                seen.add("stability" if stable else node.op_type)
                assert HALF not in {types[value] for value in [*node.input, *node.output]}, node.name
    assert seen == {"LayerNormalization", "Softmax", "stability"}


def test_the_three_outputs_of_the_encoder_are_float32(sam2_low_bundles: dict[str, Path]) -> None:
    for bundle in sam2_low_bundles.values():
        graph = onnx.load(bundle / "image_encoder.onnx").graph
        assert [value.type.tensor_type.elem_type for value in graph.output] == [FLOAT] * 3


def test_bf16_is_in_hieras_weights_and_the_decoder_is_fp32(sam2_low_bundles: dict[str, Path]) -> None:
    bundle = sam2_low_bundles["bf16"]
    model = onnx.load(bundle / "image_encoder.onnx")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    stored = {
        kinds[v] for node in model.graph.node if node.op_type in HEAVY for v in node.input if v in kinds
    }
    assert stored == {TensorProto.BFLOAT16}
    graphs = manifest(bundle)["graphs"]
    assert graphs["mask_decoder"]["precision"] == "fp32"
    assert {"LayerNormalization", "Softmax"} <= graphs["image_encoder"]["fp32_islands"].keys()
    parity = manifest(bundle)["parity"]["graphs"]
    assert 1e-5 < parity["image_encoder"]["relative"] < 0.05
