"""glesam-convert: official files become one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glesam.cli import official_options as files_of
from glesam_runtime.cli.errors import one_line_errors
from glesam_runtime.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def convert(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The checkpoint's folder.", show_default=False)],
    sam_type: files_of.SamType = None,
    sam_checkpoint: files_of.SamCheckpoint = None,
    unet: files_of.UNet = None,
    lora: files_of.Lora = None,
    decoder: files_of.Decoder = None,
    text_embedding: files_of.TextEmbedding = None,
    gamma: files_of.Gamma = None,
    timestep: files_of.Timestep = None,
) -> None:
    """Write a model of official files as a checkpoint, for glesam-export, glesam-train and glesam-eval.

    Needs --sam-checkpoint, --unet and --lora; an older checkpoint in DIR is replaced.
    """
    with one_line_errors("glesam-convert", "train"):
        from glesam.model import checkpoint_files
        from glesam.official.build import OfficialFiles

        check_replaceable(out)
        official = OfficialFiles(
            sam_checkpoint, unet, lora, decoder, text_embedding, sam_type, gamma, timestep
        )
        official.load().save_pretrained(out)
        size = sum(path.stat().st_size for path in checkpoint_files(out).values())
    typer.echo(f"wrote {out}, {size / 2**20:.1f} MiB; next: glesam-export {out} --precision fp16")


def check_replaceable(out: Path) -> None:
    """Raises InputError where `out` is anything but a checkpoint or an empty folder."""
    from glesam.model import checkpoint_files

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not all(path.is_file() for path in checkpoint_files(out).values()):
        raise InputError(
            f"{out} exists and is not a checkpoint; choose another folder with --out, or move it away"
        )


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
