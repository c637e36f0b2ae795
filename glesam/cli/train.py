"""glesam-train: trains nano from scratch on label maps, stage after stage, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glesam.cli.errors import one_line_errors

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def train(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Holds a folder per set (bsds500, ccp, camvid, human, bags) of .jpg + .png."
        ),
    ],
    run: Annotated[
        Path, typer.Option(metavar="DIR", help="Checkpoints; a run continues from what lies here.")
    ] = Path("runs/nano"),
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the trained model goes (fp16 weights).")
    ] = Path("runs/nano/model"),
    threads: Annotated[int, typer.Option(metavar="N", help="Threads of torch.")] = 2,
) -> None:
    """Train nano: SAM from scratch, a base U-Net, GLE's LoRA, then the decoder.

    Interrupt it whenever you like: the same command goes on from the last checkpoint, and ends with
    the weights it would have ended with.
    """
    with one_line_errors("glesam-train"):
        import cv2
        import torch

        from glesam.config import nano
        from glesam.data.batches import SamplePool
        from glesam.data.datasets import load_datasets
        from glesam.data.in_memory import in_memory
        from glesam.model import GleSam
        from glesam.training.recipe import NANO, train_model

        torch.set_num_threads(threads)
        cv2.setNumThreads(1)  # the batches have one thread of their own
        torch.manual_seed(0)
        model = GleSam(nano())
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.2x faster here
        pool = SamplePool(in_memory(load_datasets(data)))
        typer.echo(f"{len(pool)} training pictures; checkpoints in {run}")
        train_model(model, pool, run, NANO, typer.echo)
        model.save_pretrained(out, torch.float16)
    typer.echo(f"wrote {out}; next: glesam-export {out} --precision fp16")


def main() -> None:
    """The console script."""
    app()
