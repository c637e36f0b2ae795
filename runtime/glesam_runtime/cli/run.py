"""glesam-run: pictures and prompts in, masks and overlays out."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from ..bundle import Bundle
from ..engines import BACKEND_HELP, pick_backend
from ..job import Failed, Job, Segmented, check_paths, combine_prompts, run_job
from ..predictor import Predictor
from ..preprocess import RESIZES
from ..report import closing_line, json_document, model_line, picture_lines
from . import coordinates
from .errors import EXIT_STATUS, complain, one_line_errors
from .progress import track

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"glesam {version('glesam')}")
        except PackageNotFoundError:
            typer.echo("glesam, run from a source tree that is not installed")
        raise typer.Exit


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
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A bundle folder. Default: the shipped model."),
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME[:DEVICE[:HINT]]", help=BACKEND_HELP)] = "auto",
    no_enhance: Annotated[bool, typer.Option("--no-enhance", help="Plain SAM, without GLE.")] = False,
    resize: Annotated[str, typer.Option(metavar="NAME", help=f"{' or '.join(RESIZES)}.")] = ("longest-side"),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results go.")] = Path("out"),
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, masks as COCO RLE.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Segment what the prompts point at, in one picture or several.

    Coordinates are pixels of the picture as a viewer shows it. Each box is one prompt; without a
    box, all points together are one; with exactly one box, points refine it.

    Writes DIR/<stem>.mask<i>.png and DIR/<stem>.overlay.png. A missing picture stops everything
    before it starts; one that turns out bad is reported, the others are kept, the exit status is 2.
    """
    with one_line_errors():
        prompts = combine_prompts(
            coordinates.boxes(box),
            coordinates.points("--point", point),
            coordinates.points("--background-point", background_point),
            mask_input,
        )
        job = Job(prompts, out, mask_input, multimask)
        check_paths(images, job)
        opened = Bundle.open(bundle)
        chosen, reason = pick_backend(backend, opened.manifest.precision)
        with Predictor.from_bundle(opened, backend, not no_enhance, resize) as predictor:
            typer.echo(model_line(opened, f"{chosen} ({reason})"), err=True)
            results = track(run_job(predictor, images, job), len(images), "pictures")
            shown = [_show(result, to_stderr=as_json) for result in results]
        written = [result for result in shown if isinstance(result, Segmented)]
        if written:
            typer.echo(closing_line(written), err=as_json)
        if written and as_json:
            typer.echo(json.dumps(json_document(opened, chosen, not no_enhance, shown)))
    if len(written) < len(shown):
        raise typer.Exit(EXIT_STATUS)


def _show(result: Segmented | Failed, to_stderr: bool) -> Segmented | Failed:
    if isinstance(result, Failed):
        complain(result.reason)
    else:
        typer.echo("\n".join(picture_lines(result)), err=to_stderr)
    return result


def main() -> None:
    """The console script."""
    app()
