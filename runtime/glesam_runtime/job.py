"""What glesam-run does with its pictures: segment each, write its files, go on after a bad one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import GlesamError, OutputError, PromptError
from .image_io import check_exists, png_bytes, read_image, read_mask, write_files
from .overlay import draw_overlay
from .predictor import Predictor
from .preprocess import Floats
from .prompts import Box, Points, Prompt, logits_from_mask


@dataclass(frozen=True, eq=False)
class Job:
    """The same request for every picture; `out` is the folder that results go to."""

    prompts: Sequence[Prompt]
    out: Path
    mask_path: Path | None = None
    multimask: bool = False


@dataclass(frozen=True, eq=False)
class Segmented:
    """One picture's results. Masks bool [M,H,W] and scores float32 [M] are in prompt order.

    `candidates` neighbours in M belong to one prompt: 3 with multimask, else 1. `files` maps each
    written path to its size [bytes]: the masks in order, then the overlay.
    """

    path: Path
    masks: npt.NDArray[np.bool_]
    scores: Floats
    candidates: int
    timings_ms: dict[str, float]
    files: dict[Path, int]


@dataclass(frozen=True)
class Failed:
    """A picture that gave no result, and why in one line. Nothing of it was written."""

    path: Path
    reason: str


def combine_prompts(
    boxes: Sequence[Box], points: Points, background_points: Points, mask_path: Path | None
) -> list[Prompt]:
    """The prompts that separate options mean: one per box, or one of all points together.

    Points refine a single box; a mask belongs to a single prompt. Raises PromptError where there
    is no prompt, or where it is unclear which prompt the points or the mask belong to.
    """
    if len(boxes) > 1 and (len(points) or len(background_points)):
        raise PromptError(
            f"{len(boxes)} boxes and points together are ambiguous, since each box is a prompt of "
            "its own; give one box with points, or run twice"
        )
    if len(boxes) > 1 and mask_path is not None:
        raise PromptError(f"{len(boxes)} boxes and one mask input are ambiguous; give one box with the mask")
    if not (boxes or len(points) or len(background_points) or mask_path):
        raise PromptError("no prompt: give --box X0 Y0 X1 Y1, --point X Y or --mask-input PNG; see --help")
    if len(boxes) > 1:
        return [Prompt(box) for box in boxes]
    return [Prompt(boxes[0] if boxes else None, points, background_points)]


def check_paths(images: Sequence[Path], job: Job) -> None:
    """Raise ImageError for a missing picture, OutputError where results would overwrite anything.

    Costs nothing, so it comes before the model is loaded.
    """
    for path in _inputs(images, job):
        check_exists(path)
    stems: dict[str, Path] = {}
    for path in images:
        if path.stem in stems:
            raise OutputError(
                f"{stems[path.stem]} and {path} would both write {job.out / path.stem}.*; "
                "rename one, or run twice with another --out"
            )
        stems[path.stem] = path


def run_job(predictor: Predictor, images: Sequence[Path], job: Job) -> Iterator[Segmented | Failed]:
    """Segment each picture and write DIR/<stem>.mask<i>.png and DIR/<stem>.overlay.png.

    A picture's files are written once all of them are made; a bad picture does not stop the rest.
    """
    inputs = {path.resolve() for path in _inputs(images, job)}
    for path in images:
        try:
            yield _segment(predictor, path, job, inputs)
        except GlesamError as error:
            yield Failed(path, str(error))


def _inputs(images: Sequence[Path], job: Job) -> list[Path]:
    return [*images, job.mask_path] if job.mask_path else [*images]


def _segment(predictor: Predictor, path: Path, job: Job, inputs: set[Path]) -> Segmented:
    image = read_image(path)
    predictor.set_image(image)
    prompts = _with_mask(predictor, job)
    prediction = predictor.predict(prompts=prompts, multimask=job.multimask)
    masks = prediction.masks.reshape(-1, *image.shape[:2])
    files = {
        job.out / f"{path.stem}.mask{index}.png": png_bytes(Image.fromarray(mask))
        for index, mask in enumerate(masks)
    }
    files[job.out / f"{path.stem}.overlay.png"] = png_bytes(draw_overlay(image, masks, prompts))
    check_not_an_input(files, inputs)
    write_files(files)
    sizes = {file: len(content) for file, content in files.items()}
    scores = prediction.iou_predictions.reshape(-1)
    candidates = len(masks) // len(prompts)
    return Segmented(path, masks, scores, candidates, dict(predictor.timings), sizes)


def _with_mask(predictor: Predictor, job: Job) -> Sequence[Prompt]:
    if job.mask_path is None:
        return job.prompts
    logits = logits_from_mask(read_mask(job.mask_path), predictor.geometry)
    return [replace(prompt, mask_input=logits) for prompt in job.prompts]


def check_not_an_input(files: dict[Path, bytes], inputs: set[Path]) -> None:
    """Raise OutputError where one of `files` would be written over one of `inputs`, resolved paths."""
    for file in files:
        if file.resolve() in inputs:
            raise OutputError(f"{file} is one of the inputs; choose another folder with --out")
