"""The options that benchmarks share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glesam_runtime.engines import BACKEND_HELP

RecordOption = Annotated[
    bool, typer.Option("--record", help="Write the record to measurements/ instead of out/measurements/.")
]
NoteOption = Annotated[
    str, typer.Option("--note", metavar="TEXT", help="What a reader of the record should know.")
]
RoundsOption = Annotated[
    int, typer.Option("--rounds", metavar="N", min=1, help="Timed rounds, after one that is not.")
]
PicturesOption = Annotated[
    int | None,
    typer.Option("--pictures", metavar="N", min=1, help="Pictures per set that are evaluated. Default: all."),
]
BackendsOption = Annotated[
    list[str] | None,
    typer.Option("--backend", metavar="NAME[:DEVICE[:HINT]]", help=f"Repeatable. {BACKEND_HELP}"),
]
BundlesArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[BUNDLE]...", show_default=False, help="Default: nano.")
]
