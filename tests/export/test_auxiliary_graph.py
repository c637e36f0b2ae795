"""A GLE with a second sensor as a graph: what PyTorch computes with it, and without it what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from tiny_model import random_model
from typer.testing import CliRunner

from glesam.model import GleSam
from glesam.reference import reference_predictor
from glesam_calib.quantization.layers import Policy, layers_of
from glesam_export.folds import fold_all
from glesam_export.rewrites.static_gle import static_gle
from glesam_runtime import Bundle, ImageError, Predictor
from glesam_runtime.bundle.graph_rules import FLOAT_OPERATORS
from glesam_runtime.cli.run import app
from glesam_runtime.engines import open_engines
from glesam_runtime.tools.triton import write_triton
from glesam_runtime.tools.verify import verify

BOX = (5, 5, 40, 40)


def with_sensor(seed: int = 0, **changes: object) -> GleSam:
    """An encoder of the auxiliary image as training leaves it, and a late timestep, where it matters."""
    model = random_model("sd21", seed, auxiliary=True, timestep=200, **changes)
    with torch.no_grad():
        model.gle.auxiliary.last.weight.normal_(std=0.5)
    return model


@pytest.fixture(scope="module")
def model() -> GleSam:
    """Read only."""
    return with_sensor()


@pytest.fixture(scope="module")
def thermal() -> np.ndarray:
    """A warm body, 16 bits."""
    image = np.full((48, 64), 9_000, np.uint16)
    image[10:40, 20:50] = 50_000
    return image


@torch.no_grad()
@pytest.mark.parametrize("adaptive", [False, True])
def test_every_fold_is_exact_with_the_image_and_without(adaptive: bool) -> None:
    gle = with_sensor(adaptive=adaptive).gle.double()
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(2, 256, 4, 8, dtype=torch.float64, generator=generator)
    image = torch.rand(2, 1, 64, 128, dtype=torch.float64, generator=generator)
    folded, _ = fold_all(gle)
    for static in (static_gle(gle), folded):
        for second in (image, None):
            answer = static(z, second)
            enhanced = answer[0] if adaptive else answer
            torch.testing.assert_close(enhanced, gle(z, None, second), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(gle(z, None, image), gle(z))


def test_the_graph_has_allowed_operators_and_its_encoder_stays_in_float(fp16_export: Path) -> None:
    import onnx_ir as ir

    graph = onnx.load(fp16_export / "gle.onnx").graph
    assert {node.op_type for node in graph.node} <= FLOAT_OPERATORS
    assert [value.name for value in graph.input] == ["image_embeddings", "auxiliary_image"]
    layers = layers_of(ir.load(fp16_export / "gle.onnx").graph)
    encoder = [layer.name for layer in layers if ".auxiliary." in layer.name]
    assert len(encoder) == 5
    assert not {layer.name for layer in Policy().choose(layers)} & set(encoder)


def test_a_picture_with_its_second_sensor_gives_pytorchs_masks(
    model: GleSam, fp16_export: Path, picture: np.ndarray, thermal: np.ndarray
) -> None:
    expected = reference_predictor(model)
    with Predictor.from_bundle(fp16_export) as actual:
        logits = {}
        for name, second in (("none", None), ("zeros", thermal * 0), ("thermal", thermal)):
            for predictor in (expected, actual):
                predictor.set_image(picture, auxiliary=second)
            logits[name] = actual.predict(box=BOX).low_res_masks
            reference = expected.predict(box=BOX).low_res_masks
            np.testing.assert_allclose(logits[name], reference, atol=2e-2 * np.abs(reference).max())
    np.testing.assert_array_equal(logits["none"], logits["zeros"])
    assert np.abs(logits["thermal"] - logits["none"]).max() > 1e-3


def test_8_and_16_bits_are_the_same_image(fp16_export: Path, picture: np.ndarray) -> None:
    small = np.random.default_rng(1).integers(0, 256, (48, 64), np.uint8)
    with Predictor.from_bundle(fp16_export) as predictor:
        predictor.set_image(picture, auxiliary=small)
        first = predictor.predict(box=BOX).low_res_masks
        predictor.set_image(picture, auxiliary=small.astype(np.uint16) * 257)
        np.testing.assert_allclose(predictor.predict(box=BOX).low_res_masks, first, rtol=1e-4, atol=1e-4)


def test_parity_and_golden_vectors_are_measured_with_an_auxiliary_image(fp16_export: Path) -> None:
    opened = Bundle.open(fp16_export)
    with np.load(fp16_export / "golden" / "0.npz") as golden:
        assert golden["auxiliary_image"].shape == (1, 1, 64, 64)
        assert golden["auxiliary_image"].max() > 0.5
    parity = verify(opened, open_engines("onnxruntime", opened))
    assert parity.graphs["gle"].relative < 1e-2
    assert min(masks.mean for masks in parity.mask_iou.values()) > 0.98


def test_triton_takes_the_image(fp16_export: Path, tmp_path: Path) -> None:
    write_triton(Bundle.open(fp16_export), tmp_path / "triton")
    for name in ("glesam", "glesam_gle"):
        config = (tmp_path / "triton" / name / "config.pbtxt").read_text()
        assert 'name: "auxiliary_image" data_type: TYPE_FP32 dims: [ 1, 1, 64, 64 ]' in config


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (np.zeros((48, 63), np.uint8), r"found uint8 \[48, 63\]"),
        (np.zeros((48, 64), np.float32), "found float32"),
        (np.zeros((48, 64, 3), np.uint8), r"found uint8 \[48, 64, 3\]"),
        ("thermal.png", "found str"),
    ],
)
def test_an_image_that_does_not_fit_is_refused_and_the_one_before_stays(
    fp16_export: Path, picture: np.ndarray, thermal: np.ndarray, second: object, found: str
) -> None:
    with Predictor.from_bundle(fp16_export) as predictor:
        predictor.set_image(picture, auxiliary=thermal)
        before = predictor.predict(box=BOX).low_res_masks
        with pytest.raises(ImageError, match=rf"expected uint8 or uint16 of the picture's size .*{found}"):
            predictor.set_image(picture, auxiliary=second)  # type: ignore[arg-type]
        np.testing.assert_array_equal(predictor.predict(box=BOX).low_res_masks, before)


def test_a_bundle_without_the_input_and_plain_sam_refuse_an_image(
    fp16_export: Path, picture: np.ndarray, thermal: np.ndarray
) -> None:
    nano, plain = Predictor.from_bundle(), Predictor.from_bundle(fp16_export, enhance=False)
    with pytest.raises(ImageError, match="the GLE of model 'nano' has no such input; leave it out"):
        nano.set_image(picture, auxiliary=thermal)
    with pytest.raises(ImageError, match="GLE is off; leave it out"):
        plain.set_image(picture, auxiliary=thermal)


def test_the_command_takes_a_grey_file_for_one_picture(
    fp16_export: Path, picture: np.ndarray, thermal: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(picture).save(tmp_path / "photo.png")
    Image.fromarray(thermal).save(tmp_path / "thermal.png")
    Image.fromarray(thermal[:40]).save(tmp_path / "small.png")

    def run(*arguments: str) -> tuple[int, str]:
        common = ["--bundle", str(fp16_export), "--out", str(tmp_path / "out"), "--box", "5", "5", "40", "40"]
        result = CliRunner().invoke(app, [str(tmp_path / "photo.png"), *arguments, *common])
        return result.exit_code, result.output

    code, output = run("--auxiliary", str(tmp_path / "thermal.png"), "--json")
    document = json.loads(output[output.index("{") : output.rindex("}") + 1])
    with Predictor.from_bundle(fp16_export) as predictor:
        predictor.set_image(picture, auxiliary=thermal)
        score = predictor.predict(box=BOX).iou_predictions[0]
    assert code == 0
    assert document["images"][0]["masks"][0]["predicted_iou"] == pytest.approx(float(score), abs=1e-5)
    code, output = run("--auxiliary", str(tmp_path / "small.png"))
    assert code == 2
    assert "expected uint8 or uint16 of the picture's size [48, 64], found uint16 [40, 64]" in output
    code, output = run(str(tmp_path / "small.png"), "--auxiliary", str(tmp_path / "thermal.png"))
    assert code == 2
    assert "--auxiliary belongs to one picture with prompts" in output
    assert run("--auxiliary", str(tmp_path / "nothing.png"))[0] == 2


def test_tensorrt_for_rtx_builds_its_engines(
    fp16_export: Path, built_for_rtx: Callable[[Path], dict[str, str]]
) -> None:
    built_for_rtx(fp16_export)
