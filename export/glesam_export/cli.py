"""glesam-export: a checkpoint becomes a verified bundle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from glesam.cli import official_options as files_of
from glesam_runtime.cli.errors import EXIT_STATUS, PARITY_EXIT_STATUS, complain

PRECISIONS = ("fp32", "fp16", "bf16")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def export(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="Folder that GleSam.save_pretrained wrote, or a hub id. Default: the shipped nano.",
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
            help="Least mean mask IoU against PyTorch fp32. Default: .999 (fp32), .99 (fp16, bf16).",
        ),
    ] = None,
    opset: Annotated[int, typer.Option(metavar="N", help="ONNX opset, 18 to 20.")] = 18,
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
    only when all of that has succeeded. Exit status: 1 when parity fails, 2 for any other error.
    """
    with _one_line_errors():
        _check_options(precision, min_iou, opset)
        from glesam.model import GleSam, checkpoint_files, shipped_checkpoint
        from glesam.official.build import OfficialFiles
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
        target = out or Path(f"glesam-{name}-{precision}")
        options = ExportOptions(precision, opset, min_iou)
        export_bundle(model, made_from, target, parity_images(images, typer.echo), options, typer.echo)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    typer.echo(
        f"wrote {target}, {size / 2**20:.1f} MiB; "
        f"next: glesam-run photo.jpg --box X0 Y0 X1 Y1 --bundle {target}"
    )


def _check_options(precision: str, min_iou: float | None, opset: int) -> None:
    if precision not in PRECISIONS:
        raise typer.BadParameter(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if min_iou is not None and not 0 <= min_iou <= 1:
        raise typer.BadParameter(f"min-iou {min_iou:g}: expected a number from 0 to 1")
    if not 18 <= opset <= 20:
        raise typer.BadParameter(f"opset {opset}: expected 18, 19 or 20")


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Every deliberate error as one line: exit status 1 for parity, 2 for the rest."""
    try:
        from glesam.model import CheckpointError
        from glesam_export.errors import ExportError
        from glesam_runtime import GlesamError, ParityError
    except ImportError as error:
        complain(f"glesam-export needs {error.name}: pip install 'glesam[export]'")
        raise typer.Exit(EXIT_STATUS) from error
    try:
        yield
    except ParityError as error:
        complain(str(error))
        raise typer.Exit(PARITY_EXIT_STATUS) from error
    except (ExportError, CheckpointError, GlesamError, OSError) as error:  # OSError: a full disk
        complain(str(error))
        raise typer.Exit(EXIT_STATUS) from error
    except typer.BadParameter as error:
        complain(error.message)
        raise typer.Exit(EXIT_STATUS) from error


def main() -> None:
    """The console script."""
    app()
