"""glesam-eval runs RobustSAM from its checkpoint, beside every other model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_runs import attempted, evaluated, rows_of, write_data
from tiny_robust_sam import tiny_robust_sam

from glesam.evaluation.sources import open_source, parse_source
from glesam.reference import reference_predictor
from glesam_runtime import Prompt, PromptError


def test_a_predictors_masks_are_the_models() -> None:
    model = tiny_robust_sam()
    predictor = reference_predictor(model)
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    boxes = [(4, 8, 50, 33), (20, 11, 31, 60)]
    predictor.set_image(picture)
    prediction = predictor.predict(prompts=[Prompt(box=box) for box in boxes])
    image = model.normalize(torch.from_numpy(picture).permute(2, 0, 1).float()[None])
    coords = torch.tensor(boxes).reshape(2, 2, 2).float()
    labels = torch.tensor([[2, 3]] * 2, dtype=torch.int32)
    masks, ious = model(image, coords, labels, torch.zeros(2, 1, 16, 16), torch.zeros(2))
    assert np.abs(prediction.low_res_masks - masks[:, 0].numpy()).max() < 1e-4 * masks[:, 0].abs().max()
    assert np.allclose(prediction.iou_predictions, ious[:, 0].numpy(), atol=1e-4)
    with pytest.raises(PromptError):
        predictor.predict(box=boxes[0], multimask=True)


def test_its_origin_is_its_checkpoint(robust_checkpoint: Path) -> None:
    source = open_source(parse_source("checkpoint", f"b={robust_checkpoint}"))
    assert source.name == "b" and source.manifest.family == "robustsam"
    assert source.origin.startswith(f"checkpoint {robust_checkpoint}, sha256 ")


@pytest.mark.parametrize("methods", ["box", "box,sam,glesam"])
def test_its_row_stands_in_the_table(robust_checkpoint: Path, tmp_path: Path, methods: str) -> None:
    data, out = write_data(tmp_path / "data", 1), tmp_path / "out"
    evaluated(data, out, "--checkpoint", f"b={robust_checkpoint}", "--methods", methods, "--levels", "clean")
    rows = {(row["source"], row["method"]) for row in rows_of(out)}
    assert rows == {("", "box"), ("b", "robustsam")}
    assert "| b: robustsam |" in (out / "table.md").read_text()


def test_it_has_no_other_methods(robust_checkpoint: Path, tmp_path: Path) -> None:
    result = attempted(
        write_data(tmp_path / "data", 1), tmp_path / "out", "--checkpoint", f"{robust_checkpoint}:sam"
    )
    assert result.exit_code == 2
    assert "is a RobustSAM, which runs the method robustsam alone; leave :sam out" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_bundle_has_the_same_row(robust_bundle: Path, robust_checkpoint: Path, tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data", 1), tmp_path / "out"
    both = ["--checkpoint", f"torch={robust_checkpoint}", "--bundle", f"onnx={robust_bundle}"]
    evaluated(data, out, *both, "--methods", "sam", "--levels", "clean")
    ious = {(row["source"], row["method"]): float(row["iou"]) for row in rows_of(out)}
    assert ious.keys() == {("torch", "robustsam"), ("onnx", "robustsam")}
    one, other = ious.values()
    assert one == pytest.approx(other, abs=1e-3)
