"""What several commands ask for in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..engines import BACKEND_HELP

BundleFolder = Annotated[
    Path | None,
    typer.Argument(metavar="BUNDLE", help="A folder. Default: the shipped model.", show_default=False),
]
BackendName = Annotated[str, typer.Option(metavar="NAME[:DEVICE[:HINT]]", help=BACKEND_HELP)]
