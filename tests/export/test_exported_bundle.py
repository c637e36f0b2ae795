"""A checkpoint becomes a bundle that computes what PyTorch computes, or nothing at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import ModelProto, numpy_helper
from typer.testing import CliRunner

from glesam.model import GleSam, checkpoint_files
from glesam.reference import reference_manifest, reference_predictor, torch_engines
from glesam_calib.photographs import parity_images
from glesam_export import pipeline
from glesam_export.cli import app
from glesam_export.graphs import Graph
from glesam_export.pipeline import ExportOptions, export_bundle
from glesam_runtime import Bundle, ParityError, Predictor
from glesam_runtime.errors import ConversionError, OutputError
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.measure import ImageSets, fixed_prompts, measure, reference_cases
from glesam_runtime.tools.parity import Parity, mask_iou

MIN_IOU = {"fp32": 0.999, "fp16": 0.99}


def manifest(bundle: Path) -> dict:
    content: dict = json.loads((bundle / "bundle.json").read_text())
    return content


def masks_of(predictor: Predictor, picture: Pixels) -> np.ndarray:
    predictor.set_image(picture)
    return predictor.predict(prompts=fixed_prompts(picture)).masks


def test_the_masks_are_pytorchs_on_clean_and_degraded_pictures(
    bundle_path: Path, checkpoint_model: GleSam, image_sets: ImageSets, precision: str
) -> None:
    actual, expected = Predictor.from_bundle(bundle_path), reference_predictor(checkpoint_model)
    assert image_sets.keys() == {"clean", "lq3"}
    for pictures in image_sets.values():
        pairs = [
            pair for p in pictures for pair in zip(masks_of(actual, p), masks_of(expected, p), strict=True)
        ]
        assert len(pairs) == 12
        shares = [b.mean() for _, b in pairs]
        assert 0.05 < np.mean(shares) < 0.95, "masks that are all or nothing prove little"
        assert np.mean([mask_iou(a, b) for a, b in pairs]) >= MIN_IOU[precision]


def test_the_enhancement_is_in_the_bundle_and_matters(fp32_bundle: Path, image_sets: ImageSets) -> None:
    picture = image_sets["clean"][0]
    logits = []
    for enhance in (True, False):
        predictor = Predictor.from_bundle(fp32_bundle, enhance=enhance)
        predictor.set_image(picture)
        logits.append(predictor.predict(prompts=fixed_prompts(picture)).low_res_masks)
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_the_recorded_parity_is_what_a_fresh_measurement_finds(
    bundle_path: Path, checkpoint_model: GleSam, image_sets: ImageSets
) -> None:
    bundle = Bundle.open(bundle_path)
    numbers = reference_manifest(checkpoint_model)
    cases = reference_cases(numbers, torch_engines(checkpoint_model), image_sets)
    fresh = asdict(measure(bundle, cases))
    recorded = manifest(bundle_path)["parity"]
    assert recorded["mask_iou"].keys() == {"clean", "lq3"}
    for kind in ("graphs", "mask_iou"):
        assert recorded[kind].keys() == fresh[kind].keys()
        for name, figures in recorded[kind].items():
            assert figures == pytest.approx(fresh[kind][name], rel=0.05, abs=2e-7), name


def test_fp32_graphs_agree_to_rounding_and_fp16_graphs_to_fp16(bundle_path: Path, precision: str) -> None:
    limit = {"fp32": 1e-5, "fp16": 1e-2}[precision]
    for name, figures in manifest(bundle_path)["parity"]["graphs"].items():
        assert 0 < figures["relative"] < limit, name
        assert figures["cosine"] > 1 - limit


def test_the_bundle_says_what_it_was_made_from(
    bundle_path: Path, checkpoints: dict[str, Path], precision: str
) -> None:
    made_from = manifest(bundle_path)["made_from"]
    assert made_from["checkpoint"] == {
        name: hashlib.sha256((checkpoints[precision] / name).read_bytes()).hexdigest()
        for name in ("config.json", "model.safetensors")
    }
    assert made_from["versions"]["torch"] == torch.__version__
    assert made_from["versions"]["onnx"] == onnx.__version__
    assert "not installed" not in made_from["versions"].values()


def test_the_bundle_carries_the_models_numbers(
    bundle_path: Path, checkpoint_model: GleSam, precision: str
) -> None:
    actual, config = Bundle.open(bundle_path).manifest, checkpoint_model.config
    assert actual.precision == precision
    assert (actual.name, actual.sam_type) == (config.name, config.sam.sam_type)
    assert (actual.gamma, actual.timestep) == (config.gle.gamma, config.gle.timestep)
    assert (actual.pixel_mean, actual.pixel_std) == (config.sam.pixel_mean, config.sam.pixel_std)
    assert actual.image_size == config.sam.image_size


def test_every_file_is_listed_and_none_is_left_over(bundle_path: Path) -> None:
    actual = {p.relative_to(bundle_path).as_posix() for p in bundle_path.rglob("*") if p.is_file()}
    listed = set(manifest(bundle_path)["files"])
    assert actual == listed | {"bundle.json", "bundle.json.sha256"}
    assert listed == {
        "image_encoder.onnx", "gle.onnx", "mask_decoder.onnx", "golden/0.npz", "golden/1.npz"
    }  # fmt: skip
    assert [path.name for path in bundle_path.parent.iterdir() if path.is_dir()] == [bundle_path.name]


@pytest.mark.parametrize("index", [0, 1])
def test_golden_vectors_are_what_pytorch_computes(
    bundle_path: Path, checkpoint_model: GleSam, image_sets: ImageSets, index: int
) -> None:
    with np.load(bundle_path / "golden" / f"{index}.npz", allow_pickle=False) as file:
        golden = dict(file)
    assert golden.keys() == {
        "image", "point_coords", "point_labels", "image_embeddings", "image_embeddings_enhanced",
        "low_res_masks", "iou_predictions",
    }  # fmt: skip
    picture = list(image_sets.values())[index][index]
    np.testing.assert_array_equal(golden["image"], picture)
    predictor = reference_predictor(checkpoint_model)
    predictor.set_image(picture)
    prompts = fixed_prompts(picture)
    expected = predictor.predict(prompts=[prompts[0], prompts[3]])
    np.testing.assert_allclose(golden["low_res_masks"][:, 0], expected.low_res_masks, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(golden["iou_predictions"][:, 0], expected.iou_predictions, rtol=1e-4)
    assert golden["point_labels"].tolist() == [[2, 3], [1, -1]]
    with torch.no_grad():
        enhanced = checkpoint_model.enhance(torch.from_numpy(golden["image_embeddings"]))
        masks, _ = checkpoint_model.decode(
            enhanced,
            torch.from_numpy(golden["point_coords"]),
            torch.from_numpy(golden["point_labels"]),
            torch.zeros(2, 1, 16, 16),
            torch.zeros(2),
        )
    torch.testing.assert_close(torch.from_numpy(golden["image_embeddings_enhanced"]), enhanced)
    torch.testing.assert_close(torch.from_numpy(golden["low_res_masks"]), masks, rtol=1e-4, atol=1e-5)


def test_the_command_shows_the_parity_and_what_to_do_next(fp32_bundle: Path) -> None:
    log = (fp32_bundle.parent / "fp32.log").read_text().splitlines()
    assert {"image_encoder", "gle", "mask_decoder", "clean", "lq3"} <= {line.split(" ")[0] for line in log}
    assert log[-1].startswith(f"wrote {fp32_bundle}, ")
    assert log[-1].endswith(f"--bundle {fp32_bundle}")


@pytest.fixture(scope="session")
def small_sets() -> ImageSets:
    """One small picture a set: enough to see damage."""
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    return {"clean": [picture], "lq3": [picture[::-1].copy()]}


def export_folder(
    checkpoint: Path,
    out: Path,
    images: ImageSets,
    options: ExportOptions,
    report: Callable[[str], None] = lambda _: None,
) -> Parity:
    model = GleSam.from_pretrained(checkpoint)
    return export_bundle(model, checkpoint_files(checkpoint), out, images, options, report)


Damage = Callable[[ModelProto], None]
Convert = Callable[[Graph, int], ModelProto]


@pytest.fixture
def damaged_export(fp32_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Damage], None]:
    """Makes exports of the fp32 checkpoint convert to the graphs known already, one of them damaged."""

    def damage_graph(name: str, damage: Damage) -> None:
        def convert(graph: Graph, _: int) -> ir.Model:
            model = onnx.load(fp32_bundle / f"{graph.name}.onnx")
            if graph.name == name:
                damage(model)
            return ir.from_proto(model)

        monkeypatch.setattr(pipeline, "onnx_from_graph", convert)

    return damage_graph


def scale_weights(factor: float) -> Damage:
    def damage(model: ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, tensor.name))

    return damage


def nothing(_: ModelProto) -> None:
    pass


@pytest.fixture
def old_bundle(tmp_path: Path) -> Path:
    """Something that an export may replace."""
    folder = tmp_path / "exports" / "bundle"
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text("old")
    return folder


def assert_untouched(old_bundle: Path) -> None:
    assert [path.name for path in old_bundle.parent.iterdir()] == ["bundle"]
    assert [path.read_text() for path in old_bundle.iterdir()] == ["old"]


def test_the_undamaged_graphs_pass_and_replace_the_old_bundle(
    checkpoints: dict[str, Path], small_sets: ImageSets, old_bundle: Path,
    damaged_export: Callable[[str, Damage], None],
) -> None:  # fmt: skip
    """Without this the tests below would prove nothing."""
    damaged_export("mask_decoder", nothing)
    export_folder(checkpoints["fp32"], old_bundle, small_sets, ExportOptions())
    assert Bundle.open(old_bundle).manifest.parity["mask_iou"]["clean"]["mean"] >= 0.999
    assert [path.name for path in old_bundle.parent.iterdir()] == ["bundle"]


def test_a_decoder_with_dead_heads_has_no_multimask(
    checkpoints: dict[str, Path], small_sets: ImageSets, tmp_path: Path,
    damaged_export: Callable[[str, Damage], None],
) -> None:  # fmt: skip
    """The authors' decoders are like this; mask 0, which the gate compares, is not affected."""
    model = GleSam.from_pretrained(checkpoints["fp32"])
    with torch.no_grad():
        for mlp in model.mask_decoder.output_hypernetworks_mlps[1:]:
            mlp.layers[-1].weight.zero_()
    model.save_pretrained(tmp_path / "checkpoint")
    damaged_export("mask_decoder", nothing)
    lines: list[str] = []
    export_folder(tmp_path / "checkpoint", tmp_path / "bundle", small_sets, ExportOptions(), lines.append)
    assert "no multimask: the decoder's mask heads 1, 2, 3 are dead" in lines
    assert not Bundle.open(tmp_path / "bundle").manifest.multimask
    assert not reference_predictor(model).manifest.multimask
    assert reference_predictor(GleSam.from_pretrained(checkpoints["fp32"])).manifest.multimask


@pytest.mark.parametrize("graph", ["image_encoder", "gle"])
def test_a_damaged_graph_never_becomes_a_bundle(
    checkpoints: dict[str, Path], small_sets: ImageSets, old_bundle: Path,
    damaged_export: Callable[[str, Damage], None], graph: str,
) -> None:  # fmt: skip
    damaged_export(graph, scale_weights(0.5 if graph != "gle" else 30))
    with pytest.raises(ParityError, match=r"mean IoU against PyTorch .*, expected at least 0.999"):
        export_folder(checkpoints["fp32"], old_bundle, small_sets, ExportOptions())
    assert_untouched(old_bundle)


def test_a_graph_that_gives_nan_never_becomes_a_bundle_even_where_any_iou_is_allowed(
    checkpoints: dict[str, Path], small_sets: ImageSets, tmp_path: Path,
    damaged_export: Callable[[str, Damage], None],
) -> None:  # fmt: skip
    damaged_export("gle", scale_weights(float("nan")))
    with pytest.raises(ParityError, match="NaN"):
        options = ExportOptions(min_iou=0.0)
        export_folder(checkpoints["fp32"], tmp_path / "bundle", small_sets, options)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_gate_is_exit_status_1_one_line_and_no_bundle(
    checkpoints: dict[str, Path], photos: Path, old_bundle: Path,
    damaged_export: Callable[[str, Damage], None],
) -> None:  # fmt: skip
    damaged_export("mask_decoder", scale_weights(0.5))
    command = [str(checkpoints["fp32"]), "--images", str(photos), "--out", str(old_bundle)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: masks of clean: mean IoU")
    assert "mask_decoder" in result.stdout, "the table is shown all the same"
    assert_untouched(old_bundle)


def test_min_iou_moves_the_gate(
    checkpoints: dict[str, Path], small_sets: ImageSets, tmp_path: Path,
    damaged_export: Callable[[str, Damage], None],
) -> None:  # fmt: skip
    damaged_export("mask_decoder", scale_weights(0.5))
    options = ExportOptions(min_iou=0.0)
    parity = export_folder(checkpoints["fp32"], tmp_path / "bundle", small_sets, options)
    assert min(masks.mean for masks in parity.mask_iou.values()) < 0.999
    assert Bundle.open(tmp_path / "bundle").manifest.precision == "fp32"


def test_a_weight_beyond_fp16_stops_an_fp16_export_and_leaves_nothing(
    checkpoints: dict[str, Path], small_sets: ImageSets, tmp_path: Path,
    damaged_export: Callable[[str, Damage], None],
) -> None:  # fmt: skip
    damaged_export("image_encoder", scale_weights(1e6))
    options = ExportOptions("fp16")
    with pytest.raises(ConversionError, match="does not fit fp16"):
        export_folder(checkpoints["fp32"], tmp_path / "bundle", small_sets, options)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_target_is_found_before_the_work(
    checkpoints: dict[str, Path], small_sets: ImageSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> ModelProto:
        raise AssertionError("a graph was converted")

    monkeypatch.setattr(pipeline, "onnx_from_graph", too_late)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not a bundle"):
        export_folder(checkpoints["fp32"], tmp_path, small_sets, ExportOptions())


def test_without_a_folder_the_shipped_photographs_are_used_clean_and_degraded() -> None:
    sets = parity_images(None, print)
    assert [len(pictures) for pictures in sets.values()] == [4, 4]
    for clean, degraded in zip(sets["clean"], sets["lq3"], strict=True):
        assert clean.shape == degraded.shape
        assert 2 < np.abs(clean.astype(int) - degraded).mean() < 60
