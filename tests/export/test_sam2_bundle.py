"""glesam-export writes bundles of SAM 2 that compute what PyTorch computes; every command reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from glesam.model import GleSam
from glesam.reference import reference_predictor
from glesam_runtime import Bundle, Predictor
from glesam_runtime.cli import bench, info, run, verify
from glesam_runtime.tools.measure import ImageSets, fixed_prompts
from glesam_runtime.tools.parity import mask_iou

LEAST_IOU = {"fp16": 0.98, "bf16": 0.9}


def test_the_masks_are_pytorchs(sam2_checkpoint: Path, sam2_bundle: Path, image_sets: ImageSets) -> None:
    actual = Predictor.from_bundle(sam2_bundle)
    expected = reference_predictor(GleSam.from_pretrained(sam2_checkpoint))
    for pictures in image_sets.values():
        for picture in pictures:
            answers = []
            for predictor in (actual, expected):
                predictor.set_image(picture)
                answers.append(predictor.predict(prompts=fixed_prompts(picture)).masks)
            assert 0.02 < np.mean(answers[1]) < 0.98, "masks that are all or nothing prove little"
            assert np.mean([mask_iou(a, b) for a, b in zip(*answers, strict=True)]) > 0.999


def test_the_manifest_says_what_the_model_is(sam2_bundle: Path) -> None:
    content = json.loads((sam2_bundle / "bundle.json").read_text())
    assert content["format_version"] == 2
    assert content["model"] == {
        "name": "tiny-sam2", "sam_type": "tiny_sam2", "multimask": True, "family": "sam2"
    }  # fmt: skip
    assert content["resize"] == "squash"
    names = [[tensor["name"] for tensor in graph["outputs"]] for graph in content["graphs"].values()]
    assert names[0] == ["image_embeddings", "high_res_s0", "high_res_s1"]
    for figures in content["parity"]["graphs"].values():
        assert 0 < figures["relative"] < 1e-4


def test_golden_vectors_hold_the_finer_features_and_boxes_are_padded(sam2_bundle: Path) -> None:
    with np.load(sam2_bundle / "golden/0.npz") as golden:
        assert golden["high_res_s0"].shape == (1, 32, 16, 16)
        assert golden["high_res_s1"].shape == (1, 64, 8, 8)
        assert golden["point_labels"].tolist() == [[2, 3, -1], [1, -1, -1]]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_lower_precisions_pass_their_gate(sam2_low_bundles: dict[str, Path], precision: str) -> None:
    manifest = Bundle.open(sam2_low_bundles[precision]).manifest
    parity = json.loads((sam2_low_bundles[precision] / "bundle.json").read_text())["parity"]["mask_iou"]
    assert manifest.precision == precision
    assert min(figures["mean"] for figures in parity.values()) >= LEAST_IOU[precision]


def test_areas_of_masks_stay_in_fp32(sam2_low_bundles: dict[str, Path]) -> None:
    """At 1024 px they sum to 65,536, which is infinite in fp16."""
    bundle = sam2_low_bundles["fp16"]
    assert "stability" in Bundle.open(bundle).manifest.graphs["mask_decoder"].fp32_islands
    graph = onnx.load(bundle / "mask_decoder.onnx").graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    sums = [node for node in graph.node if node.name.startswith("stability/ReduceSum")]
    assert len(sums) == 2
    for node in sums:
        assert types[node.output[0]] == onnx.TensorProto.FLOAT


def test_every_command_reads_the_bundle(sam2_bundle: Path, photos: Path, tmp_path: Path) -> None:
    def output(app: object, *arguments: object) -> str:
        result = CliRunner().invoke(app, list(map(str, arguments)))  # type: ignore[arg-type]
        assert result.exit_code == 0, result.output
        return result.output

    assert "SAM 2 tiny_sam2, 64 x 64 pixels" in output(info.app, sam2_bundle)
    assert json.loads(output(info.app, sam2_bundle, "--json"))["family"] == "sam2"
    output(verify.app, sam2_bundle)
    output(bench.app, sam2_bundle, "--rounds", 1, "--warmup", 0)
    photo = next(photos.iterdir())
    box = ("--box", 20, 20, 200, 200)
    output(run.app, photo, *box, "--bundle", sam2_bundle, "--out", tmp_path / "out")
    output(
        run.app, photo, "--auto", "--points-per-side", 4, "--bundle", sam2_bundle, "--out", tmp_path / "auto"
    )
    assert list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_for_rtx_builds_the_graphs(
    sam2_bundle: Path,
    sam2_low_bundles: dict[str, Path],
    built_for_rtx: Callable[[Path], dict[str, str]],
    precision: str,
) -> None:
    built_for_rtx(sam2_bundle if precision == "fp32" else sam2_low_bundles[precision])
