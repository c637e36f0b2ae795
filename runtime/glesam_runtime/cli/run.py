"""glesam-run: pictures and prompts in, masks and overlays out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..automatic import AutomaticOptions
from ..bundle.reader import Bundle
from ..engines import pick_for_bundle
from ..predictor import Predictor
from ..preprocess import RESIZES
from ..tools.automatic_job import SegmentedAll, run_automatic
from ..tools.job import Failed, Job, Segmented, check_paths, combine_prompts, run_job
from ..tools.progress import counter, track
from ..tools.run_report import Json, closing_line, json_document, model_line, picture_json, picture_lines
from . import automatic, coordinates
from .command import BackendName, Version, command_app
from .errors import EXIT_STATUS, complain, one_line_errors

_Result = Segmented | SegmentedAll | Failed

app = command_app()


@app.command(cls=coordinates.CoordinateCommand)
def run(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", show_default=False)],
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="X0 Y0 X1 Y1", help="One object per box. Repeatable."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="X Y", help="A point on the object. All points are one prompt."),
    ] = None,
    background_point: Annotated[
        list[str] | None, typer.Option(metavar="X Y", help="A point beside the object.")
    ] = None,
    mask_input: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="A rough mask of the picture's size, white = object."),
    ] = None,
    multimask: Annotated[bool, typer.Option("--multimask", help="Three candidates per prompt.")] = False,
    auto: Annotated[
        bool, typer.Option("--auto", help="Every object, without prompts: a grid of points is asked.")
    ] = False,
    points_per_side: automatic.PointsPerSide = None,
    pred_iou_thresh: automatic.PredIouThresh = None,
    stability_score_thresh: automatic.StabilityScoreThresh = None,
    box_nms_thresh: automatic.BoxNmsThresh = None,
    crop_layers: automatic.CropLayers = None,
    min_mask_region_area: automatic.MinMaskRegionArea = None,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A bundle folder. Default: the shipped model."),
    ] = None,
    backend: BackendName = "auto",
    no_enhance: Annotated[bool, typer.Option("--no-enhance", help="Plain SAM, without GLE.")] = False,
    resize: Annotated[str, typer.Option(metavar="NAME", help=f"{' or '.join(RESIZES)}.")] = ("longest-side"),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results go.")] = Path("out"),
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, masks as COCO RLE.")
    ] = False,
    _version: Version = False,
) -> None:
    """Segment what the prompts point at, or everything (--auto), in one picture or several.

    Coordinates are pixels of the picture as a viewer shows it. Each box is one prompt; without a
    box, all points together are one; with exactly one box, points refine it.

    Writes DIR/<stem>.mask<i>.png and DIR/<stem>.overlay.png. A missing picture stops everything
    before it starts; one that turns out bad is reported, the others are kept, and the exit status is 2, as
    for any error. With --json the object is complete then, too. Ctrl-C: 130, and no object.
    """
    with one_line_errors():
        settings = automatic.settings(
            auto,
            bool(box or point or background_point or mask_input or multimask),
            points_per_side=points_per_side,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_layers,
            min_mask_region_area=min_mask_region_area,
        )
        prompts = (
            []
            if auto
            else combine_prompts(
                coordinates.boxes(box),
                coordinates.points("--point", point),
                coordinates.points("--background-point", background_point),
                mask_input,
            )
        )
        job = Job(prompts, out, mask_input, multimask)
        check_paths(images, job)
        opened = Bundle.open(bundle)
        chosen, reason = pick_for_bundle(backend, opened)
        with Predictor.from_bundle(opened, backend, not no_enhance, resize) as predictor:
            typer.echo(model_line(opened, f"{chosen} ({reason})"), err=True)
            results = (
                _everything(predictor, images, settings, out)
                if auto
                else track(run_job(predictor, images, job), len(images), "pictures")
            )
            shown = [_show(result, as_json) for result in results]
        failures = [each for each in shown if isinstance(each, Failed)]
        written = [each for each in shown if isinstance(each, _Written)]
        if written:
            typer.echo(closing_line([each.files for each in written]), err=as_json)
        if as_json:
            pictures = [each.document for each in written]
            typer.echo(json.dumps(json_document(opened, chosen, not no_enhance, pictures, failures)))
    if failures:
        raise typer.Exit(EXIT_STATUS)


def _everything(
    predictor: Predictor, images: Sequence[Path], settings: dict[str, float], out: Path
) -> Iterator[SegmentedAll | Failed]:
    """One bar over the points of all pictures: a single picture takes half a minute."""
    options = AutomaticOptions.for_model(predictor.manifest.sam_type, **settings)
    total = len(images) * options.points_per_picture()
    with counter(total, "points") as on_points:
        yield from run_automatic(predictor, images, options, out, on_points)


@dataclass(frozen=True)
class _Written:
    """What is kept of a picture: the masks of a thousand would not fit into memory."""

    files: Mapping[Path, int]
    document: Json


def _show(result: _Result, as_json: bool) -> _Written | Failed:
    if isinstance(result, Failed):
        complain(result.reason)
        return result
    typer.echo("\n".join(picture_lines(result)), err=as_json)
    return _Written(result.files, picture_json(result) if as_json else {})


def main() -> None:
    """The console script."""
    app()
