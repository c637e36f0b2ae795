"""glesam-eval runs RobustSAM from its official file, beside every other model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_runs import attempted, evaluated, rows_of, write_data
from tiny_robust_sam import CONFIG, tiny_robust_sam

from glesam.evaluation.sources import SourceSpec, open_source, parse_source
from glesam.official import robust_sam as official
from glesam.restorers.robust_reference import robust_engines, robust_manifest
from glesam_runtime import Predictor, Prompt, PromptError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RobustSAM's file, of the tests' size."""
    monkeypatch.setitem(official.SAM_TYPES, 32, "vit_b")
    monkeypatch.setitem(official.SIZES, "vit_b", lambda: CONFIG)
    path = tmp_path / "robustsam_checkpoint_b.pth"
    torch.save(tiny_robust_sam().state_dict(), path)
    return path


def test_a_predictors_masks_are_the_models() -> None:
    model = tiny_robust_sam()
    predictor = Predictor(robust_manifest(model), robust_engines(model))
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


def test_a_file_is_a_source_of_one_method(file: Path) -> None:
    assert parse_source("checkpoint", str(file)) == SourceSpec("checkpoint", str(file), "", ("robustsam",))
    assert parse_source("checkpoint", f"robust={file}").name == "robust"
    source = open_source(parse_source("checkpoint", str(file)))
    assert source.name == "robustsam_checkpoint_b"
    assert source.origin.startswith(f"RobustSAM {file}, sha256 ")


def test_its_row_stands_in_the_table(file: Path, tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data", 1), tmp_path / "out"
    evaluated(data, out, "--checkpoint", f"b={file}", "--methods", "box", "--levels", "clean")
    rows = {(row["source"], row["method"]) for row in rows_of(out)}
    assert rows == {("", "box"), ("b", "robustsam")}
    assert "| b: robustsam |" in (out / "table.md").read_text()


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, other)
    result = attempted(write_data(tmp_path / "data", 1), tmp_path / "out", "--checkpoint", other)
    assert result.exit_code == 2
    assert f"{other} has no image_encoder.patch_embed.proj.weight" in result.stderr
    assert len(result.stderr.splitlines()) == 1
