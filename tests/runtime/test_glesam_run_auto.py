"""glesam-run --auto as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from pycocotools import mask as coco_mask
from test_glesam_run import BOX, Run, mask_in

from glesam_runtime.tools.records.schema import json_schema

AUTO = ["--auto", "--points-per-side", "3", "--pred-iou-thresh", "0", "--stability-score-thresh", "0"]


@pytest.fixture
def run(bundle_path: Path, tmp_path: Path) -> Run:
    return Run(bundle_path, tmp_path / "out")


def refusal(run: Run, *arguments: object) -> str:
    """Returns the one line of a request that fails before the bundle is opened."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert not run.out.exists()
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    """A picture on which the tiny decoder has high scores."""
    path = tmp_path / "bright.png"
    Image.new("RGB", (128, 96), (240, 240, 240)).save(path)
    return path


def test_every_mask_and_one_overlay_are_written(run: Run, bright: Path) -> None:
    result = run(bright, *AUTO)
    assert result.exit_code == 0, result.output
    assert len(run.names()) == 28
    assert run.names()[-1] == "bright.overlay.jpg"
    lines = result.stdout.splitlines()
    assert lines[0].endswith("128 x 96 pixels, 27 masks")
    assert f"area {mask_in(run.out / 'bright.mask0.png').sum()} px" in lines[1]
    assert lines[6].strip().startswith("and 22 more, up to")
    assert "decode" in lines[8]
    assert len(lines) == 10
    assert lines[-1].endswith("next: xdg-open " + str(run.out / "bright.overlay.jpg"))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_json_has_sams_records(run: Run, bright: Path) -> None:
    document = json.loads(run(bright, *AUTO, "--json", "--crop-layers", 1).stdout)
    Draft202012Validator(json_schema()).validate(document)
    (picture,) = document["images"]
    assert picture["masks"]
    for mask in picture["masks"]:
        decoded = coco_mask.decode(mask["segmentation"]).astype(bool)
        np.testing.assert_array_equal(decoded, mask_in(Path(mask["file"])))
        assert mask["area"] == decoded.sum()
        np.testing.assert_array_equal(mask["bbox"], coco_mask.toBbox(mask["segmentation"]))
        assert set(mask) >= {"predicted_iou", "stability_score", "point_coords", "crop_box"}
        assert np.shape(mask["point_coords"]) == (1, 2)


def test_a_picture_without_masks_still_has_an_overlay(run: Run, photo: Path) -> None:
    result = run(photo, "--auto", "--points-per-side", 2, "--pred-iou-thresh", 1)
    assert result.exit_code == 0, result.output
    assert run.names() == ["photo.overlay.jpg"]
    assert "0 masks" in result.stdout


def test_a_bad_picture_among_several_is_reported(run: Run, bright: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    result = run(bad, bright, *AUTO)
    assert result.exit_code == 2
    assert len(run.names()) == 28
    assert f"error: {bad}: expected a picture" in result.stderr


@pytest.mark.parametrize(
    "prompt",
    [BOX, ["--point", 3, 4], ["--background-point", 3, 4], ["--mask-input", "m.png"], ["--multimask"]],
)
def test_auto_takes_no_prompts(run: Run, photo: Path, prompt: list[object]) -> None:
    assert "--auto finds every mask by itself, so it takes no --box" in refusal(run, photo, "--auto", *prompt)


@pytest.mark.parametrize(
    ("option", "value"), [("--points-per-side", 8), ("--crop-layers", 0), ("--box-nms-thresh", 0.5)]
)
def test_autos_options_need_auto(run: Run, photo: Path, option: str, value: float) -> None:
    assert f"{option} is an option of --auto" in refusal(run, photo, *BOX, option, value)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--points-per-side", 0, "points_per_side: expected 1 to 256, found 0"),
        ("--pred-iou-thresh", "nan", "pred_iou_thresh: expected 0 to 1, found nan"),
        ("--stability-score-thresh", 2, "stability_score_thresh: expected 0 to 1, found 2"),
        ("--crop-layers", -1, "crop_n_layers: expected 0 to 4, found -1"),
        ("--min-mask-region-area", -1, "min_mask_region_area: expected at least 0, found -1"),
    ],
)
def test_numbers_out_of_range(
    run: Run,
    photo: Path,
    option: str,
    value: object,
    expected: str,
) -> None:
    assert expected in refusal(run, photo, "--auto", option, value)
