"""glesam-quantize: a float bundle becomes an int8 bundle."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from glesam_calib.cli import options
from glesam_runtime.cli.command import Command, Version, command_app, option
from glesam_runtime.cli.errors import one_line_errors, say

if TYPE_CHECKING:
    from glesam_calib import CalibrationTable
    from glesam_runtime import Bundle

app = command_app()


@app.command(cls=Command)
def quantize(
    ctx: typer.Context,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="An fp32 bundle.")],
    out: Annotated[
        Path | None,
        option(
            "Results", "DIR", "The int8 bundle's folder. Default: glesam-<model>-int8.", show_default=False
        ),
    ] = None,
    calib_images: options.CalibImages = None,
    calib_table: options.CalibTable = None,
    samples: options.Samples = options.SAMPLES,
    method: options.Method = "mse",
    high_precision: options.HighPrecision = None,
    target: options.Target = "any",
    decoder_weights: options.DecoderWeights = "int8",
    include: options.Include = None,
    exclude: options.Exclude = None,
    search: options.Search = None,
    frontier: options.Frontier = None,
    images: options.Images = None,
    min_iou: options.MinIou = None,
    speed_gate: options.SpeedGate = True,
    _version: Version = False,
) -> None:
    """Quantize a float bundle to int8, and check that its masks hold and that it is faster.

    Encoder and GLE become int8 by explicit Q/DQ. Where the masks do not hold, the worst layers stay in float.
    Needs no torch. Exit status: 1 when a gate fails, 2 for any other error; nothing is written then.
    """
    with one_line_errors("glesam-quantize", "calib"):
        rest = options.high_precision_for(target, high_precision)
        options.check_names(method, rest, target, decoder_weights)
        options.check_min_iou(min_iou)
        options.check_together(options.on_command_line(ctx), frontier, search)
        from glesam_calib import Policy, Quantization
        from glesam_calib.observation.observe import check_float
        from glesam_calib.observation.pictures import LEVELS, CalibrationPictures
        from glesam_calib.photographs import parity_images
        from glesam_calib.pipeline import QuantizeOptions, quantize_bundle
        from glesam_runtime import Bundle
        from glesam_runtime.output import size_mib
        from glesam_runtime.tools.parity import MIN_IOU

        floats = Bundle.open(bundle)
        check_float(floats)
        folder = out or default_out(floats)
        policy = Policy(tuple(include or ()), tuple(exclude or ()))
        small = decoder_weights == "int8"
        how = Quantization(method, policy, rest, target, decoder_weights_in_int8=small)
        pictures = CalibrationPictures(calib_images, LEVELS, samples, say) if calib_images else None
        table = None if pictures else _table(floats, calib_table, frontier)
        least = MIN_IOU["int8"] if min_iou is None else min_iou
        chosen = QuantizeOptions(how, table, pictures, search, frontier, least, speed_gate)
        quantize_bundle(floats, folder, parity_images(images, say), chosen, say)
        say(f"wrote {folder}, {size_mib(folder):.1f} MiB; next: glesam-verify {quote(str(folder))}")


def default_out(floats: Bundle) -> Path:
    """The int8 bundle's folder where --out does not name one; the model's name may hold anything."""
    return Path(f"glesam-{re.sub(r'[^A-Za-z0-9_.-]+', '-', floats.manifest.name)}-int8")


def _table(floats: Bundle, path: Path | None, frontier: Path | None) -> CalibrationTable:
    """The table at `path`, or the one inside the bundle.

    Raises:
        BadParameter: there is none, or it lacks what a frontier needs.
        CalibrationError: it is no table, or the run that wrote it was interrupted.
    """
    from glesam_calib import CalibrationTable
    from glesam_calib.pipeline import table_of

    table = CalibrationTable.load(path) if path else table_of(floats)
    if table is None:
        raise typer.BadParameter(
            "int8 has to know what the layers see: give --calib-images DIR, photographs like those the model "
            "will see, or --calib-table FILE"
        )
    table.check_complete()
    if frontier is not None and not any(table.sensitivity.values()):
        raise typer.BadParameter(
            "frontier needs what each layer costs: give --calib-images DIR, or a --calib-table that "
            "glesam-calibrate --sensitivity made"
        )
    return table


def main() -> None:
    """The console script."""
    app()
