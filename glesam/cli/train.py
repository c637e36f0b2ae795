"""glesam-train: nano from scratch, or a stage of GleSAM's training for a model that exists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from glesam_runtime.cli.errors import one_line_errors
from glesam_runtime.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _option(metavar: str, text: str) -> Any:  # noqa: ANN401 - typer's own type
    return typer.Option(metavar=metavar, help=text)


@app.command()
def train(
    data: Annotated[Path, _option("DIR", "Pictures with masks, or a folder of such sets.")],
    sets: Annotated[Path | None, _option("FILE", "Describes the sets; else DIR's own sets.json.")] = None,
    stage: Annotated[
        int | None, _option("1|2", "1: GLE's LoRA, 2: mask decoder; neither: nano from scratch.")
    ] = None,
    config: Annotated[Path | None, _option("FILE", "The stage's settings, JSON; else the paper's.")] = None,
    run: Annotated[Path, _option("DIR", "Checkpoints; a run goes on from there.")] = Path("runs/nano"),
    out: Annotated[Path | None, _option("DIR", "The trained model; RUN/model otherwise.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on even where steps, precision or views have changed.")
    ] = False,
    model: Annotated[str | None, _option("FOLDER", "The model to train: a folder or a hub id.")] = None,
    sam_checkpoint: Annotated[Path | None, _option("FILE", "Or the official files: SAM's.")] = None,
    unet: Annotated[Path | None, _option("DIR", "Stable Diffusion's unet folder.")] = None,
    text_embedding: Annotated[
        Path | None, _option("PATH", "The empty prompt, encoded, or Stable Diffusion's folder.")
    ] = None,
    lora: Annotated[Path | None, _option("FILE", "pytorch_lora_weights.safetensors, to go on from.")] = None,
    decoder: Annotated[Path | None, _option("FILE", "ft-decoder.pth, to go on from.")] = None,
    gamma: Annotated[float | None, _option("G", "FDA's scale of the official files; 3.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="Threads of torch.")] = None,
) -> None:
    """Train nano from scratch, or with --stage a part of a model.

    Interrupt it whenever you like: the same command goes on from the last checkpoint, and ends with
    the weights it would have ended with. `accelerate launch` shares a stage among processes.
    """
    with one_line_errors("glesam-train", "train"):
        from glesam.nano.recipe import PRECISION
        from glesam.training.model_source import ModelSource
        from glesam.training.session import Session, make_accelerator, use_threads
        from glesam.training.stage_config import read_stage_config

        use_threads(threads)
        source = ModelSource(model, sam_checkpoint, unet, text_embedding, lora, decoder, gamma)
        settings = read_stage_config(config, stage) if config or stage else None
        if settings is None and not source.is_empty():
            raise InputError("a model to train was given, but not how; add --stage 1 or --stage 2")
        accelerator = make_accelerator(settings.mixed_precision if settings else PRECISION)
        session = Session(data, sets, run, out or run / "model", accelerator)
        session.check_folders(model)
        next_command = f"glesam-export {session.out} --precision fp16"
        if settings is None:
            session.from_scratch()
        else:
            session.stage(source.open(), settings, resume=resume)
        accelerator.print(f"wrote {session.out}; next: {next_command}")
        accelerator.end_training()


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
