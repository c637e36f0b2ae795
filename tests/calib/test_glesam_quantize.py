"""glesam-quantize, on the float bundle of a tiny model with random weights."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from typer.testing import CliRunner

from glesam_calib import CalibrationTable, Policy, Quantization, calibrate, empty_table, pipeline
from glesam_calib.cli.quantize import app, default_out
from glesam_calib.frontier import Point, first_that_holds, steps
from glesam_calib.graph.files import allow_half_scales
from glesam_calib.observation.pictures import CalibrationPictures
from glesam_calib.quantization import targets
from glesam_calib.quantization.layers import layers_of
from glesam_calib.speed import Speed
from glesam_runtime import Bundle
from glesam_runtime.bundle.writer import CALIBRATION, write_bundle
from glesam_runtime.engines import open_engines, pick_for_bundle
from glesam_runtime.preprocess import preprocess
from glesam_runtime.tools.measure import Case, ImageSets, bundle_cases, measure
from glesam_runtime.tools.parity import MaskParity, Parity, compare


def run(
    bundle: Path, photos: Path, out: Path, *options: str, calibrated: bool = True
) -> tuple[int, str, str]:
    command = [str(bundle), "--out", str(out), "--images", str(photos), *options]
    if calibrated:
        command += ["--calib-images", str(photos), "--samples", "4"]
    done = CliRunner().invoke(app, command)
    return done.exit_code, done.stdout, done.stderr


def kinds(bundle: Path, graph: str) -> list[str]:
    return [node.op_type for node in onnx.load(bundle / f"{graph}.onnx").graph.node]


def test_encoder_and_gle_are_int8_and_the_decoder_computes_in_fp16(int8_bundle: Path) -> None:
    manifest = Bundle.open(int8_bundle).manifest
    assert manifest.precision == "int8+fp16"
    actual = {name: graph.precision for name, graph in manifest.graphs.items()}
    assert actual == {"image_encoder": "int8+fp16", "gle": "int8+fp16", "mask_decoder": "fp16"}
    for graph in ("image_encoder", "gle"):
        assert kinds(int8_bundle, graph).count("QuantizeLinear") > 5
    assert "QuantizeLinear" not in kinds(int8_bundle, "mask_decoder")
    assert "DequantizeLinear" in kinds(int8_bundle, "mask_decoder")


def test_the_manifest_lists_int8_layers_and_those_left(int8_bundle: Path) -> None:
    graphs = json.loads((int8_bundle / "bundle.json").read_text())["graphs"]
    for graph in ("image_encoder", "gle"):
        listed = graphs[graph]["int8"]
        named = {node.name for node in onnx.load(int8_bundle / f"{graph}.onnx").graph.node}
        assert set(listed["layers"]) <= named
        assert not set(listed["layers"]) & set(listed["left"])
    assert any("conv_in" in name for name in graphs["gle"]["int8"]["left"])
    assert "int8" not in graphs["mask_decoder"]


def test_scales_are_fp16_and_zero_points_zero(int8_bundle: Path) -> None:
    model = onnx.load(int8_bundle / "gle.onnx")
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {constants[n.input[1]].dtype for n in pairs} == {np.dtype(np.float16)}
    assert not any(constants[n.input[2]].any() for n in pairs)
    assert model.opset_import[0].version == 19


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_backend_computes_it(
    int8_bundle: Path, fp32_bundle: Path, backend: str, image_sets: ImageSets
) -> None:
    manifest = Bundle.open(fp32_bundle).manifest
    image, _ = preprocess(image_sets["clean"][0], 64, manifest.pixel_mean, manifest.pixel_std)
    answers = []
    for path in (int8_bundle, fp32_bundle):
        engines = open_engines(backend, Bundle.open(path))
        embeddings = engines["image_encoder"]({"image": image})["image_embeddings"]
        answers.append(engines["gle"]({"image_embeddings": embeddings})["image_embeddings_enhanced"])
    assert 1e-4 < compare(*answers).relative < 0.05


@pytest.mark.parametrize("high_precision", ["fp32", "bf16"])
def test_the_rest_computes_in_high_precision(
    fp32_bundle: Path, photos: Path, tmp_path: Path, high_precision: str
) -> None:
    options = ("--high-precision", high_precision, "--min-iou", "0", "--no-speed-gate")
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", *options)
    assert status == 0, error
    assert Bundle.open(tmp_path / "b").manifest.precision == f"int8+{high_precision}"
    model = onnx.load(tmp_path / "b" / "gle.onnx")
    kind = {"fp32": onnx.TensorProto.FLOAT, "bf16": onnx.TensorProto.BFLOAT16}[high_precision]
    floats = {
        i.data_type
        for i in model.graph.initializer
        if len(i.dims) > 1 and i.data_type != onnx.TensorProto.INT8
    }
    assert kind in floats
    scales = {n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert {i.data_type for i in model.graph.initializer if i.name in scales} == {onnx.TensorProto.FLOAT}


def test_a_gate_that_fails_writes_nothing_and_says_what_to_do(
    fp32_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    options = ("--high-precision", "fp32", "--min-iou", "1", "--no-speed-gate")
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", *options, "--search", "0")
    assert status == 1
    assert "or let --search 4 find the layers" in error
    assert list(tmp_path.iterdir()) == []


def test_the_search_gives_layers_back_until_the_masks_hold(
    fp32_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    """Down to a single int8 layer if it must; the frontier is walked whole."""
    options = ("--high-precision", "fp32", "--min-iou", "0.99", "--no-speed-gate", "--search", "1")
    front = tmp_path / "front"
    status, said, error = run(fp32_bundle, photos, tmp_path / "b", *options, "--frontier", str(front))
    assert status == 0, error
    tried = [int(n) for n in re.findall(r"image_encoder: (\d+) layers in int8", said)]
    assert len(tried) > 3
    rows = (front / "frontier.md").read_text().splitlines()[2:]
    left = [int(row.split(" | ")[0].strip("| ")) for row in rows]
    assert left == sorted(left)
    assert (front / "frontier.png").read_bytes().startswith(b"\x89PNG")
    parity = Bundle.open(tmp_path / "b").manifest.parity["mask_iou"]
    assert all(masks["mean"] >= 0.99 for masks in parity.values())  # type: ignore[attr-defined]


def test_where_masks_do_not_hold_the_search_runs_by_itself(
    fp32_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Parity] = []

    def bad_at_first(bundle: Bundle, cases: Sequence[Case], backend: str) -> Parity:
        measured.append(measure(bundle, cases, backend))
        bad = {name: replace(masks, mean=0.9) for name, masks in measured[-1].mask_iou.items()}
        return replace(measured[-1], mask_iou=bad) if len(measured) == 1 else measured[-1]

    monkeypatch.setattr(pipeline, "measure", bad_at_first)
    options = ("--high-precision", "fp32", "--min-iou", "0.99", "--no-speed-gate")
    status, said, error = run(fp32_bundle, photos, tmp_path / "b", *options)
    assert status == 0, error
    assert "masks of IoU 0.9000, expected at least 0.99: trying each layer alone on 4 pictures" in said
    assert len(measured) > 1


def test_layers_that_have_to_be_int8_are_not_searched(
    fp32_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    options = ("--high-precision", "fp32", "--min-iou", "1", "--include", "*", "--no-speed-gate")
    status, said, error = run(fp32_bundle, photos, tmp_path / "c", *options)
    assert status == 1
    assert "trying" not in said + error


def test_no_int8_layer_at_all(fp32_bundle: Path, photos: Path, tmp_path: Path) -> None:
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", "--exclude", "*")
    assert status == 2
    assert "no layer is left in int8: all are excluded" in error
    assert list(tmp_path.iterdir()) == []


def test_int8_that_is_no_faster_is_refused_unless_the_target_is_elsewhere(
    fp32_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Speed("openvino", float_ms=10, int8_ms=11, known=True)
    monkeypatch.setattr(pipeline, "measure_speed", lambda *_: slow)
    options = ("--high-precision", "fp32", "--min-iou", "0")
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", *options)
    assert status == 1
    assert "int8 11.0 ms, float 10.0 ms (0.91x): int8 is not faster here" in error
    assert list(tmp_path.iterdir()) == []
    assert run(fp32_bundle, photos, tmp_path / "b", *options, "--no-speed-gate")[0] == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--high-precision", "fp8"), "high-precision 'fp8': expected one of fp16, bf16, fp32"),
        (("--method", "best"), "method 'best': expected one of absmax, percentile, entropy, mse"),
        (("--decoder-weights", "int4"), "decoder-weights 'int4': expected one of int8, float"),
    ],
)
def test_an_unknown_name(
    fp32_bundle: Path, photos: Path, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", *options)
    assert status == 2
    assert expected in error


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--samples", "8"), "samples are of --calib-images"),
        (("--calib-images", ".", "--calib-table", "t"), "give one of them"),
        (("--frontier", __file__), "expected a folder, found a file"),
        (("--frontier", "f", "--search", "0"), "leave --search 0 out"),
        (("--search", "2"), "search needs pictures: give --calib-images DIR"),
        (("--min-iou", "2"), "min-iou 2: expected a number from 0 to 1"),
    ],
)
def test_options_that_do_not_go_together(
    fp32_bundle: Path, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    done = CliRunner().invoke(app, [str(fp32_bundle), "--out", str(tmp_path / "b"), *options])
    assert done.exit_code == 2
    assert expected in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_without_trials_needs_no_pictures(fp32_bundle: Path, tmp_path: Path) -> None:
    options = ("--search", "0", "--calib-table", str(tmp_path / "absent.json"))
    done = CliRunner().invoke(app, [str(fp32_bundle), *options])
    assert done.exit_code == 2
    assert "absent.json" in done.stderr and "search" not in done.stderr


def test_a_pattern_that_fits_no_layer(fp32_bundle: Path, photos: Path, tmp_path: Path) -> None:
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", "--exclude", "*.nothing.*")
    assert status == 2
    assert "no layer is called '*.nothing.*'" in error
    assert list(tmp_path.iterdir()) == []


def test_statistics_are_required(fp32_bundle: Path, photos: Path, tmp_path: Path) -> None:
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", calibrated=False)
    assert status == 2
    assert "give --calib-images DIR" in error


def test_another_models_table_is_refused(fp32_bundle: Path, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    CalibrationTable({"image_encoder": "0" * 64}, {}, {"image_encoder": {}}).save(path)
    options = ("--calib-table", str(path))
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", *options, calibrated=False)
    assert status == 2
    assert "other weights; run glesam-calibrate" in error
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]


def measured_table(bundle: Bundle, photos: Path) -> CalibrationTable:
    """Statistics, and made-up sensitivities of two layers of each graph."""
    table = empty_table(bundle)
    calibrate(bundle, CalibrationPictures(photos, (0, 3), 4, print), table)
    for name in table.graphs:
        layers = layers_of(ir.load(bundle.graph_path(name)).graph)
        names = [layer.name for layer in layers if Policy().takes(layer.name)]
        table.sensitivity[name] = dict.fromkeys(names[:2], 0.001)
    return table


def test_a_timed_targets_layers_are_timed_once_and_its_backend_judges_masks_and_speed(
    fp32_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed, judged = [], []

    def saved(path: Path, *_: object) -> dict[str, float]:
        timed.append(path.stem)
        return {}

    def masks(bundle: Bundle, cases: Sequence[Case], backend: str) -> Parity:
        judged.append(backend)
        return measure(bundle, cases, backend)

    def speed(*arguments: object) -> Speed:
        judged.append(str(arguments[3]))
        return Speed("onnxruntime", float_ms=11, int8_ms=10, known=True)

    monkeypatch.setattr(pipeline, "saved_by_layers", saved)
    monkeypatch.setattr(pipeline, "measure", masks)
    monkeypatch.setattr(pipeline, "measure_speed", speed)
    measured_table(Bundle.open(fp32_bundle), photos).save(tmp_path / "table.json")
    options = ("--calib-table", str(tmp_path / "table.json"), "--frontier", str(tmp_path / "front"))
    options += ("--target", "onnxruntime", "--min-iou", "0")
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", *options, calibrated=False)
    assert status == 0, error
    assert timed == ["image_encoder", "gle"]
    assert set(judged) == {"onnxruntime"}
    assert pick_for_bundle("auto", Bundle.open(tmp_path / "b"))[0].startswith("onnxruntime")


@pytest.mark.parametrize("damage", ["tensors", "graph"])
def test_a_table_that_does_not_fit_is_refused_before_layers_are_timed(
    fp32_bundle: Path, photos: Path, tmp_path: Path, damage: str
) -> None:
    table = measured_table(Bundle.open(fp32_bundle), photos)
    if damage == "tensors":
        table.tensors["gle"] = {}
    else:
        table.graphs = {**table.graphs, "another": "0" * 64}
        table.tensors["another"], table.sensitivity["another"] = {}, {"a": 0.1}
    table.save(tmp_path / "table.json")
    options = ("--calib-table", str(tmp_path / "table.json"), "--target", "onnxruntime")
    status, _, error = run(fp32_bundle, photos, tmp_path / "b", *options, calibrated=False)
    assert status == 2
    (line,) = error.splitlines()
    assert {"tensors": "gle's tensors are not the graph's", "graph": "a graph another"}[damage] in line


def test_a_missing_backend_is_reported_before_any_work(
    fp32_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "find_spec", lambda _: None)
    status, said, error = run(fp32_bundle, photos, tmp_path / "b", "--target", "openvino")
    assert status == 2
    assert "openvino is not installed" in error
    assert "its masks are the reference" not in said
    assert list(tmp_path.iterdir()) == []


def test_the_steps_of_a_search_double_what_is_left() -> None:
    table = CalibrationTable({}, {}, sensitivity={"gle": {str(i): i / 100 for i in range(1, 11)}})
    actual = steps(Quantization(tolerance=0.095), table)
    left = [sum(error > step.tolerance for error in table.sensitivity["gle"].values()) for step in actual]
    assert left == [1, 2, 3, 5, 9]
    actual = steps(Quantization(tolerance=0.075), table)
    left = [sum(error > step.tolerance for error in table.sensitivity["gle"].values()) for step in actual]
    assert left == [3, 4, 5, 7, 9]  # one layer is int8 in the end
    alike = CalibrationTable({}, {}, sensitivity={"gle": {"a": 0.001, "b": 0.001}})
    assert len(steps(Quantization(), alike)) == 1


def rung_search(ious: list[float], least: float) -> tuple[int, list[int]]:
    """Runs a search over rungs with these IoUs; returns what it ended with, and what it measured."""
    rungs = [Quantization(tolerance=1 - i / 100) for i in range(len(ious))]
    measured: list[int] = []

    def measure(rung: Quantization) -> Point:
        measured.append(rungs.index(rung))
        parity = Parity({}, {"clean": MaskParity.of([ious[measured[-1]]])})
        return Point([], measured[-1], rung, parity, 1.0, Speed("onnxruntime", 1.0, 1.0, True))

    return first_that_holds(rungs, measure, least).left, measured


def test_a_search_doubles_its_steps_and_then_halves_the_last() -> None:
    rising = [0.90 + i / 1000 for i in range(60)]
    assert rung_search(rising, 0.911) == (11, [0, 1, 2, 4, 8, 16, 12, 10, 11])
    assert rung_search(rising, 0.5) == (0, [0])
    assert rung_search(rising, 0.9585) == (59, [0, 1, 2, 4, 8, 16, 32, 59, 45, 52, 55, 57, 58])
    assert rung_search(rising, 0.99) == (59, [0, 1, 2, 4, 8, 16, 32, 59])  # and the gate fails
    assert rung_search([0.9], 0.95) == (0, [0])


def test_a_search_keeps_what_the_policy_decides() -> None:
    table = CalibrationTable({}, {}, sensitivity={"gle": {"a": 0.1, "b": 0.2, "c": 0.3}})
    policy = Policy(include=["b"], exclude=["c"])
    assert len(steps(Quantization(tolerance=1, policy=policy), table)) == 1
    options = Quantization(tolerance=0.15, policy=policy)
    assert [options.affords(name, table.sensitivity["gle"]) for name in "ab"] == [True, True]
    assert not Quantization(tolerance=0.15).affords("b", table.sensitivity["gle"])


def test_its_options_are_in_titled_groups() -> None:
    text = CliRunner().invoke(app, ["-h"], env={"COLUMNS": "200"}).stdout
    titles = re.findall(r"^(\w[^\n]*):\n", text, re.MULTILINE)
    assert titles == ["Arguments", "Results", "Statistics", "What becomes int8", "Search", "Gates", "Help"]
    assert max(map(len, text.splitlines())) <= 80


def test_it_needs_no_torch(fp32_bundle: Path, int8_bundle: Path, photos: Path, tmp_path: Path) -> None:
    """And writes the same graphs without it."""
    code = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'peft', 'glesam', 'glesam_export'):\n"
        "    sys.modules[name] = None\n"
        "from glesam_calib.cli.quantize import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, str(fp32_bundle), "--out", str(tmp_path / "b")]
    command += ["--images", str(photos), "--calib-images", str(photos), "--samples", "4"]
    done = subprocess.run(
        [*command, "--min-iou", "0.5", "--no-speed-gate"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for graph in ("image_encoder", "gle", "mask_decoder"):
        assert (tmp_path / f"b/{graph}.onnx").read_bytes() == (int8_bundle / f"{graph}.onnx").read_bytes()


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_only_a_float_bundle_becomes_int8(
    request: pytest.FixtureRequest, photos: Path, tmp_path: Path, precision: str
) -> None:
    bundle = request.getfixturevalue(f"{precision}_bundle")
    status, _, error = run(bundle, photos, tmp_path / "b")
    assert status == 2
    (line,) = error.splitlines()
    assert f"precision {precision}" in line
    assert line.endswith("expected fp32, from which int8 is made; export with --precision fp32")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_is_refused(fp32_bundle: Path, photos: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(fp32_bundle, tmp_path / "damaged"))
    with (bundle / "gle.onnx").open("ab") as file:
        file.write(b"x")
    status, _, error = run(bundle, photos, tmp_path / "b")
    assert status == 2
    assert "gle.onnx: expected" in error


def test_the_float_bundle_is_never_replaced(fp32_bundle: Path, photos: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(fp32_bundle, tmp_path / "float"))
    status, _, error = run(bundle, photos, bundle)
    assert status == 2
    assert "is the float bundle's own folder; choose another folder with --out" in error
    assert Bundle.open(bundle).manifest.precision == "fp32"


def test_golden_vectors_stay_pytorchs_and_the_float_bundle_is_on_record(
    int8_bundle: Path, fp32_bundle: Path
) -> None:
    for index in (0, 1):
        name = f"golden/{index}.npz"
        assert (int8_bundle / name).read_bytes() == (fp32_bundle / name).read_bytes()
    floats, int8 = Bundle.open(fp32_bundle), json.loads((int8_bundle / "bundle.json").read_text())
    made_from = int8["made_from"]
    assert made_from["checkpoint"] == floats.manifest.made_from["checkpoint"]
    assert made_from["float_bundle"]["bundle.json"] == floats.hash
    assert made_from["float_bundle"]["mask_iou_lq3"] >= 0.999
    assert made_from["quantized_with"].keys() == {"glesam", "onnx", "onnx-ir"}
    kept = json.loads((fp32_bundle / "bundle.json").read_text())
    assert int8["graphs"]["gle"]["folds"] == kept["graphs"]["gle"]["folds"]
    changed = {"precision", "graphs", "files", "made_from", "parity"}
    assert {key: int8[key] for key in kept if key not in changed} == {
        key: kept[key] for key in kept if key not in changed
    }


def test_the_recorded_parity_is_measured_against_the_float_bundle(
    int8_bundle: Path, fp32_bundle: Path, image_sets: ImageSets
) -> None:
    int8, cases = Bundle.open(int8_bundle), bundle_cases(Bundle.open(fp32_bundle), image_sets)
    assert [case.set_name for case in cases] == ["clean", "clean", "lq3", "lq3"]
    fresh = measure(int8, cases).to_json()
    for kind in ("graphs", "mask_iou"):
        recorded = int8.manifest.parity[kind]
        assert recorded.keys() == fresh[kind].keys()  # type: ignore[attr-defined]
        for name, figures in recorded.items():  # type: ignore[attr-defined]
            assert figures == pytest.approx(fresh[kind][name], rel=0.05, abs=1e-7), name


def test_a_float_bundle_agrees_with_itself(fp32_bundle: Path, image_sets: ImageSets) -> None:
    opened = Bundle.open(fp32_bundle)
    parity = measure(opened, bundle_cases(opened, image_sets))
    assert all(masks.worst == 1 for masks in parity.mask_iou.values())


def test_the_table_inside_a_bundle_needs_no_option(fp32_bundle: Path, photos: Path, tmp_path: Path) -> None:
    opened = Bundle.open(fp32_bundle)
    table = empty_table(opened)
    calibrate(opened, CalibrationPictures(photos, (0, 3), 4, print), table)
    bundle = Path(shutil.copytree(fp32_bundle, tmp_path / "float"))
    table.save(bundle / CALIBRATION)
    write_bundle(bundle, json.loads((bundle / "bundle.json").read_text()))
    options = ("--min-iou", "0.5", "--no-speed-gate")
    status, _, error = run(bundle, photos, tmp_path / "b", *options, calibrated=False)
    assert status == 0, error
    assert CALIBRATION not in Bundle.open(tmp_path / "b").manifest.files


def test_opset_19_changes_no_bit(fp32_bundle: Path) -> None:
    model = ir.load(fp32_bundle / "gle.onnx")
    z = np.random.default_rng(0).standard_normal((1, 256, 4, 4)).astype(np.float32)
    answers = []
    for opset in (18, 19):
        proto = ir.to_proto(model)
        assert proto.opset_import[0].version == opset
        onnx.checker.check_model(proto, full_check=True)
        answers.append(ReferenceEvaluator(proto).run(None, {"image_embeddings": z})[0])
        allow_half_scales(model)
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize(("name", "folder"), [("nano", "glesam-nano-int8"), ("../a b", "glesam-..-a-b-int8")])
def test_the_default_folder_lies_here_whatever_the_model_is_called(
    fp32_bundle: Path, name: str, folder: str
) -> None:
    opened = Bundle.open(fp32_bundle)
    renamed = replace(opened, manifest=replace(opened.manifest, name=name))
    assert default_out(renamed) == Path(folder)
