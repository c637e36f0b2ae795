"""glesam-export: a checkpoint becomes a verified bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glesam.cli import official_options as files_of
from glesam_calib.cli import options as int8_options
from glesam_calib.cli.options import INT8, SAMPLES
from glesam_runtime.cli.errors import one_line_errors

if TYPE_CHECKING:
    from glesam_calib import CalibrationTable

PRECISIONS = ("fp32", "fp16", "bf16", INT8)
TABLE = "calibration.json"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def export(
    ctx: typer.Context,
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="Folder that GleSam.save_pretrained wrote, or a hub id. Default: the shipped nano. "
            "With --triton also a finished bundle.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(PRECISIONS)}.")] = "fp32",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The bundle's folder. Default: glesam-<name>-<precision>."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Photographs to measure parity on. Default: four shipped ones."),
    ] = None,
    min_iou: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Least mean mask IoU against PyTorch fp32. "
            "Default: .999 (fp32), .99 (fp16, bf16), .97 (int8).",
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(metavar="N", help="ONNX opset, 18 to 20. Default: 18 (int8 with fp16: 19)."),
    ] = None,
    refinements: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="How often the decoder is asked again with its own mask as input. "
            "Default: the model's own (nano and SAM: 0). Each time costs what one more prompt costs.",
            show_default=False,
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also a model repository for Triton (docs/triton.md)."),
    ] = None,
    calib_images: int8_options.CalibImages = None,
    calib_table: int8_options.CalibTable = None,
    samples: int8_options.Samples = SAMPLES,
    method: int8_options.Method = "mse",
    high_precision: int8_options.HighPrecision = "fp16",
    decoder_weights: int8_options.DecoderWeights = INT8,
    include: int8_options.Include = None,
    exclude: int8_options.Exclude = None,
    search: int8_options.Search = None,
    frontier: int8_options.Frontier = None,
    speed_gate: int8_options.SpeedGate = True,
    sam_type: files_of.SamType = None,
    sam_checkpoint: files_of.SamCheckpoint = None,
    unet: files_of.UNet = None,
    lora: files_of.Lora = None,
    decoder: files_of.Decoder = None,
    text_embedding: files_of.TextEmbedding = None,
    gamma: files_of.Gamma = None,
    timestep: files_of.Timestep = None,
) -> None:
    """Export a model to a bundle and prove that it still computes what PyTorch computes.

    The model is a checkpoint, or the official files joined: --sam-checkpoint, --unet and --lora.

    Merges LoRA, folds every constant, writes three ONNX graphs, and compares them with the
    untouched PyTorch model on photographs, clean and degraded. The bundle replaces an older one
    only when all of that has succeeded. Exit status: 1 when parity fails or int8 is no faster than
    float, 2 for any other error.
    """
    with one_line_errors("glesam-export", "export"):
        if triton and checkpoint and (Path(checkpoint) / "bundle.json").is_file():
            _check_alone(ctx)
            _write_triton(Path(checkpoint), triton)
            return
        _check_options(precision, min_iou, opset)
        int8_options.check(method, high_precision, decoder_weights)
        int8_options.check_together(precision, _given(ctx), opset, high_precision, frontier, search)
        from glesam.model import GleSam, checkpoint_files, shipped_checkpoint
        from glesam.official.build import OfficialFiles
        from glesam_calib import Policy, Quantization
        from glesam_calib.observation.pictures import LEVELS, CalibrationPictures
        from glesam_calib.pipeline import Int8
        from glesam_export.images import parity_images
        from glesam_export.pipeline import ExportOptions, export_bundle

        official = OfficialFiles(
            sam_checkpoint, unet, lora, decoder, text_embedding, sam_type, gamma, timestep
        )
        if official.is_empty():
            folder = GleSam.resolve(checkpoint) if checkpoint else shipped_checkpoint()
            model, made_from = GleSam.from_pretrained(folder), checkpoint_files(folder)
            name = folder.resolve().name
        elif checkpoint:
            raise typer.BadParameter(
                f"{checkpoint} is a whole model; leave out the official files' options beside it, or it"
            )
        else:
            model, made_from = official.load(), official.files()
            name = model.config.name
        if refinements is not None:
            model = model.with_refinements(refinements)
        target = out or Path(f"glesam-{name}-{precision}")
        if triton:
            _check_triton(precision if precision != INT8 else high_precision, triton, target)
        int8 = None
        if precision == INT8:
            policy = Policy(tuple(include or ()), tuple(exclude or ()))
            int8 = Int8(
                Quantization(method, policy, high_precision, decoder_weights_in_int8=decoder_weights == INT8),
                None if calib_images else _table(calib_table, made_from, frontier),
                CalibrationPictures(calib_images, LEVELS, samples, typer.echo) if calib_images else None,
                search,
                frontier,
                speed_gate,
            )
        needed = 19 if precision == INT8 and high_precision == "fp16" else 18  # of Q/DQ in fp16
        options = ExportOptions(precision, opset or needed, min_iou, int8)
        export_bundle(model, made_from, target, parity_images(images, typer.echo), options, typer.echo)
    typer.echo(
        f"wrote {target}, {_size(target) / 2**20:.1f} MiB; "
        f"next: glesam-run photo.jpg --box X0 Y0 X1 Y1 --bundle {target}"
    )
    if triton:
        with one_line_errors("glesam-export", "export"):
            _write_triton(target, triton)


def _given(ctx: typer.Context) -> list[str]:
    """The parameters that the user gave."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]


def _check_alone(ctx: typer.Context) -> None:
    """A finished bundle is not exported again: what would change it has no effect."""
    others = [f"--{name.replace('_', '-')}" for name in _given(ctx) if name not in ("checkpoint", "triton")]
    if others:
        raise typer.BadParameter(
            f"{ctx.params['checkpoint']} is a finished bundle; leave out {', '.join(others)}, "
            "or give the checkpoint it was made from"
        )


def _check_triton(precision: str, triton: Path, out: Path) -> None:
    """Before minutes are spent."""
    from glesam_runtime.tools.triton import check_triton

    if triton.resolve() == out.resolve():
        raise typer.BadParameter(f"--triton {triton} is the bundle's own folder; choose another one")
    check_triton(precision, triton)


def _write_triton(bundle: Path, triton: Path) -> None:
    from glesam_runtime import Bundle
    from glesam_runtime.tools.triton import write_triton

    write_triton(Bundle.open(bundle), triton)
    typer.echo(
        f"wrote {triton}, {_size(triton) / 2**20:.1f} MiB; next: tritonserver --model-repository {triton}"
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _table(given: Path | None, made_from: Mapping[str, Path], frontier: Path | None) -> CalibrationTable:
    """The table that was given, or the one that lies in the checkpoint's folder."""
    from glesam_calib import CalibrationTable

    beside = [path.with_name(TABLE) for path in made_from.values() if path.with_name(TABLE).is_file()]
    if given is None and not beside:
        raise typer.BadParameter(
            "int8 has to know what the layers see: give --calib-images DIR, photographs like those the model "
            "will see, or --calib-table FILE"
        )
    table = CalibrationTable.load(given or beside[0])
    table.check_complete()
    if frontier is not None and not any(table.sensitivity.values()):
        raise typer.BadParameter(
            "frontier needs what each layer costs: give --calib-images DIR, or a --calib-table that "
            "glesam-calibrate --sensitivity made"
        )
    return table


def _check_options(precision: str, min_iou: float | None, opset: int | None) -> None:
    if precision not in PRECISIONS:
        raise typer.BadParameter(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if min_iou is not None and not 0 <= min_iou <= 1:
        raise typer.BadParameter(f"min-iou {min_iou:g}: expected a number from 0 to 1")
    if opset is not None and not 18 <= opset <= 20:
        raise typer.BadParameter(f"opset {opset}: expected 18, 19 or 20")


def main() -> None:
    """The console script."""
    app()
