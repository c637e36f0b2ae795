"""glesam-view: a local page to click on, degrade pictures, and compare masks with and without GLE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import PromptError
from ..tools.run.session import Model
from . import run_options as options
from .command import CONTEXT, Command, Version, command_app
from .errors import one_line_errors, say

app = command_app()
_ADDRESS = "Address"


@app.command(cls=Command, context_settings=CONTEXT | {"allow_extra_args": True})
def run(
    ctx: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="IMAGE",
            show_default=False,
            help="A picture, or a folder of them. Default: samples alone.",
        ),
    ] = None,
    bundle: options.BundleOption = None,
    public_key: options.PublicKeyOption = None,
    backend: options.Backend = "auto",
    threads: options.Threads = 0,
    host: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_ADDRESS,
            help="Address to listen on; 0.0.0.0 lets others in who have the printed token.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=65535,
            rich_help_panel=_ADDRESS,
            help="Port to listen on; 0: any free one.",
        ),
    ] = 8765,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser", rich_help_panel=_ADDRESS, help="Open a browser where there is a screen."
        ),
    ] = True,
    _version: Version = False,
) -> None:
    """Show a page on which you click objects, degrade the picture, and compare masks with and without GLE.

    The page needs no network, and by default only this machine reaches it. For a board without a screen:
    ssh -L 8765:localhost:8765 BOARD, or --host 0.0.0.0 and the address with the token that is printed then.
    """
    with one_line_errors("glesam-view", "view"):
        from ..view.server import view

        if ctx.args:
            raise PromptError(f"expected one picture or folder, found {1 + len(ctx.args)}; give their folder")
        model = Model(bundle, backend, public_key=public_key, threads=threads)
        view(path, model, host, port, browser, say)


def main() -> None:
    """Runs the command."""
    app()
