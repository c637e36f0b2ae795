"""RobustSAM from its official file to bundles of every precision, which the runtime's commands take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tiny_robust_sam import CONFIG, tiny_robust_sam
from typer.testing import CliRunner

from glesam.cli.convert import app as convert_app
from glesam.config import tiny
from glesam.model import GleSam
from glesam.reference import load_model, reference_predictor
from glesam_calib.cli.quantize import app as quantize_app
from glesam_export.cli import app as export_app
from glesam_runtime import Bundle, Predictor
from glesam_runtime.cli.info import app as info_app
from glesam_runtime.cli.run import app as run_app
from glesam_runtime.cli.verify import app as verify_app
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.measure import ImageSets, fixed_prompts

GRAPHS = ("image_encoder", "gle", "mask_decoder")
LEAST_IOU = {"fp16": "0.97", "bf16": "0.9"}
"""Random masks are all edge, so these gates are lower than a trained model's."""


@pytest.fixture(scope="module", params=LEAST_IOU)
def lower_bundle(
    request: pytest.FixtureRequest,
    robust_bundle: Path,
    robust_checkpoint: Path,
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A bundle in 16 bits, made of the fp32 graphs."""
    known_graphs, precision = request.getfixturevalue("known_graphs"), request.param
    out = tmp_path_factory.mktemp("exports") / precision
    command = [str(robust_checkpoint), "--precision", precision, "--out", str(out), "--images", str(photos)]
    with known_graphs(robust_bundle, *GRAPHS):
        result = CliRunner().invoke(export_app, [*command, "--min-iou", LEAST_IOU[precision]])
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def int8_bundle(robust_bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "int8"
    command = [str(robust_bundle), "--out", str(out), "--images", str(photos), "--calib-images", str(photos)]
    options = ["--samples", "4", "--min-iou", "0.5", "--no-speed-gate"]
    result = CliRunner().invoke(quantize_app, [*command, *options])
    assert result.exit_code == 0, result.output
    return out


def masks_of(predictor: Predictor, picture: Pixels) -> np.ndarray:
    predictor.set_image(picture)
    return predictor.predict(prompts=fixed_prompts(picture)).low_res_masks


def test_the_checkpoint_holds_the_files_tensors(robust_checkpoint: Path) -> None:
    loaded, saved = load_model(robust_checkpoint), tiny_robust_sam().state_dict()
    assert loaded.config == CONFIG
    assert loaded.state_dict().keys() == saved.keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in loaded.state_dict().items())


def test_the_bundles_masks_are_pytorchs(
    robust_bundle: Path, robust_checkpoint: Path, image_sets: ImageSets
) -> None:
    """The gate has compared them: it must not have passed on masks that are all or nothing."""
    reference = reference_predictor(load_model(robust_checkpoint))
    predictor = Predictor.from_bundle(robust_bundle)
    for pictures in image_sets.values():
        actual, expected = masks_of(predictor, pictures[0]), masks_of(reference, pictures[0])
        assert abs(actual - expected).max() < 1e-3 * abs(expected).max()
        assert 0.05 < (expected > 0).mean() < 0.95


def test_the_manifest_is_a_robust_sams(robust_bundle: Path) -> None:
    manifest = Bundle.open(robust_bundle).manifest
    assert (manifest.name, manifest.family, manifest.encoder_channels) == (CONFIG.name, "robustsam", 32)
    assert (manifest.multimask, manifest.gamma, manifest.timestep) == (False, None, None)
    assert json.loads((robust_bundle / "bundle.json").read_text())["format_version"] == 2


def test_the_spectrum_stays_in_fp32(lower_bundle: Path) -> None:
    graphs = Bundle.open(lower_bundle).manifest.graphs
    assert "fourier" in graphs["gle"].fp32_islands
    assert "fourier" not in graphs["image_encoder"].fp32_islands
    model = onnx.load(lower_bundle / "gle.onnx")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    of_spectrum = [
        types[name]
        for node in model.graph.node
        if ".fourier" in node.name and node.op_type in ("Conv", "MatMul")
        for name in node.input
        if name in types
    ]
    assert len(of_spectrum) > 20
    assert set(of_spectrum) == {onnx.TensorProto.FLOAT}
    assert set(types.values()) > {onnx.TensorProto.FLOAT}


def test_int8_layers_are_the_encoders_and_the_restorers_convolutions(int8_bundle: Path) -> None:
    graphs = Bundle.open(int8_bundle).manifest.graphs
    restorer, encoder = graphs["gle"].int8, graphs["image_encoder"].int8
    assert restorer is not None and encoder is not None
    assert graphs["mask_decoder"].int8 is None
    convolutions = ("selective.conv1/Conv", "selective.conv2/Conv", "conv/Conv")
    assert set(restorer.layers) == {f"{part}.{name}" for part in ("early", "last") for name in convolutions}
    for part in ("selector", "fourier", "channel_attention", "upscaling"):
        assert any(part in name for name in restorer.left), part
    assert any("blocks." in name for name in encoder.layers)


def test_the_waves_of_an_int8_bundles_decoder_are_not_rounded(int8_bundle: Path, robust_bundle: Path) -> None:
    def waves(folder: Path) -> dict[str, np.ndarray]:
        model = onnx.load(folder / "mask_decoder.onnx")
        arrays = {tensor.name: tensor for tensor in model.graph.initializer}
        return {
            f"{node.name} {i}": numpy_helper.to_array(arrays[name])
            for node in model.graph.node
            if ".fourier.spectrum" in node.name and node.op_type == "MatMul"
            for i, name in enumerate(node.input)
            if name in arrays
        }

    expected, actual = waves(robust_bundle), waves(int8_bundle)
    assert expected.keys() == actual.keys() and len(expected) == 8
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values, name)


def test_tensorrt_for_rtx_builds_it_with_the_spectrum_in_fp32(
    lower_bundle: Path, int8_bundle: Path, built_for_rtx: Callable[[Path], dict[str, str]]
) -> None:
    for bundle in (lower_bundle, int8_bundle):
        assert " fp32" in built_for_rtx(bundle)["gle"]


def test_golden_vectors_prove_it_without_torch(robust_bundle: Path) -> None:
    result = CliRunner().invoke(verify_app, [str(robust_bundle)])
    assert result.exit_code == 0, result.output


def test_info_names_the_method(robust_bundle: Path) -> None:
    shown = CliRunner().invoke(info_app, [str(robust_bundle)], env={"COLUMNS": "120"}).stdout
    assert "RobustSAM tiny, 64 x 64 pixels, no multimask" in shown
    assert "gamma" not in shown
    document = json.loads(CliRunner().invoke(info_app, [str(robust_bundle), "--json"]).stdout)
    assert (document["family"], document["gamma"]) == ("robustsam", None)


def test_run_segments_with_it_and_never_without_the_restorer(
    robust_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    picture = str(photos / "chelsea.jpg")
    command = [picture, "--bundle", str(robust_bundle), "--box", "20", "20", "300", "250"]
    done = CliRunner().invoke(run_app, [*command, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(run_app, [*command, "--no-enhance", "--out", str(tmp_path / "plain")])
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()
    assert "does not run without" in line
    assert not (tmp_path / "plain").exists()


def test_refinements_are_refused(robust_checkpoint: Path, tmp_path: Path) -> None:
    command = [str(robust_checkpoint), "--refinements", "1", "--out", str(tmp_path / "bundle")]
    result = CliRunner().invoke(export_app, command)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "refinements 1: expected 0, RobustSAM has none" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--robust-sam", "{robust}", "--unet", "unet"], "is a whole model; leave out --unet"),
        (["--robust-sam", "{robust}", "--new-lora", "--gamma", "3"], "leave out --gamma, --new-lora"),
        (["--robust-sam", "{plain}"], "it is a plain SAM, expected a RobustSAM"),
        (["--robust-sam", "{robust}"], "has an image encoder of width 32; expected 768"),
        (["--robust-sam", "nothing.pth"], "nothing.pth"),
    ],
)
def test_convert_takes_a_robust_sam_alone(options: list[str], message: str, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.pth" for name in ("robust", "plain")}
    torch.save(tiny_robust_sam().state_dict(), files["robust"])
    sam = {n: t for n, t in GleSam(tiny()).state_dict().items() if not n.startswith("gle.")}
    torch.save(sam, files["plain"])
    command = [option.format(**files) for option in options]
    result = CliRunner().invoke(convert_app, [*command, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()
