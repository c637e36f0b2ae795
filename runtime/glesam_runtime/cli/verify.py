"""glesam-verify: does this bundle compute here what PyTorch computed?"""

from __future__ import annotations

from typing import Annotated

import typer

from ..bundle.reader import Bundle
from ..engines import open_engines, pick_for_bundle
from ..errors import BundleError
from ..tools.parity import MIN_IOU, check, table
from ..tools.run_report import model_line
from ..tools.verify import CURE, verify
from .command import BackendName, BundleFolder, Command, Version, command_app
from .errors import one_line_errors

app = command_app()


@app.command(cls=Command)
def run(
    bundle: BundleFolder = None,
    backend: BackendName = "auto",
    min_iou: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            min=0,
            max=1,
            help="Least mean mask IoU. Default: .999 (fp32), .99 (fp16, bf16), .97 (int8).",
        ),
    ] = None,
    _version: Version = False,
) -> None:
    """Run the golden vectors of a bundle on this machine and compare with PyTorch's answers.

    Needs neither torch nor the checkpoint. Exit status: 1 when parity fails, 2 for any other error.
    """
    with one_line_errors():
        opened = Bundle.open(bundle)
        chosen, reason = pick_for_bundle(backend, opened)
        typer.echo(model_line(opened, f"{chosen} ({reason})"), err=True)
        least = _least(opened) if min_iou is None else min_iou
        parity = verify(opened, open_engines(backend, opened))
        typer.echo(table(parity))
        check(parity, least, CURE)
        typer.echo(f"golden parity holds here: mean mask IoU at least {least:g}, as asked")


def _least(bundle: Bundle) -> float:
    precision = bundle.manifest.precision.split("+")[0]
    if precision not in MIN_IOU:
        raise BundleError(f"bundle {bundle.root}: precision {precision} has no known limit; give --min-iou")
    return MIN_IOU[precision]


def main() -> None:
    """The console script."""
    app()
