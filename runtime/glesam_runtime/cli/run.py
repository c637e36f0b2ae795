"""glesam-run: pictures and prompts in, masks and overlays out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from ..tools.console import model_line
from ..tools.follow.job import FollowJob
from ..tools.records.schema import Json
from ..tools.run.inputs import pictures_in
from ..tools.run.job import Failed, Job
from ..tools.run.report import closing_line, json_document, picture_json, picture_lines
from ..tools.run.session import Model, Result, segmented
from . import run_options as options
from .command import Version, command_app
from .coordinates import CoordinateCommand
from .errors import EXIT_STATUS, complain, one_line_errors, say
from .follow import run_follow

app = command_app()


@app.command(cls=CoordinateCommand, epilog=options.EXAMPLES)
def run(
    images: options.Images,
    box: options.Boxes = None,
    point: options.PointsOnObject = None,
    background_point: options.BackgroundPoints = None,
    mask_input: options.MaskInput = None,
    multimask: options.Multimask = False,
    auto: options.Auto = False,
    points_per_side: options.PointsPerSide = None,
    pred_iou_thresh: options.PredIouThresh = None,
    stability_score_thresh: options.StabilityScoreThresh = None,
    box_nms_thresh: options.BoxNmsThresh = None,
    crop_layers: options.CropLayers = None,
    min_mask_region_area: options.MinMaskRegionArea = None,
    follow: options.Follow = False,
    max_frames: options.MaxFrames = 0,
    bundle: options.BundleOption = None,
    public_key: options.PublicKeyOption = None,
    backend: options.Backend = "auto",
    threads: options.Threads = 0,
    no_enhance: options.NoEnhance = False,
    auxiliary: options.AuxiliaryOption = None,
    resize: options.Resize = None,
    out: options.Out = Path("out"),
    as_json: options.AsJson = False,
    _version: Version = False,
) -> None:
    """Segment the objects that prompts point at, or every object (--auto), in pictures.

    Coordinates are pixels of the picture as a viewer shows it. Each box is one prompt; without a
    box, all points together are one; with exactly one box, points refine it.

    Writes DIR/<stem>.mask<i>.png and DIR/<stem>.overlay.jpg. A missing picture is an error before
    anything runs; a bad one is reported and the others are kept. Exit status: 2 for any error.
    --follow writes DIR/<stem>.jsonl, and an overlay as a video, or as a picture for each of a folder's.
    """
    with one_line_errors():
        options.check_images(images, follow)
        options.check_follow(
            follow, max_frames, auto=auto, mask_input=mask_input, multimask=multimask, auxiliary=auxiliary
        )
        settings = options.automatic_settings(
            auto,
            bool(box or point or background_point or mask_input or multimask),
            points_per_side=points_per_side,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_layers,
            min_mask_region_area=min_mask_region_area,
        )
        prompts = [] if auto else options.prompts(box, point, background_point, mask_input, follow)
        model = Model(bundle, backend, not no_enhance, resize, public_key, threads)
        if follow:
            run_follow(images, FollowJob(prompts, out, max_frames), model, as_json)
        else:
            job = Job(prompts, out, mask_input, multimask, settings if auto else None, auxiliary)
            _segment(pictures_in(images, out, partial(say, err=True)), job, model, as_json)


def _segment(images: Sequence[Path], job: Job, model: Model, as_json: bool) -> None:
    """Segments the pictures and prints the results; raises typer.Exit where a picture failed."""
    with segmented(images, job, model) as run:
        say(model_line(run.bundle, f"{run.backend} ({run.reason})"), err=True)
        shown = [_show(result, as_json) for result in run.results]
    failures = [each for each in shown if isinstance(each, Failed)]
    written = [each for each in shown if isinstance(each, _Written)]
    if written:
        say(closing_line([each.files for each in written]), err=as_json)
    if as_json:
        pictures = [each.document for each in written]
        typer.echo(json.dumps(json_document(run.bundle, run.backend, model.enhance, pictures, failures)))
    if failures:
        raise typer.Exit(EXIT_STATUS)


@dataclass(frozen=True)
class _Written:
    """What is kept of a picture: the masks of a thousand pictures would not fit into memory."""

    files: Mapping[Path, int]
    document: Json


def _show(result: Result, as_json: bool) -> _Written | Failed:
    """Prints one result as soon as it is there."""
    if isinstance(result, Failed):
        complain(result.reason)
        return result
    say(*picture_lines(result), err=as_json)
    return _Written(result.files, picture_json(result) if as_json else {})


def main() -> None:
    """Runs the command."""
    app()
