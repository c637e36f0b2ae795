"""glesam-verify --polygraphy: Polygraphy's own command reads what is written, and tells a changed weight."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from polygraphy.comparator import RunResults
from test_glesam_verify import Vectors, honest, refusal, run
from tiny_bundle import manifest, record, write_bundle, write_manifest

from glesam_runtime.bundle.spec import Family
from glesam_runtime.preprocess import Pixels

GRAPHS = ("image_encoder", "gle", "mask_decoder")
PARITY = {"max_abs": 2.5e-5, "relative": 1e-6, "cosine": 1.0}


@pytest.fixture(scope="module")
def vectors(bundle_path: Path) -> Vectors:
    picture: Pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    return honest(bundle_path, picture)


@pytest.fixture
def bundle(own_bundle: Path, vectors: Vectors) -> Path:
    """Returns a bundle with two golden files and a recorded parity, under a name that a shell would split."""
    (own_bundle / "golden").mkdir()
    for index in (0, 1):
        np.savez(own_bundle / f"golden/{index}.npz", **vectors)  # type: ignore[arg-type]
    moved = own_bundle.rename(own_bundle.with_name("it's a bundle"))
    rewrite(moved)
    return moved


def rewrite(bundle: Path, precision: str = "fp32", family: Family = "sam") -> None:
    """Writes bundle.json anew, with the hashes of all files."""
    content = manifest(bundle, family)
    golden = {f"golden/{path.name}": record(path) for path in sorted((bundle / "golden").iterdir())}
    for graph in content["graphs"].values():
        graph["precision"] = precision
    parity = {"graphs": dict.fromkeys(GRAPHS, PARITY), "mask_iou": {}}
    write_manifest(
        bundle,
        content | {"files": content["files"] | golden, "parity": parity, "precision": precision},
    )


def shell(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", str(script), *arguments],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def change_a_weight(graph: Path) -> None:
    model = onnx.load(graph)
    (weight,) = (x for x in model.graph.initializer if x.name == "half")
    weight.CopyFrom(numpy_helper.from_array(np.float32(0.501), "half"))
    onnx.save(model, graph)


def test_polygraphy_agrees_with_the_golden_vectors_and_tells_a_changed_weight(
    bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "poly graphy"
    result = run(bundle, "--polygraphy", out)
    assert result.exit_code == 0, result.output
    assert f"wrote {out}, " in result.stdout
    assert f"next: sh '{out}/compare.sh'" in result.stdout
    done = shell(out / "compare.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") >= 3
    change_a_weight(bundle / "gle.onnx")
    done = shell(out / "compare.sh")
    assert done.returncode == 1
    assert done.stdout.count("FAILED | Runtime") == 1


def test_polygraphy_agrees_with_pytorch_on_the_shipped_model_and_tells_wrong_scores(tmp_path: Path) -> None:
    """Scores from 0 to 1 stand beside logits of 20: a tolerance of the logits' would pass any of them."""
    assert run("--polygraphy", tmp_path / "out").exit_code == 0
    done = shell(tmp_path / "out/compare.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    answers = tmp_path / "out/mask_decoder/outputs.json"
    recorded = RunResults.load(str(answers))
    for _, iterations in recorded:
        for outputs in iterations:
            outputs["iou_predictions"] = outputs["iou_predictions"] + np.float32(0.03)
    recorded.save(str(answers))
    done = shell(tmp_path / "out/mask_decoder/compare.sh")
    assert done.returncode == 1, done.stdout
    assert "FAILED | Output: 'iou_predictions'" in done.stdout
    assert "PASSED | Output: 'low_res_masks'" in done.stdout


@pytest.mark.parametrize("family", ["sam2", "robustsam"])
def test_polygraphy_agrees_with_other_families_golden_vectors(tmp_path: Path, family: Family) -> None:
    bundle = write_bundle(tmp_path / family, family)
    picture: Pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    (bundle / "golden").mkdir()
    np.savez(bundle / "golden/0.npz", **honest(bundle, picture))  # type: ignore[arg-type]
    rewrite(bundle, family=family)
    assert run(bundle, "--polygraphy", tmp_path / "out").exit_code == 0
    done = shell(tmp_path / "out/compare.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") >= 3


def test_another_copy_of_the_bundle_is_compared_where_the_environment_names_it(
    bundle: Path, tmp_path: Path
) -> None:
    assert run(bundle, "--polygraphy", tmp_path / "out").exit_code == 0
    copy = bundle.rename(tmp_path / "copy")
    assert shell(tmp_path / "out/gle/compare.sh").returncode == 2
    assert shell(tmp_path / "out/compare.sh").returncode == 2
    assert shell(tmp_path / "out/gle/compare.sh", BUNDLE=str(copy)).returncode == 0


def test_an_option_that_polygraphy_does_not_know_is_no_difference(bundle: Path, tmp_path: Path) -> None:
    """Polygraphy itself ends with 1 for both."""
    assert run(bundle, "--polygraphy", tmp_path / "out").exit_code == 0
    change_a_weight(bundle / "gle.onnx")
    assert shell(tmp_path / "out/gle/compare.sh").returncode == 1
    done = shell(tmp_path / "out/compare.sh", "--nope")
    assert done.returncode == 2, "not what the last comparison found"
    assert "--nope" in done.stdout + done.stderr


def test_a_graph_is_reduced_to_the_part_that_differs(bundle: Path, tmp_path: Path) -> None:
    """With one runner as its own reference nothing differs; the whole search runs all the same."""
    assert run(bundle, "--polygraphy", tmp_path / "out").exit_code == 0
    done = shell(tmp_path / "out/gle/reduce.sh", "--onnxrt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out/gle/layer_inputs.json").is_file()
    assert "Saving ONNX model to: reduced.onnx" in done.stdout
    assert (tmp_path / "out/gle/reduced.onnx").is_file()


def test_the_layers_that_fp16_breaks_are_looked_for_in_fp32_graphs_only(bundle: Path, tmp_path: Path) -> None:
    for precision, scripts in (
        ("fp32", {"compare.sh", "reduce.sh", "precision.sh"}),
        ("fp16", {"compare.sh", "reduce.sh"}),
        ("bf16", {"compare.sh"}),
    ):
        rewrite(bundle, precision)
        run(bundle, "--polygraphy", tmp_path / "out", "--min-iou", 0)
        for name in GRAPHS:
            folder = tmp_path / "out" / name
            assert {path.name for path in folder.glob("*.sh")} == scripts
    assert "set -- --trt" in (tmp_path / "out/gle/compare.sh").read_text()


def test_precision_is_bisected_by_tensorrt(bundle: Path, tmp_path: Path) -> None:
    """Here, without TensorRT, Polygraphy takes every option and then misses the library."""
    assert run(bundle, "--polygraphy", tmp_path / "out").exit_code == 0
    done = shell(tmp_path / "out/mask_decoder/precision.sh")
    assert done.returncode != 0
    assert "unrecognized arguments" not in done.stderr
    assert "tensorrt" in (done.stdout + done.stderr).lower()


def test_the_folder_is_there_where_the_bundle_does_not_verify(bundle: Path, tmp_path: Path) -> None:
    change_a_weight(bundle / "gle.onnx")
    rewrite(bundle)
    result = run(bundle, "--polygraphy", tmp_path / "out", "--min-iou", 1)
    assert (tmp_path / "out/gle/outputs.json").is_file()
    assert shell(tmp_path / "out/gle/compare.sh").returncode == 1, result.output


def test_a_bundle_without_recorded_parity_is_refused_and_nothing_written(
    bundle: Path, tmp_path: Path
) -> None:
    content = manifest(bundle)
    golden = {"golden/0.npz": record(bundle / "golden/0.npz")}
    write_manifest(bundle, content | {"files": content["files"] | golden})
    assert "records no parity of image_encoder" in refusal(run(bundle, "--polygraphy", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_kept(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    assert "choose another folder with --polygraphy" in refusal(run(bundle, "--polygraphy", tmp_path / "out"))


def test_without_polygraphy_one_line_says_what_to_install(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polygraphy.comparator", None)
    assert "pip install 'glesam[polygraphy]'" in refusal(run(bundle, "--polygraphy", tmp_path / "out"))
