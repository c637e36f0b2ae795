"""glesam-info: shows what a bundle is and which backends can run it on this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..bundle.reader import Bundle
from ..tools.console import show
from ..tools.info import info, json_document
from ..tools.info_report import tables
from .command import BundleFolder, Command, Version, command_app, switch
from .errors import one_line_errors

app = command_app()
_RESULTS = "Results"


@app.command(cls=Command)
def run(
    bundle: BundleFolder = None,
    verbose: Annotated[
        bool, switch(_RESULTS, "--verbose", "List every fp32 island with its reason, and every int8 layer.")
    ] = False,
    as_json: Annotated[
        bool, switch(_RESULTS, "--json", "Print everything as one JSON object on stdout.")
    ] = False,
    _version: Version = False,
) -> None:
    """Show a bundle: graphs, precisions, parity at export, files, cached engines, and backends here.

    Every file is hashed first; a damaged bundle is refused.
    """
    with one_line_errors():
        result = info(Bundle.open(bundle))
        if as_json:
            typer.echo(json.dumps(json_document(result), indent=2))
        else:
            show(tables(result, verbose))


def main() -> None:
    """Runs the command."""
    app()
