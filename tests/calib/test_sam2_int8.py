"""glesam-quantize on the float bundle of a tiny SAM 2: Hiera's policy, three outputs, squashed pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import NodeProto

from glesam_calib import CalibrationTable, Quantization, calibrate, empty_table
from glesam_calib.quantization.layers import FLOAT_UNMEASURED, layers_of
from glesam_calib.quantization.sensitivity import sensitivities
from glesam_runtime import Bundle
from glesam_runtime.bundle.spec import HIGH_RES
from glesam_runtime.engines import open_engines
from glesam_runtime.preprocess import model_input
from glesam_runtime.tools.measure import ImageSets
from glesam_runtime.tools.parity import compare

IN_FLOAT = ("image_encoder.patches/Conv", "image_encoder.stages.0.0.mlp.proj_in/MatMul",
            "image_encoder.stages.2.0.shortcut/MatMul", "image_encoder.pyramid/MatMul_3")  # fmt: skip
IN_INT8 = ("image_encoder.stages.1.0/MatMul", "image_encoder.stages.2.2.proj/MatMul",
           "image_encoder.stages.3.1.mlp.proj_out/MatMul")  # fmt: skip


@pytest.fixture(scope="module")
def encoder(sam2_int8_bundle: Path) -> onnx.ModelProto:
    return onnx.load(sam2_int8_bundle / "image_encoder.onnx")


def test_the_manifest_says_what_is_int8(sam2_int8_bundle: Path) -> None:
    manifest = Bundle.open(sam2_int8_bundle).manifest
    assert (manifest.family, manifest.resize, manifest.precision) == ("sam2", "squash", "int8+fp16")
    listed = json.loads((sam2_int8_bundle / "bundle.json").read_text())["graphs"]["image_encoder"]["int8"]
    assert set(IN_INT8) <= set(listed["layers"])
    assert set(IN_FLOAT) <= set(listed["left"])
    assert manifest.graphs["mask_decoder"].precision == "fp16"
    assert "stability" in manifest.graphs["mask_decoder"].fp32_islands


def test_every_weight_has_a_scale_for_each_output_and_products_of_activations_none(
    encoder: onnx.ModelProto,
) -> None:
    """The products of attention read no tensor that was quantized."""
    constants = {tensor.name: tensor for tensor in encoder.graph.initializer}
    producers = {name: node for node in encoder.graph.node for name in node.output}
    products = [node for node in encoder.graph.node if node.op_type == "MatMul"]

    def dequantized(node: NodeProto) -> list[NodeProto]:
        """The DequantizeLinear nodes of each input, behind a cast where fp16 stands between."""
        found = []
        for name in node.input:
            source = producers.get(name)
            while source is not None and source.op_type == "Cast":
                source = producers.get(source.input[0])
            found += [source] if source is not None and source.op_type == "DequantizeLinear" else []
        return found

    quantized = [node for node in products if dequantized(node)]
    assert len(quantized) > 15
    for node in quantized:
        activation, weight = dequantized(node)
        outputs = constants[weight.input[0]].dims[1]
        assert constants[weight.input[0]].data_type == onnx.TensorProto.INT8
        assert list(constants[weight.input[1]].dims) == [outputs]
        assert list(constants[activation.input[1]].dims) == []
    attention = [node for node in products if node.name.split("/")[1] in ("MatMul_1", "MatMul_2")]
    within_blocks = [node for node in attention if ".stages." in node.name]
    assert len(within_blocks) == 2 * 8
    assert not any(dequantized(node) for node in within_blocks)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_backend_computes_its_three_outputs(
    sam2_int8_bundle: Path, sam2_bundle: Path, backend: str, image_sets: ImageSets
) -> None:
    answers = []
    for path in (sam2_int8_bundle, sam2_bundle):
        bundle = Bundle.open(path)
        image, _ = model_input(image_sets["clean"][0], bundle.manifest)
        answers.append(open_engines(backend, bundle)["image_encoder"]({"image": image}))
    for name in ("image_embeddings", *HIGH_RES):
        error = compare(*(answer[name] for answer in answers)).relative
        assert 1e-5 < error < 0.05, name
    fine, coarse = (compare(*(answer[name] for answer in answers)).relative for name in HIGH_RES)
    assert fine < coarse, "the first stage is in float"


def test_statistics_are_of_squashed_pictures(sam2_bundle: Path, image_sets: ImageSets) -> None:
    bundle = Bundle.open(sam2_bundle)
    picture = image_sets["clean"][0][:120]  # no square: padding would show
    statistics = observed(bundle, [picture]).tensors["image_encoder"]["image"]
    image, _ = model_input(picture, bundle.manifest)
    np.testing.assert_allclose(statistics.channel_mean, image.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def observed(bundle: Bundle, pictures: list[np.ndarray]) -> CalibrationTable:
    table = empty_table(bundle)
    calibrate(bundle, [(str(i), picture) for i, picture in enumerate(pictures)], table)
    return table


def test_a_layers_cost_is_its_largest_error_of_any_output(sam2_bundle: Path, image_sets: ImageSets) -> None:
    """The first stage's layers cost little of the embedding, and more of the finest features."""
    bundle = Bundle.open(sam2_bundle)
    picture = image_sets["clean"][0]
    table = observed(bundle, [picture])
    path, spec = bundle.graph_path("image_encoder"), bundle.manifest.graphs["image_encoder"].spec
    image, _ = model_input(picture, bundle.manifest)
    layers = ("image_encoder.stages.0.0.mlp.proj_out/MatMul", "image_encoder.pyramid/MatMul_2")
    costs = dict(
        sensitivities(path, spec, table.tensors["image_encoder"], layers, [{"image": image}], Quantization())
    )
    assert all(cost > 1e-4 for cost in costs.values()), costs


def test_every_pattern_of_hiera_fits_a_layer(sam2_bundle: Path) -> None:
    """The names come from the exporter's modules: renamed ones would silently become int8."""
    from fnmatch import fnmatchcase

    names = [layer.name for layer in layers_of(ir.load(sam2_bundle / "image_encoder.onnx").graph)]
    of_hiera = [p for p in FLOAT_UNMEASURED if any(part in p for part in ("patches", "stages", "pyramid"))]
    assert len(of_hiera) == 4
    for pattern in of_hiera:
        assert any(fnmatchcase(name, pattern) for name in names), pattern
