"""Segments pictures by prompts: reads each, segments it, writes its files; a bad one stops no other.

While one picture is segmented, the next are read and the previous one's files are written: in three threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...errors import GlesamError, ImageError, OutputError, PromptError, naming
from ...image_io import check_exists, png_bytes, read_image, read_mask
from ...image_io.auxiliary import Auxiliary, read_auxiliary
from ...output import write_files
from ...predictor import Predictor
from ...preprocess import Floats, Pixels
from ...prompts import Box, Points, Prompt, logits_from_mask
from ..overlay import draw_overlay, overlay_file
from .overlap import ahead

_READ_AHEAD = 2  # reading a large picture may take longer than segmenting a small one
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Job:
    """The request, which is the same for every picture. `out` is the folder of the results.

    mask_path: a mask picture for the one prompt. automatic: settings for AutomaticOptions.for_model, to find
    every object without prompts; None where prompts are used. auxiliary_path: the second sensor's picture,
    which belongs to a single picture with prompts.
    """

    prompts: Sequence[Prompt]
    out: Path
    mask_path: Path | None = None
    multimask: bool = False
    automatic: dict[str, float] | None = None
    auxiliary_path: Path | None = None


@dataclass(frozen=True, eq=False)
class Segmented:
    """Results of one picture: masks bool [M,H,W] and scores float32 [M], in prompt order.

    candidates: number of consecutive masks per prompt, 3 with multimask, otherwise 1.
    files: written path -> size [bytes], the masks in order, then the overlay.
    degradation_level: the picture's, None where the bundle does not predict it.
    """

    path: Path
    masks: npt.NDArray[np.bool_]
    scores: Floats
    candidates: int
    timings_ms: dict[str, float]
    files: dict[Path, int]
    degradation_level: float | None = None


@dataclass(frozen=True)
class Failed:
    """A picture without a result, and the reason in one line. None of its files was written."""

    path: Path
    reason: str


@dataclass(frozen=True, eq=False)
class _Read:
    """A picture to segment, uint8 [H,W,3] RGB, and the job's mask and auxiliary picture, [H,W]."""

    path: Path
    image: Pixels
    mask: Pixels | None
    auxiliary: Auxiliary | None


@dataclass(frozen=True, eq=False)
class _Answer:
    """A picture's results before any file is written, and what its overlay shows."""

    segmented: Segmented
    image: Pixels
    prompts: Sequence[Prompt]


def combine_prompts(
    boxes: Sequence[Box], points: Points, background_points: Points, mask_path: Path | None
) -> list[Prompt]:
    """Returns the prompts of the command's options: one per box, or one of all points together.

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
        raise PromptError(
            "no prompt: give --box X0 Y0 X1 Y1, --point X Y or --mask-input PNG, or --auto for every object"
        )
    if len(boxes) > 1:
        return [Prompt(box) for box in boxes]
    return [Prompt(boxes[0] if boxes else None, points, background_points)]


def check_paths(images: Sequence[Path], job: Job) -> None:
    """Raises ImageError for a missing mask or second picture, OutputError where results would collide."""
    if job.auxiliary_path and (len(images) > 1 or job.automatic is not None):
        raise ImageError(
            "--auxiliary belongs to one picture with prompts; run once for each picture, without --auto"
        )
    for path in _inputs([], job):
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
    """Segments each picture, writes OUT/<stem>.mask<i>.png and OUT/<stem>.overlay.jpg; yields in order.

    The files of a picture are written together at its end; a bad picture does not stop the rest.
    At most four pictures are in memory. Leaving early, also by Ctrl-C, leaves no half-written file.
    """
    inputs = {path.resolve() for path in _inputs(images, job)}
    with (
        ahead(map(partial(_read, job), images), _READ_AHEAD) as pictures,
        ahead(map(partial(_segment, predictor, job), pictures)) as answers,
    ):
        for answer in answers:
            yield _write(job.out, inputs, answer)


def _inputs(images: Sequence[Path], job: Job) -> list[Path]:
    return [*images, *(path for path in (job.mask_path, job.auxiliary_path) if path)]


def _read(job: Job, path: Path) -> _Read | Failed:
    # All in this thread: reading silences PIL's warnings, which only one thread at a time can do safely.
    def read() -> _Read:
        mask = read_mask(job.mask_path) if job.mask_path else None
        auxiliary = read_auxiliary(job.auxiliary_path) if job.auxiliary_path else None
        return _Read(path, read_image(path), mask, auxiliary)

    return _attempt(path, read)


def _segment(predictor: Predictor, job: Job, picture: _Read | Failed) -> _Answer | Failed:
    if isinstance(picture, Failed):
        return picture

    def named() -> _Answer:
        with naming(str(picture.path)):
            return _answer(predictor, job, picture)

    return _attempt(picture.path, named)


def _write(out: Path, inputs: set[Path], answer: _Answer | Failed) -> Segmented | Failed:
    if isinstance(answer, Failed):
        return answer
    return _attempt(answer.segmented.path, lambda: _written(out, inputs, answer))


def _attempt(path: Path, step: Callable[[], Result]) -> Result | Failed:
    """Returns the result of `step`, or why it failed."""
    try:
        return step()
    except GlesamError as error:
        return Failed(path, str(error))


def _answer(predictor: Predictor, job: Job, picture: _Read) -> _Answer:
    predictor.set_image(picture.image, auxiliary=picture.auxiliary)
    prompts = _with_mask(predictor, job, picture.mask)
    prediction = predictor.predict(prompts=prompts, multimask=job.multimask)
    masks = prediction.masks.reshape(-1, *picture.image.shape[:2])
    scores = prediction.iou_predictions.reshape(-1)
    candidates = len(masks) // len(prompts)
    timings, level = dict(predictor.timings), prediction.degradation_level
    segmented = Segmented(picture.path, masks, scores, candidates, timings, {}, level)
    return _Answer(segmented, picture.image, prompts)


def _written(out: Path, inputs: set[Path], answer: _Answer) -> Segmented:
    stem, masks = answer.segmented.path.stem, answer.segmented.masks
    files = {
        out / f"{stem}.mask{index}.png": png_bytes(Image.fromarray(mask)) for index, mask in enumerate(masks)
    }
    overlay, content = overlay_file(out, stem, draw_overlay(answer.image, masks, answer.prompts))
    files[overlay] = content
    check_not_an_input(files, inputs)
    write_files(files)
    return replace(answer.segmented, files={file: len(content) for file, content in files.items()})


def _with_mask(predictor: Predictor, job: Job, mask: Pixels | None) -> Sequence[Prompt]:
    if mask is None:
        return job.prompts
    logits = logits_from_mask(mask, predictor.geometry)
    return [replace(prompt, mask_input=logits) for prompt in job.prompts]


def check_not_an_input(files: dict[Path, bytes], inputs: set[Path]) -> None:
    """Raises OutputError where one of `files` would overwrite one of `inputs`, which are resolved paths."""
    for file in files:
        if file.resolve() in inputs:
            raise OutputError(f"{file} is one of the inputs; choose another folder with --out")
