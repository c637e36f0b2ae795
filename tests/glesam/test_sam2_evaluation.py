"""glesam-eval of a SAM 2: plain and with GLE, by every kind of prompt; plain is transformers' own SAM 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_runs import evaluated, rows_of, values, write_data
from test_sam2 import SIZE, ours, transformers_model
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.models.sam2.modeling_sam2 import Sam2Model

from glesam.data.datasets import load_datasets
from glesam.data.sample import Sample
from glesam.evaluation.evaluate import Task, evaluate
from glesam.evaluation.methods import Image, Segmentation
from glesam.evaluation.metrics import METRICS, MULTIMASK_METRICS
from glesam.evaluation.prompts import ObjectPrompt, PromptedPicture, PromptKind, draw_picture
from glesam.evaluation.score import RowName, Skipped
from glesam.evaluation.sources import SourceSpec, open_methods
from glesam.model import GleSam

SOURCES = ("torch", "onnx")
KINDS: tuple[PromptKind, ...] = ("box", "points", "innermost")
LEVELS = ("clean", "2")


@pytest.fixture(scope="module")
def theirs() -> Sam2Model:
    return transformers_model()


@pytest.fixture(scope="module")
def checkpoint(theirs: Sam2Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of transformers' model, with a GLE that changes embeddings."""
    model: GleSam = ours(theirs)
    for name, parameter in model.gle.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("sam2") / "checkpoint"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("evaluation") / "data", pictures=2)


@dataclass(frozen=True)
class Transformers:
    """SAM 2 as transformers has it, eager, with the official transform and the official resizing of masks."""

    model: Sam2Model
    row = RowName("transformers", "sam2")

    @torch.no_grad()
    def __call__(self, image: Image, prompts: Sequence[ObjectPrompt]) -> Segmentation:
        scale = torch.tensor([SIZE / image.shape[1], SIZE / image.shape[0]])
        masks = [self.mask(transformed(image), prompt, scale) for prompt in prompts]
        size = image.shape[:2]
        return Segmentation(
            np.stack([(interpolate(m, size, mode="bilinear")[0, 0] > 0).numpy() for m in masks])
        )

    def mask(self, image: Tensor, prompt: ObjectPrompt, scale: Tensor) -> Tensor:
        """Low-resolution logits [1, 1, 16, 16] of one prompt; `scale` brings its (x, y) into the input."""
        if prompt.box:
            corners = (torch.tensor(prompt.box).reshape(2, 2) * scale).reshape(1, 1, 4)
            answer = self.model(pixel_values=image, input_boxes=corners, multimask_output=False)
        else:
            points = (torch.tensor(prompt.points) * scale)[None, None]
            labels = torch.ones(points.shape[:3]).int()
            answer = self.model(
                pixel_values=image, input_points=points, input_labels=labels, multimask_output=False
            )
        mask: Tensor = answer.pred_masks[0]
        return mask


def transformed(image: Image) -> Tensor:
    """ToTensor, antialiased squash, Normalize."""
    picture = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    picture = interpolate(picture, (SIZE, SIZE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(x).reshape(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (picture - mean) / std


def prompted(data: Path) -> dict[str, tuple[PromptedPicture, Sample]]:
    samples = [dataset[i] for dataset in load_datasets(data, split="all") for i in range(len(dataset))]
    return {f"{one.dataset}/{one.name}": (draw_picture(one, 2, 0), one) for one in samples}


@pytest.mark.parametrize("kind", KINDS)
def test_plain_sam_2s_row_is_transformers(
    checkpoint: Path, theirs: Sam2Model, data: Path, kind: PromptKind
) -> None:
    """An exact tie at the threshold may fall either way: a few pixels of 4,608."""
    methods, _ = open_methods(["sam"], [SourceSpec("checkpoint", str(checkpoint), "ours")], kind, "auto")
    known = prompted(data)
    task = Task([*methods, Transformers(theirs)], LEVELS, kind, 0)
    pictures = [picture for picture, _ in known.values()]
    outcomes = list(evaluate(pictures, lambda picture: known[picture.title][1], task))
    assert len(outcomes) == 4
    for outcome in outcomes:
        assert not isinstance(outcome, Skipped), outcome
        for own, other in zip(outcome[::2], outcome[1::2], strict=True):
            assert (own.row.source, other.row.source) == ("ours", "transformers")
            for metric in METRICS:
                assert own.metrics[metric] == pytest.approx(other.metrics[metric], abs=0.004), metric


@pytest.mark.parametrize("kind", KINDS)
def test_glesam_eval_has_a_row_without_gle_and_one_with_it(
    checkpoint: Path, data: Path, tmp_path: Path, kind: str
) -> None:
    options = ("--checkpoint", f"sam2={checkpoint}", "--prompt", kind, "--levels", "clean,2")
    evaluated(data, tmp_path, *options, "--per-set", 1)
    rows = rows_of(tmp_path)
    assert {(row["source"], row["method"]) for row in rows} == {("sam2", "sam"), ("sam2", "glesam")}
    plain, enhanced = (values(rows, "iou", method=name) for name in ("sam", "glesam"))
    assert plain != enhanced
    assert all(row[metric] for row in rows for metric in MULTIMASK_METRICS)


def test_a_bundle_of_a_sam_2_agrees_with_its_checkpoint(
    sam2_checkpoint: Path, sam2_bundle: Path, data: Path, tmp_path: Path
) -> None:
    sources = ("--checkpoint", f"torch={sam2_checkpoint}", "--bundle", f"onnx={sam2_bundle}")
    evaluated(data, tmp_path, *sources, "--prompt", "points", "--levels", "clean,2")
    rows = rows_of(tmp_path)
    for method in ("sam", "glesam"):
        for metric in (*METRICS, *MULTIMASK_METRICS):
            torch_values, onnx = (values(rows, metric, source=name, method=method) for name in SOURCES)
            assert len(torch_values) == 2 * 2 * 2
            assert np.abs(np.subtract(torch_values, onnx)).max() < 0.005, metric
