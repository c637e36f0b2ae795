"""glesam-verify: checks that a bundle computes on this machine what PyTorch computed."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

from ..bundle.reader import Bundle
from ..engines import open_engines, pick_for_bundle
from ..output import size_mib
from ..tools.console import model_line
from ..tools.parity import check, table
from ..tools.polygraphy import write_polygraphy
from ..tools.verify import CURE, required_iou, verify
from . import run_options as options
from .command import BundleFolder, Command, Version, command_app, option
from .errors import one_line_errors, say

app = command_app()
MinIou = Annotated[
    float | None,
    option(
        "Check",
        "F",
        "Least mean mask IoU. Default: .999 (fp32), .99 (fp16, bf16), .97 (int8).",
        least=0,
        most=1,
    ),
]
Polygraphy = Annotated[
    Path | None,
    option(
        "Results",
        "DIR",
        "Also write the vectors for Polygraphy, with commands that compare and bisect the graphs.",
        show_default=False,
    ),
]


@app.command(cls=Command)
def run(
    bundle: BundleFolder = None,
    backend: options.Backend = "auto",
    threads: options.Threads = 0,
    public_key: options.PublicKeyOption = None,
    min_iou: MinIou = None,
    polygraphy: Polygraphy = None,
    _version: Version = False,
) -> None:
    """Run a bundle's golden vectors on this machine and compare the results with PyTorch's.

    Needs neither torch nor the checkpoint. Exit status: 1 when parity fails, 2 for any other error.
    """
    with one_line_errors("glesam-verify --polygraphy", "polygraphy"):
        opened = Bundle.open(bundle, public_key)
        if polygraphy is not None:  # first: it is for graphs that fail below
            write_polygraphy(opened, polygraphy)
            script = quote(str(polygraphy / "compare.sh"))
            say(f"wrote {polygraphy}, {size_mib(polygraphy):.1f} MiB; next: sh {script}")
        chosen, reason = pick_for_bundle(backend, opened)
        say(model_line(opened, f"{chosen} ({reason})"), err=True)
        least = required_iou(opened) if min_iou is None else min_iou
        parity = verify(opened, open_engines(backend, opened, threads=threads))
        say(*table(parity).split("\n"))
        check(parity, least, CURE)
        say(f"golden parity holds here: mean mask IoU at least {least:g}, as asked")


def main() -> None:
    """Runs the command."""
    app()
