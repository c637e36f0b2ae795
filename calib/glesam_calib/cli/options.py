"""glesam-export's options for --precision int8."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

INT8 = "int8"
METHODS = ("absmax", "percentile", "entropy", "mse")
HIGH_PRECISIONS = ("fp16", "bf16", "fp32")
DECODER_WEIGHTS = (INT8, "float")


def _option(metavar: str, text: str, least: int | None = None) -> Any:  # noqa: ANN401 - typer's own type
    return typer.Option(metavar=metavar, min=least, help=f"int8: {text}", show_default=False)


CalibImages = Annotated[Path | None, _option("DIR", "calibrate on these photographs, clean and degraded.")]
CalibTable = Annotated[
    Path | None, _option("FILE", "what glesam-calibrate wrote. Default: the checkpoint's calibration.json.")
]
SAMPLES = 64
"""Of calibration, where nobody says otherwise: docs/int8.md has what others cost and gain."""
Samples = Annotated[int, _option("N", f"samples of --calib-images. Default: {SAMPLES}.", least=1)]
Method = Annotated[str, _option("NAME", f"thresholds by {', '.join(METHODS)}. Default: mse.")]
HighPrecision = Annotated[str, _option("NAME", "what is left computes in fp16, bf16 or fp32. Default: fp16.")]
DecoderWeights = Annotated[
    str,
    _option("NAME", "int8 or float, for the mask decoder, which computes in float. Default: int8."),
]
Include = Annotated[
    list[str] | None, _option("PATTERN", "layers to quantize whatever policy and search say.")
]
Exclude = Annotated[list[str] | None, _option("PATTERN", "layers to leave in float, such as '*/Conv'.")]
Search = Annotated[
    int | None,
    _option(
        "N",
        "try each layer alone on N of --calib-images (minutes); the worst stay in float. "
        "Default: on 4, for --frontier or where the masks do not hold otherwise. 0: never.",
        least=0,
    ),
]
Frontier = Annotated[Path | None, _option("DIR", "write a table and a plot of masks against time and bytes.")]
SpeedGate = Annotated[
    bool,
    typer.Option(
        "--speed-gate/--no-speed-gate",
        help="int8: fail where it is no faster than float on this machine; off for a target elsewhere.",
    ),
]


def check(method: str, high_precision: str, decoder_weights: str) -> None:
    """Raises BadParameter for a name that is none."""
    for option, value, known in (
        ("method", method, METHODS),
        ("high-precision", high_precision, HIGH_PRECISIONS),
        ("decoder-weights", decoder_weights, DECODER_WEIGHTS),
    ):
        if value not in known:
            raise typer.BadParameter(f"{option} {value!r}: expected one of {', '.join(known)}")


OPTIONS = (
    "calib_images",
    "calib_table",
    "samples",
    "method",
    "high_precision",
    "decoder_weights",
    "include",
    "exclude",
    "search",
    "frontier",
    "speed_gate",
)
"""Parameters of glesam-export that mean nothing without int8."""


def check_together(
    precision: str,
    given: Collection[str],
    opset: int | None,
    high_precision: str,
    frontier: Path | None,
    search: int | None,
) -> None:
    """Raises BadParameter for options that have no effect or no way beside the others.

    `given`: names of the parameters that the user gave.
    """
    if precision != INT8:
        for name in (name for name in OPTIONS if name in given):
            option = name.replace("_", "-")
            raise typer.BadParameter(f"{option} is for --precision int8, and the precision is {precision}")
    elif {"calib_images", "calib_table"} <= set(given):
        raise typer.BadParameter(
            "calib-images and calib-table both say what the layers see: give one of them"
        )
    elif "samples" in given and "calib_images" not in given:
        raise typer.BadParameter("samples are of --calib-images DIR: give that, too")
    elif frontier is not None and frontier.exists() and not frontier.is_dir():
        raise typer.BadParameter(f"frontier {frontier}: expected a folder, found a file; choose another one")
    elif frontier is not None and search == 0:
        raise typer.BadParameter("frontier is what a search passes: leave --search 0 out")
    elif "search" in given and "calib_images" not in given:
        raise typer.BadParameter(
            "search needs pictures: give --calib-images DIR, or leave it out beside a --calib-table, which "
            "brings what glesam-calibrate --sensitivity found"
        )
    elif opset == 18 and high_precision == "fp16":
        raise typer.BadParameter(
            "opset 18 has no fp16 scales: leave --opset out, or say --high-precision fp32"
        )
