"""glesam-quantize on an adaptive GLE with a second sensor: what steers the step stays in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import random_model
from typer.testing import CliRunner

from glesam.model import checkpoint_files
from glesam_calib.cli.quantize import app
from glesam_export.pipeline import ExportOptions, export_bundle
from glesam_runtime import Bundle, Predictor, read_image
from glesam_runtime.engines import open_engines
from glesam_runtime.tools.verify import verify


@pytest.fixture(scope="module")
def floats(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An fp32 bundle with both optional tensors."""
    root = tmp_path_factory.mktemp("floats")
    model = random_model("sd21", adaptive=True, auxiliary=True, timestep=200)
    with torch.no_grad():
        model.gle.auxiliary.last.weight.normal_(std=0.5)
    model.save_pretrained(root / "checkpoint")
    pictures = [read_image(path) for path in sorted(photos.iterdir())]
    files = checkpoint_files(root / "checkpoint")
    export_bundle(model, files, root / "fp32", {"clean": pictures}, ExportOptions(), lambda _: None)
    return root / "fp32"


def test_the_int8_bundle_keeps_level_and_sensor_in_float(floats: Path, photos: Path, tmp_path: Path) -> None:
    options = ["--calib-images", str(photos), "--samples", "4", "--images", str(photos), "--search", "0"]
    options += ["--min-iou", "0.3", "--no-speed-gate", "--out", str(tmp_path / "int8")]
    done = CliRunner().invoke(app, [str(floats), *options])
    assert done.exit_code == 0, done.output
    bundle = Bundle.open(tmp_path / "int8")
    gle = bundle.manifest.graphs["gle"]
    assert [tensor.name for tensor in gle.spec.inputs] == ["image_embeddings", "auxiliary_image"]
    assert [tensor.name for tensor in gle.spec.outputs][1] == "degradation_level"
    assert gle.int8 is not None
    assert gle.int8.layers
    steering = ("level_head", "time_emb", ".auxiliary.")
    assert not [name for name in gle.int8.layers if any(part in name for part in steering)]
    assert len([name for name in gle.int8.left if any(part in name for part in steering)]) > 8
    verify(bundle, open_engines("onnxruntime", bundle))  # raises where the level is not PyTorch's
    levels = []
    for path in (floats, tmp_path / "int8"):
        with Predictor.from_bundle(path, backend="onnxruntime") as predictor:
            image = read_image(photos / "coffee.jpg")
            predictor.set_image(image, auxiliary=np.full(image.shape[:2], 200, np.uint8))
            levels.append(predictor.degradation_level)
    assert levels[1] == pytest.approx(levels[0], abs=0.3)  # the encoder before it is int8 too
