"""What each layer costs, of a GLE that reads a second sensor's image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from glesam_calib import Policy, Quantization, calibrate, empty_table
from glesam_calib.observation.pictures import CalibrationPictures, measure_sensitivity
from glesam_calib.quantization.layers import layers_of
from glesam_runtime import Bundle, read_image
from glesam_runtime.bundle.options import AUXILIARY_IMAGE
from glesam_runtime.bundle.writer import write_bundle
from glesam_runtime.image_io.auxiliary import brightness, preprocess_auxiliary
from glesam_runtime.tools.measure import picture_tensors


@pytest.fixture
def sensing(fp32_bundle: Path, tmp_path: Path) -> Bundle:
    """The fp32 bundle with a GLE that also adds the mean of an auxiliary image to the embedding."""
    root = Path(shutil.copytree(fp32_bundle, tmp_path / "sensing"))
    model = onnx.load(root / "gle.onnx")
    for node in model.graph.node:
        node.input[:] = ["seen" if name == "image_embeddings" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("ReduceMean", [AUXILIARY_IMAGE], ["mean"]))
    model.graph.node.insert(1, helper.make_node("Add", ["image_embeddings", "mean"], ["seen"]))
    model.graph.value_info.append(helper.make_tensor_value_info("seen", TensorProto.FLOAT, [1, 256, 4, 4]))
    model.graph.input.append(
        helper.make_tensor_value_info(AUXILIARY_IMAGE, TensorProto.FLOAT, [1, 1, 64, 64])
    )
    onnx.save(model, root / "gle.onnx")
    document = json.loads((root / "bundle.json").read_text())
    image = {"name": AUXILIARY_IMAGE, "dtype": "float32", "shape": [1, 1, 64, 64]}
    document["graphs"]["gle"]["inputs"].append(image)
    return write_bundle(root, document)


def test_a_layer_of_a_graph_that_takes_an_auxiliary_image_is_measured(sensing: Bundle, photos: Path) -> None:
    pictures, table = CalibrationPictures(photos, (0, 3), 4, print), empty_table(sensing)
    calibrate(sensing, pictures, table)
    names = [layer.name for layer in layers_of(ir.load(sensing.graph_path("gle")).graph)]
    one = next(name for name in names if Policy().takes(name))
    others = Policy(exclude=["image_encoder*", *(name for name in names if name != one)])
    measure_sensitivity(sensing, pictures, 1, table, Quantization(policy=others))
    assert 0 < table.sensitivity["gle"][one] < 1


def test_a_photographs_brightness_is_its_auxiliary_image(fp32_bundle: Path, photos: Path) -> None:
    manifest, picture = Bundle.open(fp32_bundle).manifest, read_image(photos / "coffee.jpg")
    tensors, geometry = picture_tensors(picture, manifest, with_auxiliary=True)
    expected = preprocess_auxiliary(brightness(picture), geometry)
    np.testing.assert_array_equal(tensors[AUXILIARY_IMAGE], expected)
    assert picture_tensors(picture, manifest, with_auxiliary=False)[0].keys() == {"image"}
