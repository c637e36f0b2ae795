"""glesam-calibrate: the statistics of what an fp32 bundle's layers see on real pictures, as one table."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from glesam_calib.cli.options import SAMPLES
from glesam_runtime.cli.command import Command, Version, command_app, level_number, option, say_renamed
from glesam_runtime.cli.errors import one_line_errors, say

app = command_app()


_PICTURES, _RESULTS = "Pictures", "Results"


class CalibrateCommand(Command):
    """A command that still takes --calib-images by its first name, --images."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Renames, says so on stderr, then parses."""
        renamed = [re.sub("^--images(?==|$)", "--calib-images", word) for word in args]
        say_renamed(ctx, args, renamed)
        return super().parse_args(ctx, renamed)


@app.command(cls=CalibrateCommand)
def calibrate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="An fp32 bundle.")],
    calib_images: Annotated[
        Path, option(_PICTURES, "DIR", "Photographs like those the model will see.", show_default=False)
    ],
    level: Annotated[
        str, option(_PICTURES, "N,N", "Degradations from 0 (none) to 3, taken in turns.")
    ] = "0,1,2,3",
    samples: Annotated[int, option(_PICTURES, "N", "Pictures, counting each level.", least=1)] = SAMPLES,
    sensitivity: Annotated[
        int, option(_RESULTS, "N", "Also try each layer alone in int8, on N pictures: minutes.", least=0)
    ] = 0,
    out: Annotated[Path, option(_RESULTS, "FILE", "The table. That of a killed run is resumed.")] = Path(
        "calibration.json"
    ),
    _version: Version = False,
) -> None:
    """Observe an fp32 bundle on pictures and write the statistics that int8 is made from.

    One pass in ONNX Runtime; histograms and channel statistics, nothing of a picture, are kept and
    written every few samples. Needs no torch. Exit status 2 for any error.
    """
    with one_line_errors("glesam-calibrate", "calib"):
        from glesam_calib import CalibrationTable, Quantization, empty_table
        from glesam_calib import calibrate as observe
        from glesam_calib.observation.pictures import CalibrationPictures, measure_sensitivity
        from glesam_runtime import Bundle
        from glesam_runtime.tools.progress import track

        pictures = CalibrationPictures(calib_images, levels(level), samples, say)
        opened = Bundle.open(bundle)
        table = empty_table(opened)
        table.plan, table.sensitivity_samples = pictures.plan(), sensitivity
        if out.exists():
            table = CalibrationTable.load(out).continued(table)
            say(f"resuming {out}: {len(table.samples)} samples observed")
        table.sensitivity_samples, table.complete = sensitivity, False
        observe(opened, track(pictures, len(pictures), "pictures observed"), table, out)
        if sensitivity:
            measure_sensitivity(opened, pictures, sensitivity, table, Quantization(), out)
        table.complete = True
        table.save(out)
    say(
        f"wrote {out}, {out.stat().st_size / 2**20:.1f} MiB, {len(table.samples)} samples; "
        f"next: glesam-quantize {quote(str(bundle))} --calib-table {quote(str(out))}"
    )


def levels(text: str) -> tuple[int, ...]:
    """ "0,3" -> (0, 3). Raises BadParameter for anything else than numbers from 0 to 3."""
    try:
        numbers = tuple(int(level_number(part)) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not set(numbers) <= {0, 1, 2, 3}:
        raise typer.BadParameter(f"level {text!r}: expected numbers from 0 to 3, as in 0,1,2,3")
    return tuple(dict.fromkeys(numbers))


def main() -> None:
    """The console script."""
    app()
