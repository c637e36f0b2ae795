"""glesam-export: a checkpoint becomes a verified bundle."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from glesam_calib.cli.options import SAMPLES, check_min_iou
from glesam_runtime.cli.command import Command, Version, command_app
from glesam_runtime.cli.errors import one_line_errors, say

INT8 = "int8"
PRECISIONS = ("fp32", "fp16", "bf16", INT8)

_GRAPHS, _INT8, _GATES, _RESULTS = "Graphs", "int8", "Check against PyTorch", "Results"
Checkpoint = Annotated[
    str | None,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A checkpoint's folder or hub id, or DiffBIR's files. Default: the shipped nano.",
        show_default=False,
    ),
]
Precision = Annotated[
    str, typer.Option(rich_help_panel=_GRAPHS, metavar="NAME", help=f"{', '.join(PRECISIONS)}.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_RESULTS,
        metavar="DIR",
        help="The bundle's folder. Default: glesam-<name>-<precision>.",
    ),
]
CalibImages = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_INT8,
        metavar="DIR",
        help="int8: photographs like those the model will see.",
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_GATES,
        metavar="DIR",
        help="Photographs to measure parity on. Default: four shipped ones.",
    ),
]
MinIou = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=_GATES,
        metavar="F",
        help="Least mean mask IoU. Default: .999 (fp32), .99 (fp16, bf16), .97 (int8).",
    ),
]
Opset = Annotated[
    int | None,
    typer.Option(rich_help_panel=_GRAPHS, metavar="N", help="ONNX opset, 18 to 20. Default: 18 (int8: 19)."),
]
Refinements = Annotated[
    int | None,
    typer.Option(
        rich_help_panel=_GRAPHS,
        metavar="N",
        min=0,
        help="Further decoder passes, each with its own mask as input. Default: the checkpoint's (nano: 0).",
    ),
]

app = command_app()


@app.command(cls=Command)
def export(
    checkpoint: Checkpoint = None,
    precision: Precision = "fp32",
    out: Out = None,
    calib_images: CalibImages = None,
    images: Images = None,
    min_iou: MinIou = None,
    opset: Opset = None,
    refinements: Refinements = None,
    _version: Version = False,
) -> None:
    """Export a checkpoint to a bundle, and check its masks against PyTorch's.

    Merges LoRA, folds every constant, writes three ONNX graphs, and compares them with the untouched PyTorch
    model on photographs, clean and degraded. An older bundle is replaced only when all of that succeeds. int8
    is an fp32 export and then glesam-quantize, which has more options. DiffBIR's graphs are fp32 and not
    compared here: only --out applies.

    Exit status: 1 when parity fails or int8 is no faster than float, 2 for any other error.
    """
    with one_line_errors("glesam-export", "export"):
        _check_options(precision, calib_images, min_iou, opset)
        if checkpoint and (Path(checkpoint) / "BSRNet.pth").exists():
            _check_diffbir_options(precision, images, min_iou, opset, refinements)
            return _export_diffbir(Path(checkpoint), out or Path("diffbir-fp32"))
        from glesam.checkpoint_folder import checkpoint_files, resolve_folder, shipped_checkpoint
        from glesam.reference import load_model
        from glesam_calib.observation.pictures import LEVELS, CalibrationPictures
        from glesam_calib.photographs import parity_images
        from glesam_export import int8, pipeline
        from glesam_export.to_onnx import OPSETS
        from glesam_runtime.output import size_mib

        folder = resolve_folder(checkpoint) if checkpoint else shipped_checkpoint()
        model = load_model(folder)
        if refinements is not None:
            model = model.with_refinements(refinements)
        target = out or Path(f"glesam-{folder.resolve().name}-{precision}")
        options = pipeline.ExportOptions(precision, opset or OPSETS[0], min_iou)
        job = model, checkpoint_files(folder), target, parity_images(images, say), options
        if precision == INT8:
            observed = CalibrationPictures(calib_images, LEVELS, SAMPLES, say) if calib_images else None
            int8.export_int8(*job, observed, say)
        else:
            pipeline.export_bundle(*job, say)
        next_command = f"glesam-run photo.jpg --box X0 Y0 X1 Y1 --bundle {quote(str(target))}"
        say(f"wrote {target}, {size_mib(target):.1f} MiB; next: {next_command}")


def _export_diffbir(folder: Path, out: Path) -> None:
    """Exports DiffBIR's four parts; they are no bundle, and glesam-eval runs them before SAM."""
    from glesam.official.diffbir import read_diffbir
    from glesam_export.diffbir_graphs import export_diffbir
    from glesam_runtime.output import size_mib

    export_diffbir(read_diffbir(folder), out, say)
    next_command = f"glesam-eval --data DIR --methods sam,restored --restorer {quote(str(out))}"
    say(f"wrote {out}, {size_mib(out):.1f} MiB; next: {next_command}")


def _check_diffbir_options(
    precision: str, images: Path | None, min_iou: float | None, opset: int | None, refinements: int | None
) -> None:
    """Raises BadParameter for an option that does not apply to DiffBIR's graphs."""
    if precision != "fp32":
        raise typer.BadParameter(f"precision {precision}: DiffBIR is exported in fp32; leave the option out")
    options = {"images": images, "min-iou": min_iou, "opset": opset, "refinements": refinements}
    for name, value in options.items():
        if value is not None:
            raise typer.BadParameter(
                f"{name} {value}: DiffBIR has one form of graphs, which are not compared here; "
                "leave the option out"
            )


def _check_options(
    precision: str, calib_images: Path | None, min_iou: float | None, opset: int | None
) -> None:
    """Raises BadParameter for a value that no option has, and for options that do not go together."""
    if precision not in PRECISIONS:
        raise typer.BadParameter(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if calib_images is not None and precision != INT8:
        raise typer.BadParameter(f"calib-images is for --precision int8, and the precision is {precision}")
    check_min_iou(min_iou)
    if opset is not None and not 18 <= opset <= 20:
        raise typer.BadParameter(f"opset {opset}: expected 18, 19 or 20")
    if opset == 18 and precision == INT8:
        raise typer.BadParameter(
            "opset 18 has no fp16 scales: leave --opset out, or export with --precision fp32 and run "
            "glesam-quantize --high-precision fp32"
        )


def main() -> None:
    """The console script."""
    app()
