"""What training, evaluation, conversion and calibration print has the names of files escaped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from escaped_output import is_escaped, output
from PIL import Image

ODD = os.fsdecode(b"a\x1b[31m\r\xff")
SHOWN = r"a\x1b[31m\r\udcff"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of one picture with its mask, all with odd names."""
    root = tmp_path / f"data {ODD}"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    Image.new("RGB", (64, 48), "grey").save(root / f"images/{ODD}.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[8:40, 8:50] = 255
    Image.fromarray(mask).save(root / f"masks/{ODD}.png")
    return root


def evaluated(data: Path, out: Path, *extra: object) -> str:
    options = ["--methods", "box", "--levels", "clean", "--split", "all", "--out", out]
    return output("glesam.cli.evaluate", "--data", data, *options, *extra)


def test_glesam_eval_escapes_names(data: Path, tmp_path: Path) -> None:
    text = evaluated(data, tmp_path / f"out {ODD}")
    assert is_escaped(text, SHOWN)
    assert "error" not in text
    assert r"a\x1b" not in (tmp_path / f"out {ODD}/results.csv").read_text()
    next((data / "masks").iterdir()).write_bytes(b"no picture")
    assert is_escaped(evaluated(data, tmp_path / "again"), SHOWN)


def test_a_line_about_annotations_is_escaped(data: Path, tmp_path: Path) -> None:
    image = {"id": 1, "file_name": f"{ODD}.png", "width": 64, "height": 48}
    square = [[5, 5, 45, 5, 45, 45, 5, 45]]
    annotations = [{"image_id": 1, "segmentation": each} for each in (square, [])]
    (data / f"{ODD}.json").write_text(json.dumps({"images": [image], "annotations": annotations}))
    described = [{"name": "s", "kind": "coco", "path": ".", "images": "images", "annotations": f"{ODD}.json"}]
    (data / "sets.json").write_text(json.dumps(described))
    text = evaluated(data, tmp_path / "out")
    assert is_escaped(text, SHOWN)
    assert "error" not in text
    assert "left out annotations: 1 without a segmentation" in text


@pytest.mark.usefixtures("fresh_accelerator")
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("glesam.cli.train", "nano --data MISSING --run RUN"),
        ("glesam.cli.train", "--data DATA --stage 1 --model MISSING --run RUN"),
        ("glesam.cli.convert", "--sam-checkpoint MISSING --unet MISSING --new-lora --out RUN"),
        ("glesam_export.cli", "MISSING --out RUN"),
        ("glesam_calib.cli.calibrate", "MISSING --calib-images DATA --out RUN"),
        ("glesam_calib.cli.quantize", "MISSING --out RUN"),
    ],
)
def test_the_other_commands_escape_what_they_refuse(
    data: Path, tmp_path: Path, module: str, arguments: str
) -> None:
    paths = {"MISSING": tmp_path / f"no {ODD}", "DATA": data, "RUN": tmp_path / "run"}
    text = output(module, *(paths.get(word, word) for word in arguments.split()))
    assert is_escaped(text, SHOWN)
    assert text.count("\n") <= 2, "one error, and what training says before it"
