"""The options of glesam-quantize, in titled groups, and which of them go together."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from glesam_runtime.cli.command import option

METHODS = ("absmax", "percentile", "entropy", "mse")
HIGH_PRECISIONS = ("fp16", "bf16", "fp32")
DECODER_WEIGHTS = ("int8", "float")
TARGETS = ("any", "onnxruntime", "openvino", "orin")
SAMPLES = 64
"""Default number of calibration samples; docs/int8.md compares others."""
STATISTICS, POLICY, SEARCH, GATES = "Statistics", "What becomes int8", "Search", "Gates"
_option = partial(option, show_default=False)


CalibImages = Annotated[
    Path | None,
    _option(STATISTICS, "DIR", "Photographs like those the model will see; observed clean and degraded."),
]
CalibTable = Annotated[
    Path | None,
    _option(STATISTICS, "FILE", "A table of glesam-calibrate. Default: the one inside the bundle."),
]
Samples = Annotated[
    int,
    _option(STATISTICS, "N", f"Samples taken from --calib-images. Default: {SAMPLES}.", least=1),
]
Method = Annotated[str, _option(STATISTICS, "NAME", f"Thresholds by {', '.join(METHODS)}. Default: mse.")]
HighPrecision = Annotated[
    str | None,
    _option(POLICY, "NAME", "Precision of the rest: fp16, bf16 or fp32. Default: fp16 (onnxruntime: fp32)."),
]
Target = Annotated[
    str,
    _option(
        POLICY,
        "NAME",
        "any; onnxruntime or openvino, faster there; orin, where TensorRT needs fp32 scales. Default: any.",
    ),
]
DecoderWeights = Annotated[
    str,
    _option(POLICY, "NAME", "int8 or float; the mask decoder computes in float anyway. Default: int8."),
]
Include = Annotated[
    list[str] | None,
    _option(POLICY, "PATTERN", "Layers to quantize whatever the policy and the search say."),
]
Exclude = Annotated[list[str] | None, _option(POLICY, "PATTERN", "Layers to leave in float: '*/Conv'.")]
Search = Annotated[
    int | None,
    _option(
        SEARCH,
        "N",
        "Try each layer alone on N of --calib-images (minutes); the worst stay in float. "
        "Default: 4, for --frontier or where the masks fail otherwise. 0: never.",
        least=0,
    ),
]
Frontier = Annotated[
    Path | None, _option(SEARCH, "DIR", "Write a table and a plot of masks over time and bytes.")
]
Images = Annotated[
    Path | None,
    _option(GATES, "DIR", "Photographs to compare masks on. Default: four shipped ones."),
]
MinIou = Annotated[
    float | None,
    _option(GATES, "F", "Least mean mask IoU against the float bundle. Default: .97."),
]
SpeedGate = Annotated[
    bool,
    typer.Option(
        "--speed-gate/--no-speed-gate",
        help="Fail where int8 is no faster than float on this machine; off for a target elsewhere.",
        rich_help_panel=GATES,
    ),
]


def on_command_line(ctx: typer.Context) -> list[str]:
    """Names of the parameters on the command line, defaults left out."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]


def high_precision_for(target: str, named: str | None) -> str:
    """The precision of the rest: ONNX Runtime computes int8 only beside fp32.

    Raises BadParameter for another one.
    """
    if target != "onnxruntime":
        return named or "fp16"
    if named not in (None, "fp32"):
        raise typer.BadParameter(
            f"high-precision {named}: ONNX Runtime computes int8 only beside fp32; leave it out beside "
            "--target onnxruntime"
        )
    return "fp32"


def check_names(method: str, high_precision: str, target: str, decoder_weights: str) -> None:
    """Raises BadParameter for a name that no option has."""
    for name, value, known in (
        ("method", method, METHODS),
        ("high-precision", high_precision, HIGH_PRECISIONS),
        ("target", target, TARGETS),
        ("decoder-weights", decoder_weights, DECODER_WEIGHTS),
    ):
        if value not in known:
            raise typer.BadParameter(f"{name} {value!r}: expected one of {', '.join(known)}")


def check_min_iou(min_iou: float | None) -> None:
    """Raises BadParameter for anything but a number from 0 to 1."""
    if min_iou is not None and not 0 <= min_iou <= 1:
        raise typer.BadParameter(f"min-iou {min_iou:g}: expected a number from 0 to 1")


def check_together(names: Collection[str], frontier: Path | None, search: int | None) -> None:
    """Raises BadParameter for options that have no effect or contradict one another.

    Args:
        names: of the parameters on the command line.
    """
    if {"calib_images", "calib_table"} <= set(names):
        raise typer.BadParameter(
            "calib-images and calib-table both say what the layers see: give one of them"
        )
    if "samples" in names and "calib_images" not in names:
        raise typer.BadParameter("samples are of --calib-images DIR: give that, too")
    if frontier is not None and frontier.exists() and not frontier.is_dir():
        raise typer.BadParameter(f"frontier {frontier}: expected a folder, found a file; choose another one")
    if frontier is not None and search == 0:
        raise typer.BadParameter("frontier is what a search passes: leave --search 0 out")
    if search and "calib_images" not in names:
        raise typer.BadParameter(
            "search needs pictures: give --calib-images DIR, or leave it out beside a --calib-table, which "
            "brings what glesam-calibrate --sensitivity found"
        )
